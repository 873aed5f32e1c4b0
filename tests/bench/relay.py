"""A relay that holds every datagram for half a round trip: distance between peers of one process, for any program.

Each peer gets a public port here. What a peer sends to another's public port leaves, after the delay, from the
sender's own public port, so that peers know each other by public ports alone, as behind a full-cone NAT. It runs as a
process of its own (`python -m tests.bench.relay MILLISECONDS`): a port number per line in, its public port out.
"""

import asyncio
import collections
import select
import socket
import sys
import time

LOOPBACK = "127.0.0.1"
_RECEIVE_BYTES = 65536
_BUFFER_BYTES = 4 << 20
_BATCH = 64


class Relay:
    """The relay as its user sees it: a child process that publishes ports."""

    def __init__(self, one_way_s: float) -> None:
        self._one_way_s = one_way_s
        self._process: asyncio.subprocess.Process | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __aenter__(self) -> "Relay":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.bench.relay",
            str(self._one_way_s * 1000),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()

    async def publish(self, port: int) -> int:
        """Return the port by which others reach the peer bound to `port`."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._one_at_a_time:
            self._process.stdin.write(f"{port}\n".encode())
            await self._process.stdin.drain()
            return int(await self._process.stdout.readline())


def serve(one_way_s: float) -> None:
    """Move datagrams until standard input ends."""
    public_of: dict[int, socket.socket] = {}
    peer_of: dict[int, int] = {}
    by_fd: dict[int, socket.socket] = {}
    held: collections.deque[tuple[float, socket.socket, bytes, int]] = collections.deque()
    poll = select.epoll()
    poll.register(0, select.EPOLLIN)
    while True:
        # The delay is the same for all, so the queue is in the order of leaving. epoll waits in whole milliseconds;
        # select on the epoll descriptor waits in microseconds.
        wait = max(0.0, held[0][0] - time.perf_counter()) if held else None
        select.select([poll], [], [], wait)
        for fd, _ in poll.poll(0):
            if fd == 0:
                line = sys.stdin.readline()
                if not line:
                    return
                fresh = _open()
                poll.register(fresh.fileno(), select.EPOLLIN)
                by_fd[fresh.fileno()] = fresh
                public_of[int(line)] = fresh
                peer_of[fresh.fileno()] = int(line)
                print(fresh.getsockname()[1], flush=True)
            else:
                _receive(by_fd[fd], peer_of[fd], public_of, held, one_way_s)
        now = time.perf_counter()
        while held and held[0][0] <= now:
            _, source, data, port = held.popleft()
            source.sendto(data, (LOOPBACK, port))


def _open() -> socket.socket:
    fresh = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fresh.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    fresh.bind((LOOPBACK, 0))
    fresh.setblocking(False)
    return fresh


def _receive(
    at: socket.socket,
    peer: int,
    public_of: dict[int, socket.socket],
    held: "collections.deque[tuple[float, socket.socket, bytes, int]]",
    one_way_s: float,
) -> None:
    for _ in range(_BATCH):
        try:
            data, sender = at.recvfrom(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except ConnectionRefusedError:
            continue
        source = public_of.get(sender[1])
        if source is not None:
            held.append((time.perf_counter() + one_way_s, source, data, peer))


if __name__ == "__main__":
    serve(float(sys.argv[1]) / 1000)
