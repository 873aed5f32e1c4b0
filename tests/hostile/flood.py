"""Work made for a daemon by strangers: junk datagrams, streams left half open, slow clients of its API.

A process each, so that what it costs is not the victim's. They know what anybody on the LAN knows: the address, and
the name of an open network, so their MACs are right where they want them to be.

    python -m tests.hostile.flood junk 10.77.0.1:7433 --network default --rate 5000 --seconds 60
    python -m tests.hostile.flood streams 10.77.0.1:7433 --count 500 --seconds 60
    python -m tests.hostile.flood api 127.0.0.1:7434 --count 200 --seconds 60
    python -m tests.hostile.flood forged 10.77.0.1:7433 --source 10.77.0.3:4000 --kind hello --count 400

Each prints one line of JSON of what it did when it ends, and those that go on for a time one when they have begun.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import select
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable

from peerd.identity import ED25519, Identity
from peerd.ids import NetworkId, network_id
from peerd.wire import envelope
from peerd.wire.handshake import Initiator, _mac, mac_key, new_session_id

Address = tuple[str, int]

# A cookie proves an address for ten seconds: what is built on one is made anew before.
FRESH_S = 4.0
TICK_S = 0.01
SOCKETS = 16
KINDS = ("random", "bad_mac", "hello", "replayed", "forged")
FORGED_KINDS = ("random", "bad_mac", "hello", "finish", "unknown_session", "unknown_session_short", "challenge")
STREAM_PAUSE_S = 1.0


class Stranger:
    """One who says hello as a member of the network would, from an address of its own."""

    def __init__(self, target: Address, network: NetworkId, rng: random.Random) -> None:
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.connect(target)
        self.sock.setblocking(False)
        self._network = network
        self._rng = rng
        self.finish = b""

    def shake_hands(self) -> bool:
        """Do a handshake as a new peer and keep its finish; False where nobody answered."""
        identity = Identity(ED25519.signing_key(self._rng.randbytes(32)), self._network, ED25519)
        initiator = Initiator(identity, self._rng.randbytes)
        for _ in range(10):
            self.sock.send(initiator.hello_bytes())
            if select.select([self.sock], [], [], 0.1)[0]:
                data = self.sock.recv(2048)
                if data[2] == envelope.CHALLENGE and data[3:11] == initiator.session_id:
                    self.finish = initiator.on_challenge(envelope.parse_challenge(data))
                    self.sock.send(self.finish)
                    return True
        return False

    def drain(self) -> int:
        """Read what came; return its bytes."""
        got = 0
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                got += len(self.sock.recv(2048))
        return got


class Junk:
    """Datagrams of every kind, at a rate."""

    def __init__(self, target: Address, network: str, rng: random.Random) -> None:
        self._rng = rng
        self._network = network_id(network)
        self.strangers = [Stranger(target, self._network, rng) for _ in range(SOCKETS)]
        self._hello = self._make_hello()
        self._hellos = [self._make_hello() for _ in range(256)]
        self.sent: Counter[str] = Counter()
        self.got_bytes = 0

    def _make_hello(self) -> bytes:
        identity = Identity(ED25519.signing_key(self._rng.randbytes(32)), self._network, ED25519)
        return Initiator(identity, self._rng.randbytes).hello_bytes()

    def make(self, kind: str, stranger: Stranger) -> bytes:
        """Return one datagram."""
        rng = self._rng
        match kind:
            case "random":
                return rng.randbytes(rng.randrange(1, 1233))
            case "bad_mac":
                return self._hello[:-16] + rng.randbytes(16)
            case "hello":
                return rng.choice(self._hellos)
            case "replayed":
                return stranger.finish
            case _:  # a finish whose cookie and MAC are right and whose signature is not: the dearest to refuse
                return self._forged(stranger)

    def _forged(self, stranger: Stranger) -> bytes:
        body = stranger.finish[: -envelope.MAC_BYTES - 64] + self._rng.randbytes(64)
        return body + _mac(mac_key(self._network), body)

    def run(self, rate: int, seconds: float) -> None:
        """Send for so long."""
        for stranger in self.strangers:
            assert stranger.shake_hands(), "nobody answers there"
        say(begun=True)
        began = fresh_at = time.monotonic()
        total = 0
        while (now := time.monotonic()) - began < seconds:
            if now - fresh_at > FRESH_S:
                fresh_at = now
                stranger = self._rng.choice(self.strangers)
                stranger.drain()
                stranger.shake_hands()
            due = int((now - began) * rate) - total
            for _ in range(min(due, rate // 10)):
                kind, stranger = KINDS[total % len(KINDS)], self._rng.choice(self.strangers)
                data = self.make(kind, stranger)
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    stranger.sock.send(data)
                    self.sent[kind] += 1
                    self.sent["bytes"] += len(data)
                total += 1
            for stranger in self.strangers:
                self.got_bytes += stranger.drain()
            time.sleep(TICK_S)
        say(sent=self.sent, got_bytes=self.got_bytes, per_s=round(total / seconds))


class Forger:
    """Datagrams in the name of somebody else: raw IP, for which one has to be root on one's own host."""

    def __init__(self, target: Address, source: Address, network: str, rng: random.Random) -> None:
        self._target, self._source, self._rng = target, source, rng
        self._key = mac_key(network_id(network))
        self._junk = Junk(target, network, rng)
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def make(self, kind: str) -> bytes:
        """Return one datagram of those that anybody can make."""
        rng = self._rng
        match kind:
            case "finish":
                return self._junk.make("forged", self._junk.strangers[0])
            case "unknown_session" | "unknown_session_short":
                size = 75 if kind == "unknown_session" else 38
                head = envelope.SEALED_HEADER + new_session_id(rng.randbytes, self._key)
                return head + rng.randbytes(size - len(head))
            case "challenge":
                body = envelope.header(envelope.CHALLENGE) + rng.randbytes(56)
                return body + _mac(self._key, body)
            case _:
                return self._junk.make(kind, self._junk.strangers[0])

    def run(self, kind: str, count: int) -> None:
        """Send so many."""
        if kind == "finish":
            assert self._junk.strangers[0].shake_hands(), "nobody answers there"
        for number in range(count):
            self._send(self.make(kind))
            if number % 20 == 19:
                time.sleep(TICK_S)
        say(sent=count)

    def _send(self, data: bytes) -> None:
        udp = struct.pack(">HHHH", self._source[1], self._target[1], 8 + len(data), 0) + data
        source, target = socket.inet_aton(self._source[0]), socket.inet_aton(self._target[0])
        head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0, source, target)
        self._sock.sendto(head + udp, (self._target[0], 0))


