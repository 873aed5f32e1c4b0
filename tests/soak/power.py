"""Cut power of a daemon that is written to: its disk, ext4 in a file, is copied at any moment; a daemon starts on each.

The daemon is stopped (SIGSTOP), so that the copy is of one moment: what it has synced is in the file, what it has not
is in the kernel's memory and not in the copy. Needs root, loop devices and mkfs.ext4.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.live.daemons import Daemon, Daemons
from tests.soak.writers import Known, Writers, check

IMAGE_BYTES = 192 * 2**20
CHANGES_MAX = 60
WORK_LIMIT_S = 5.0
LATER_MAX_S = 0.02
CUTS_A_LIFE = 10
"""So often is one daemon stopped and copied, before another begins on an empty disk."""


@dataclass
class Report:
    """How it went."""

    cuts: int = 0
    acknowledged: int = 0
    checked: int = 0

    def __str__(self) -> str:
        return f"{self.cuts} cuts, {self.acknowledged} changes acknowledged, {self.checked} keys checked"


def why_not() -> str | None:
    """Return why no disk can be made here; None where it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if shutil.which("mkfs.ext4") is None or shutil.which("nsenter") is None:
        return "needs mkfs.ext4 and nsenter"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices"
    return None


def make_disk(image: Path, size: int = IMAGE_BYTES) -> None:
    """Make an empty ext4 file system in a file."""
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, stdin=subprocess.DEVNULL)


def on_disk(image: Path, folder: Path) -> list[str]:
    """Return what to put before a command that is to see the disk at `folder`; it goes when the command ends."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    script = 'mount -o loop,errors=remount-ro "$0" "$1" && chmod 700 "$1" && shift && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(image), str(folder)]


def cut_again_and_again(cuts: int, seed: int) -> Report:
    """Cut the power that often; raises AssertionError where something acknowledged is not there afterwards."""
    chance, report = random.Random(seed), Report()
    while report.cuts < cuts:
        with Daemons() as daemons:
            _live_once(daemons, min(CUTS_A_LIFE, cuts - report.cuts), chance, report)
    return report


def _live_once(daemons: Daemons, cuts: int, chance: random.Random, report: Report) -> None:
    image = daemons.root / "image"
    make_disk(image)
    daemon = daemons.prepare()
    daemon.launch(wrapper=on_disk(image, daemon.data)).wait_ready()
    writers = Writers(daemon.socket, chance.getrandbits(32))
    copies: list[tuple[Path, dict[str, Known]]] = []
    writers.start()
    try:
        for number in range(cuts):
            writers.work(chance.randrange(CHANGES_MAX), WORK_LIMIT_S)
            time.sleep(chance.uniform(0.0, LATER_MAX_S))
            copies.append(_cut(daemon, image, daemons.root / f"copy{number}", writers))
            report.cuts += 1
    finally:
        daemon.kill()
        writers.stop()
    report.acknowledged += writers.acknowledged
    for copy, known in copies:
        report.checked += _check_copy(daemons, copy, known)


def _cut(daemon: Daemon, image: Path, copy: Path, writers: Writers) -> tuple[Path, dict[str, Known]]:
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        # What was acknowledged reaches its writer also while the daemon stands still.
        time.sleep(0.02)
        known = writers.forgive()
        _run(["cp", "--sparse=always", "--reflink=auto", str(image), str(copy)])
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    return copy, known


def _check_copy(daemons: Daemons, copy: Path, known: dict[str, Known]) -> int:
    daemon = daemons.prepare()
    daemon.launch(wrapper=on_disk(copy, daemon.data)).wait_ready()
    checked = check(daemon.socket, known)
    assert daemon.status()["degraded"] == []
    daemon.kill()
    copy.unlink()
    return checked


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
