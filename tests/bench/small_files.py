"""A directory of many small files: `peer put` and `peer get -o` of real daemons beside a tar on a plain TCP stream.

    python -m tests.bench --only small-files
    python -m tests.bench.small_files --daemons 3 --files 10000

The rival is `tar -c | TCP | tar -x` on loopback, with nothing synced, checked or kept for others; peerd writes each
copy to its store, synced, before a put is acknowledged, and syncs what `get -o` writes. All on one disk.
"""

import argparse
import hashlib
import os
import resource
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.rows import Goal, Line, Row
from tests.bench.stats import spread
from tests.live.daemons import Daemon, Daemons

FILES = 10_000
FILE_BYTES = 4096
PER_DIRECTORY = 10_000
GOAL_TIMES = 3.0
_LIMIT_S = 600.0
_TAR_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Cost:
    """One transfer: wall seconds, CPU seconds of all processes together, and bytes stored by all daemons."""

    took_s: float
    cpu_s: float
    stored_bytes: int = 0


def make(folder: Path, files: int) -> None:
    """Write a directory of `files` files, none like another."""
    folder.mkdir()
    for number in range(files):
        seed = number.to_bytes(8, "big")
        (folder / f"file{number:06}").write_bytes(hashlib.shake_256(seed).digest(FILE_BYTES))


def tar_over_tcp(source: Path, target: Path) -> Cost:
    """Stream a tar of `source` over a TCP connection on loopback into `target`; nothing is synced."""
    target.mkdir()
    before, began = _children_s(), time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        taker, _ = server.accept()
        with sender, taker:
            out = subprocess.Popen(["tar", "-C", str(source), "-cf", "-", "."], stdout=sender.fileno())
            into = subprocess.Popen(["tar", "-C", str(target), "-xf", "-"], stdin=taker.fileno())
            closing = threading.Thread(target=lambda: (out.wait(), sender.shutdown(socket.SHUT_WR)))
            closing.start()
            assert into.wait(_LIMIT_S) == 0
            closing.join()
    assert out.returncode == 0
    return Cost(time.monotonic() - began, _children_s() - before)


def _children_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _cost(daemons: list[Daemon], by: Daemon, *words: str) -> Cost:
    cpu, children = [each.cpu_s() for each in daemons], _children_s()
    stored = sum(_stored(each) for each in daemons)
    done = by.peer(*words, limit_s=_LIMIT_S)
    assert done.code == 0, done
    spent = sum(each.cpu_s() - at for each, at in zip(daemons, cpu, strict=True)) + _children_s() - children
    return Cost(done.took_s, spent, sum(_stored(each) for each in daemons) - stored)


def _stored(daemon: Daemon) -> int:
    return int(daemon.status()["storage"]["used_bytes"])


def measure(count: int, files: int) -> dict[str, Cost]:
    """Return what each step costs: tar, put, get, and both again of the directory with one changed file."""
    found: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory(prefix="peerd-small-") as name, Daemons() as group:
        folder = Path(name)
        source = folder / "source"
        make(source, files)
        daemons = group.loopback(count)
        first, last = daemons[0], daemons[-1]
        os.sync()
        found["tar"] = tar_over_tcp(source, folder / "tar")
        found["put"] = _cost(daemons, first, "put", "small", str(source))
        found["get"] = _cost(daemons, last, "get", "small", "-o", str(folder / "got"))
        (source / "file000007").write_bytes(b"changed" * 500)
        found["put changed"] = _cost(daemons, first, "put", "small", str(source))
        found["get changed"] = _cost(daemons, last, "get", "small", "-o", str(folder / "got2"))
        subprocess.run(["diff", "-r", str(source), str(folder / "got2")], check=True)
    return found


def row_of(files: int = FILES) -> Row:
    """Measure with one, two and four daemons, and return the row."""
    row = Row("small-files", f"a directory of {files} files of {FILE_BYTES} B", "put, times tar over TCP", [])
    for count in (1, 2, 4):
        found = measure(count, files)
        tar = found.pop("tar")
        put, get = found["put"].took_s / tar.took_s, found["get"].took_s / tar.took_s
        others = {"get, times": get, "tar s": tar.took_s, "tar CPU s": tar.cpu_s}
        for step, cost in found.items():
            others |= {f"{step} s": cost.took_s, f"{step} CPU s": cost.cpu_s}
        others["stored by put changed KiB"] = found["put changed"].stored_bytes / 1024
        line = Line("small-files", f"peerd, {count} daemons", spread([put]), "times", 1, others)
        line.goals.append(Goal("put, times tar over TCP", put, GOAL_TIMES))
        line.goals.append(Goal("get, times tar over TCP", get, GOAL_TIMES))
        row.lines.append(line)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.small_files")
    parser.add_argument("--daemons", type=int, default=3)
    parser.add_argument("--files", type=int, default=FILES)
    arguments = parser.parse_args()
    for step, cost in measure(arguments.daemons, arguments.files).items():
        print(f"{step}: {cost.took_s:.2f} s, {cost.cpu_s:.2f} CPU s, {cost.stored_bytes / 1024:.0f} KiB", flush=True)


if __name__ == "__main__":
    main()