async def hold_streams(target: Address, count: int, seconds: float) -> None:
    """Keep `count` streams open that go no further: before TLS, within it, and after it without a proof."""
    done: Counter[str] = Counter()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    hello = bytes.fromhex("16030101000100 00fc0303".replace(" ", "")) + os.urandom(60)

    async def one(number: int) -> None:
        kind = ("silent", "half_tls", "unproven")[number % 3]
        while True:
            try:
                async with asyncio.timeout(10):
                    reader, writer = await asyncio.open_connection(
                        *target,
                        ssl=context if kind == "unproven" else None,
                        server_hostname="" if kind == "unproven" else None,
                    )
            except (OSError, TimeoutError):
                done["refused"] += 1
                await asyncio.sleep(STREAM_PAUSE_S)
                continue
            done[kind] += 1
            with contextlib.suppress(OSError):
                if kind == "half_tls":
                    writer.write(hello)
                while await reader.read(4096):
                    pass
            writer.transport.abort()
            await asyncio.sleep(STREAM_PAUSE_S)

    await _run_all([one(number) for number in range(count)], seconds)
    say(streams=done)


async def hold_api(target: Address, count: int, seconds: float) -> None:
    """Keep `count` slow clients of the API: silent, a byte a second, and a body that does not come."""
    done: Counter[str] = Counter()
    head = f"PUT /v1/kv/slow HTTP/1.1\r\nHost: {target[0]}:{target[1]}\r\nAuthorization: Bearer x\r\n".encode()

    async def one(number: int) -> None:
        kind = ("silent", "slow_head", "slow_body")[number % 3]
        while True:
            try:
                async with asyncio.timeout(10):
                    reader, writer = await asyncio.open_connection(*target)
            except (OSError, TimeoutError):
                done["refused"] += 1
                await asyncio.sleep(STREAM_PAUSE_S)
                continue
            done[kind] += 1
            with contextlib.suppress(OSError):
                text = b"" if kind == "silent" else head
                if kind == "slow_body":
                    writer.write(head + b"Content-Length: 1000000\r\n\r\n")
                    text = b"x" * 1000
                for byte in text:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
                    if reader.at_eof():
                        break
                while await reader.read(4096):
                    pass
            writer.transport.abort()
            await asyncio.sleep(STREAM_PAUSE_S)

    await _run_all([one(number) for number in range(count)], seconds)
    say(api=done)


async def _run_all(work: list, seconds: float) -> None:
    say(begun=True)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("junk", "streams", "api", "forged"))
    parser.add_argument("target")
    parser.add_argument("--network", default="default")
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--source", type=address, help="of forged: in whose name")
    parser.add_argument("--kind", choices=FORGED_KINDS, help="of forged")
    options = parser.parse_args()
    target, rng = address(options.target), random.Random(options.seed)
    runs: dict[str, Callable[[], None]] = {
        "junk": lambda: Junk(target, options.network, rng).run(options.rate, options.seconds),
        "forged": lambda: Forger(target, options.source, options.network, rng).run(options.kind, options.count),
        "streams": lambda: asyncio.run(hold_streams(target, options.count, options.seconds)),
        "api": lambda: asyncio.run(hold_api(target, options.count, options.seconds)),
    }
    runs[options.what]()


if __name__ == "__main__":
    main()
