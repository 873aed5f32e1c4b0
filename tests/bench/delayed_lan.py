"""A LAN on which every frame takes its time: hosts in namespaces, each on a TAP device of one switch in user space.

`netem` is not everywhere; a switch of our own is. It runs as a process of its own (`python -m tests.bench.delayed_lan
MILLISECONDS NAMESPACE...`), which enters each namespace, makes `eth0` there and moves frames: by the addresses that it
has learnt, each after the delay. A line on its standard input has it print the bytes that each host has sent so far.
Needs root.
"""

import collections
import contextlib
import ctypes
import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.live.netns import Host, Net

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x1002
_FRAME_BYTES = 65536
_NEW_NET = 0x40000000
_BATCH = 64
_READY = "ready"


class DelayedLan:
    """The hosts, and what each has sent."""

    def __init__(self, net: Net, switch: "subprocess.Popen[str]") -> None:
        self.hosts = net.hosts
        self._switch = switch

    def sent_bytes(self) -> list[int]:
        """Return the bytes that each host has sent, frames whole."""
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        self._switch.stdin.write("\n")
        self._switch.stdin.flush()
        counts: list[int] = json.loads(self._switch.stdout.readline())
        return counts


@contextlib.contextmanager
def delayed_lan(hosts: int, one_way_s: float) -> Iterator[DelayedLan]:
    """Make a LAN of so many hosts; it is gone on leaving."""
    with Net(0) as net:
        for _ in range(hosts):
            net.add_host()
        names = [host.namespace for host in net.hosts]
        command = [sys.executable, "-m", "tests.bench.delayed_lan", str(one_way_s * 1000), *names]
        switch = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert switch.stdout is not None
            if switch.stdout.readline().strip() != _READY:
                raise OSError("the switch did not start")
            for host in net.hosts:
                _plug(host)
            yield DelayedLan(net, switch)
        finally:
            switch.kill()
            switch.communicate()


def _plug(host: Host) -> None:
    host.ports[0] = "tap"  # so that it has an address
    host.ip("link set eth0 up", f"addr add {host.address}/24 brd + dev eth0", "route add 224.0.0.0/4 dev eth0")


def _tap(namespace: str) -> int:
    """Enter a namespace and return the descriptor of a new TAP device `eth0` in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    entered = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(entered, _NEW_NET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    finally:
        os.close(entered)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"eth0", _TAP_WITHOUT_HEADER))
    return device


def serve(one_way_s: float, namespaces: list[str]) -> None:
    """Move frames until standard input ends."""
    ports = [_tap(name) for name in namespaces]
    index_of = {port: index for index, port in enumerate(ports)}
    sent = [0] * len(ports)
    learnt: dict[bytes, int] = {}
    held: collections.deque[tuple[float, int, bytes]] = collections.deque()
    poll = select.epoll()
    poll.register(0, select.EPOLLIN)
    for port in ports:
        poll.register(port, select.EPOLLIN)
    print(_READY, flush=True)
    while True:
        wait = max(0.0, held[0][0] - time.perf_counter()) if held else None
        select.select([poll], [], [], wait)
        for port, _ in poll.poll(0):
            if port == 0:
                if not sys.stdin.readline():
                    return
                print(json.dumps(sent), flush=True)
                continue
            for frame in _frames(port):
                sent[index_of[port]] += len(frame)
                learnt[frame[6:12]] = port
                held.append((time.perf_counter() + one_way_s, port, frame))
        now = time.perf_counter()
        while held and held[0][0] <= now:
            _, source, frame = held.popleft()
            target = learnt.get(frame[:6])
            for port in [target] if target is not None else [each for each in ports if each != source]:
                with contextlib.suppress(BlockingIOError, OSError):
                    os.write(port, frame)


def _frames(port: int) -> Iterator[bytes]:
    for _ in range(_BATCH):
        try:
            yield os.read(port, _FRAME_BYTES)
        except (BlockingIOError, OSError):
            return


if __name__ == "__main__":
    serve(float(sys.argv[1]) / 1000, sys.argv[2:])
