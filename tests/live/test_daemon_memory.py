"""What a daemon costs: idle, with mDNS on, and while a file larger than any memory it may use goes through it.

The file is eight times what memory may grow by; `LIVE_FILE_GIB=4` makes it what is promised, and needs three times that
of disk. `LIVE_IDLE_S` is how long the idle are watched.
"""

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.daemons import PEER, Daemon, Daemons, meet
from tests.live.netns import Net, why_not

MIB = 2**20
FILE_GIB = float(os.environ.get("LIVE_FILE_GIB") or 0.5)
GROWTH_LIMIT_KB = 64 * 1024
IDLE_S = float(os.environ.get("LIVE_IDLE_S") or 10)
# The goal stands in the benchmarks, beside what is measured there; this one tells of a step back.
IDLE_LIMIT_KB = 74_000_000 // 1024
SAMPLE_S = 0.1
SPARE = 4


class Feed:
    """Blocks that are all different, made as fast as they can be written."""

    def __init__(self, size: int) -> None:
        self._block = bytearray(random.Random(4).randbytes(MIB))
        self.size = size

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.size // MIB):
            self._block[:8] = number.to_bytes(8, "big")
            yield bytes(self._block)


@contextmanager
def peaks(daemons: list[Daemon]) -> Iterator[Callable[[], list[int]]]:
    """Watch the largest RSS of each, in KiB: the kernel's own peak where it can be reset, else samples."""
    worst = [0] * len(daemons)
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_S):
            for number, daemon in enumerate(daemons):
                worst[number] = max(worst[number], daemon.memory_kb()["VmRSS"])

    for daemon in daemons:
        daemon.forget_peak()
    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield lambda: [max(worst[number], daemon.memory_kb()["VmHWM"]) for number, daemon in enumerate(daemons)]
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    size = int(FILE_GIB * 1024) * MIB
    free = os.statvfs("/tmp").f_bavail * os.statvfs("/tmp").f_frsize
    if free < SPARE * size:
        pytest.skip(f"{SPARE * FILE_GIB:.0f} GiB of disk are needed")
    with Daemons() as daemons:
        trio = daemons.loopback(3, "--copies", "3", "--quota", f"{int(FILE_GIB * 2) + 1}GiB")
        alice = trio[0]
        for daemon in trio:  # what is loaded on the first use of each path is no growth
            daemon.ok("put", f"warm {daemon.name}", "-", stdin=os.urandom(3 * MIB))
        idle = [daemon.memory_kb()["VmRSS"] for daemon in trio]
        with peaks(trio) as peak:
            began = time.monotonic()
            put_huge(alice, size)
            put_s = time.monotonic() - began
            most = peak()
        print(f"put of {FILE_GIB:g} GiB on 3 peers: {put_s:.1f} s, {size / put_s / 1e6:.0f} MB/s")
        growth(trio, idle, most, "put")
        # One that has no room to keep it can read it all the same.
        reader = daemons.start(None, "--bootstrap", alice.listen, "--quota", "64MiB")
        meet([reader, *trio])
        for daemon in trio:
            reader.ok("get", f"warm {daemon.name}", "-o", tmp_path / "warm")
        everybody = [*trio, reader]
        idle = [*idle, reader.memory_kb()["VmRSS"]]
        with peaks(everybody) as peak:
            began = time.monotonic()
            get_huge(reader, size)
            get_s = time.monotonic() - began
            most = peak()
        print(f"get of {FILE_GIB:g} GiB by a fourth: {get_s:.1f} s, {size / get_s / 1e6:.0f} MB/s")
        growth(everybody, idle, most, "get")


def put_huge(writer: Daemon, size: int) -> None:
    put = writer.popen("put", "huge", "-", stdin=subprocess.PIPE)
    try:
        assert put.stdin is not None and put.stderr is not None
        for block in Feed(size):
            put.stdin.write(block)
        put.stdin.close()
        code = put.wait(600)
        assert code == 0, put.stderr.read()
    finally:
        put.kill()
        put.wait()
        assert put.stderr is not None
        put.stderr.close()


def get_huge(reader: Daemon, size: int) -> None:
    # Compared as it comes, so that no second copy of it needs disk.
    get = subprocess.Popen([PEER, "get", "huge"], env=reader.env, stdout=subprocess.PIPE)
    try:
        assert get.stdout is not None
        for block in Feed(size):
            assert get.stdout.read(MIB) == block
        assert get.stdout.read() == b""
        assert get.wait(60) == 0
    finally:
        get.kill()
        get.communicate()


def growth(daemons: list[Daemon], idle: list[int], peak: list[int], what: str) -> None:
    for daemon, before, most in zip(daemons, idle, peak, strict=True):
        more = most - before
        print(f"{what}, {daemon.name}: idle {before / 1024:.1f} MiB, peak {most / 1024:.1f}, +{more / 1024:.1f}")
    assert all(most - before <= GROWTH_LIMIT_KB for before, most in zip(idle, peak, strict=True)), (what, idle, peak)


@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
def test_an_idle_daemon_with_mdns_is_small_and_quiet() -> None:
    with Net(3) as net, Daemons() as daemons:
        running = [daemons.prepare(host).launch() for host in net.hosts]
        for daemon in running:
            daemon.wait_ready()
        meet(running)
        files = [daemon.descriptors() for daemon in running]
        began, cpu = time.monotonic(), [daemon.cpu_s() for daemon in running]
        time.sleep(IDLE_S)  # what is measured is idleness
        passed_s = time.monotonic() - began
        for daemon, before, used in zip(running, cpu, files, strict=True):
            memory = daemon.memory_kb()
            share = (daemon.cpu_s() - before) / passed_s
            print(
                f"{daemon.name} after {passed_s:.0f} s idle: RSS {memory['VmRSS'] * 1024 / 1e6:.1f} MB, "
                f"PSS {memory['Pss'] * 1024 / 1e6:.1f} MB, anonymous {memory['RssAnon'] * 1024 / 1e6:.1f} MB, "
                f"{memory['Threads']} threads, {daemon.descriptors()} files, {share:.2%} of a CPU"
            )
            assert memory["VmRSS"] <= IDLE_LIMIT_KB, memory
            assert memory["Threads"] <= 12
            assert daemon.descriptors() <= used + 2
            assert share < 0.03
