"""`make demo`: five real daemons on this machine, a real tree and a real file, a crash, and every byte compared.

Says what it does and how long each step took; exits with 1 where anything is not as it should be. Leaves nothing.
"""

import asyncio
import filecmp
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from peerd.errors import PeerdError
from peerd.lab.lab import Lab
from peerd.lab.peer import LabPeer

PEERS = 5
EXIT_NOT_FOUND = 3
EXIT_INTERRUPTED = 130
TREE, FILE, NOTE = "demo/tree", "demo/library.tar", "demo/note"

_started = time.monotonic()


class DemoError(PeerdError):
    """Something was not as it should be."""


def main() -> int:
    """Run the demo and return its exit status."""
    signal.signal(signal.SIGTERM, _terminate)
    with tempfile.TemporaryDirectory(prefix="peerd-demo-") as scratch:
        lab = Lab.temporary()
        try:
            with lab:
                _demonstrate(lab, Path(scratch))
        except PeerdError as error:
            _say(f"FAILED: {error.message}")
            return 1
        except KeyboardInterrupt:
            _say("interrupted")
            return EXIT_INTERRUPTED
    if lab.directory.exists():
        _say(f"FAILED: {lab.directory} was left behind")
        return 1
    _say("all as it should be; the daemons are ended and everything is removed")
    return 0


def _demonstrate(lab: Lab, scratch: Path) -> None:
    with _step(f"{PEERS} daemons start and find each other"):
        lab.up(PEERS, owned=True)
    for peer in lab.peers:
        _say(f"  peer {peer.index}: {peer.id[:10]}… at {peer.listen}, process {peer.pid}")
    tree, file = _make_tree(scratch / "tree"), _make_file(scratch / "library.tar")
    _put(lab.peer(0), TREE, tree, f"a tree of {_count(tree)} entries")
    _put(lab.peer(0), FILE, file, f"a file of {file.stat().st_size / 2**20:.1f} MiB")
    _put(lab.peer(1), NOTE, b"a short value rides in its record", "a short value")
    victim = _crash_a_holder(lab)
    _get_and_compare(lab, scratch, tree, file)
    _come_back(lab, victim)
    _delete(lab)


def _crash_a_holder(lab: Lab) -> int:
    """Kill one of those that have the file, and return which."""
    holders = _holders(lab, lab.peer(1))
    _say(f"the file is on peers {', '.join(str(index) for index in holders)}")
    _check(len(holders) >= 3, "a file that was put is on three peers")
    victim = holders[0]
    with _step(f"kill -9 of peer {victim}, a holder of it"):
        lab.kill(victim)
    _check(not lab.peer(victim).alive, "a killed peer does not run")
    return victim


def _get_and_compare(lab: Lab, scratch: Path, tree: Path, file: Path) -> None:
    """Fetch everything at once from the peer that was not asked to keep it, where there is one."""
    holders = _holders(lab, next(peer for peer in lab.peers if peer.alive))
    reader = next((peer for peer in lab.peers if peer.alive and peer.index not in (0, *holders)), lab.peers[-1])
    fetched_tree, fetched_file = scratch / "fetched", scratch / "fetched.tar"
    with _step(f"peer {reader.index} gets the tree"):
        _run(reader, ["get", TREE, "-o", str(fetched_tree)])
    with _step(f"peer {reader.index} gets the file"):
        _run(reader, ["get", FILE, "-o", str(fetched_file)])
    with _step(f"peer {reader.index} gets the short value"):
        note = _run(reader, ["get", NOTE])
    _check(note == b"a short value rides in its record", "the value that is got is the value that was put")
    _check(filecmp.cmp(file, fetched_file, shallow=False), "the file that is got is the file that was put")
    _check(_content(tree) == _content(fetched_tree), "the tree that is got is the tree that was put")
    _say("  compared byte by byte: the same files, the same links, the empty file too")


def _come_back(lab: Lab, victim: int) -> None:
    with _step(f"peer {victim} comes back with its data and its address"):
        lab.start(victim)
    with _step(f"peer {victim} gets the short value"):
        note = _run(lab.peer(victim), ["get", NOTE])
    _check(note == b"a short value rides in its record", "a peer that came back answers as before")


def _delete(lab: Lab) -> None:
    with _step("peer 3 deletes the file"):
        _run(lab.peer(3), ["rm", FILE])
    with _step("every peer is asked for it"):
        for peer in lab.peers:
            ended = peer.cli(["get", FILE])
            _check(ended.returncode == EXIT_NOT_FOUND, f"peer {peer.index} says “not found”, not {ended.returncode}")
    _say("  all say “not found” (exit 3)")


# What is put


def _make_tree(path: Path) -> Path:
    """Make a tree of real files: two packages of Python's own library, a link and an empty file."""
    for module in (asyncio, json):
        source = Path(str(module.__file__)).parent
        shutil.copytree(source, path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    (path / "start").symlink_to("asyncio/runners.py")
    (path / "empty").touch()
    return path


def _make_file(path: Path) -> Path:
    """Make a tar of some MiB from the modules of Python's own library."""
    with tarfile.open(path, "w") as tar:
        for module in sorted(Path(os.__file__).parent.glob("*.py")):
            tar.add(module, arcname=module.name)
    return path


def _content(tree: Path) -> dict[str, tuple[str, bytes]]:
    """Return all that a tree holds, by path: the kind, and the bytes of a file or the target of a link."""
    found = {}
    for path in tree.rglob("*"):
        name = str(path.relative_to(tree))
        if path.is_symlink():
            found[name] = ("link", os.fsencode(path.readlink()))
        elif path.is_dir():
            found[name] = ("directory", b"")
        else:
            found[name] = ("file", path.read_bytes())
    return found


def _count(tree: Path) -> int:
    return len(_content(tree))


# Doing and telling


def _put(peer: LabPeer, key: str, value: bytes | Path, what: str) -> None:
    with _step(f"{what} is put through peer {peer.index} as {key}"):
        answer = peer.put(key, value)
    _say(f"  {answer['copies']} of {answer['copies_wanted']} copies acknowledged, {answer['cid']}")
    _check(answer["copies"] >= 2, "a put with five peers is acknowledged by more than one")


def _holders(lab: Lab, asked: LabPeer) -> list[int]:
    """Return the peers of the lab that hold the file, as one of them knows."""
    names = {peer.id: peer.index for peer in lab.peers}
    stat = json.loads(_run(asked, ["--json", "stat", FILE]))
    return sorted(names[holder["id"]] for holder in stat["holders"] if holder["kind"] == "replica")


def _run(peer: LabPeer, arguments: list[str]) -> bytes:
    """Run `peer` and return what it printed; anything but success ends the demo."""
    ended = peer.cli(arguments)
    said = ended.stderr.decode(errors="replace").strip()
    _check(ended.returncode == 0, f"peer {' '.join(arguments)} succeeds, not exit {ended.returncode}: {said}")
    return ended.stdout


def _check(holds: bool, claim: str) -> None:
    if not holds:
        raise DemoError(f"it does not hold that {claim}")


@contextmanager
def _step(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    _say(f"{what}: {(time.monotonic() - begun) * 1000:.0f} ms")


def _say(line: str) -> None:
    sys.stdout.write(f"{time.monotonic() - _started:5.2f} s  {line}\n")
    sys.stdout.flush()


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
