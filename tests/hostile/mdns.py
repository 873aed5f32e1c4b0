"""A stranger on the LAN that says by mDNS whatever hurts: raw packets, of which no library would make most.

    python -m tests.hostile.mdns --network DIGEST --seconds 10 [--victim ID …]     in a host of the LAN

Five hundred invented services, names of others with another key, goodbyes for everybody, pointers in chains and loops,
control and bidirectional characters, packets of 9 kB, lives of 0 and of 2^32 - 1 seconds, 64 addresses for one name,
questions without end. On the port that its services name it counts who comes: a line of JSON in the end.
"""

import argparse
import json
import random
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence

from peerd.ids import PeerId, peer_id_text
from tests.fuzz.mutate import Mutator

GROUP_4, GROUP_6, PORT = "224.0.0.251", "ff02::fb", 5353
SERVICE = (b"_peerd", b"_udp", b"local")
SERVICES = 500
ADDRESSES = 64
PACKET_MAX_BYTES = 8966
"""What fits a packet of 9,000 bytes with its headers."""

A, PTR, TXT, AAAA, SRV, ANY = 1, 12, 16, 28, 33, 255
FLUSH = 0x8001
CLASS_IN = 0x0001
LIVES = (0, 1, 2, 120, 4500, 2**31 - 1, 2**31, 2**32 - 1)
CONTROLS = bytes(range(1, 32)) + b"\x7f\x1b[2J\x1b]0;owned\x07" + "\x9b31m\u202eevil\u2066\u200f\u2028".encode()

Record = tuple[Sequence[bytes], int, int, int, bytes]
"""Name, type, class, life, data."""


def name(*labels: bytes) -> bytes:
    """Return a name, uncompressed."""
    return b"".join(bytes([len(label[:63])]) + label[:63] for label in labels) + b"\0"


def packet(records: Iterable[Record], *, query: bool = False, truncated: bool = False) -> bytes:
    """Return an answer, or a question for what the records name."""
    parts = [
        name(*labels)
        + (struct.pack(">HH", kind, CLASS_IN) if query else struct.pack(">HHIH", kind, klass, life, len(data)) + data)
        for labels, kind, klass, life, data in records
    ]
    flags = (0x0200 if truncated else 0) if query else 0x8400
    counts = (len(parts), 0) if query else (0, len(parts))
    return struct.pack(">6H", 0, flags, *counts, 0, 0) + b"".join(parts)


def text(**fields: bytes) -> bytes:
    """Return the data of a TXT record."""
    whole = (key.encode() + b"=" + value for key, value in fields.items())
    return b"".join(bytes([len(each[:255])]) + each[:255] for each in whole)


def service(
    instance: bytes,
    peer: bytes,
    digest: str,
    port: int,
    addresses: Sequence[str],
    *,
    life: int = 120,
    klass: int = FLUSH,
) -> list[Record]:
    """Return what a peer announces."""
    host = (instance, b"local")
    whole = (instance, *SERVICE)
    families = [(AAAA, socket.AF_INET6) if ":" in each else (A, socket.AF_INET) for each in addresses]
    return [
        (SERVICE, PTR, CLASS_IN, life, name(*whole)),
        (whole, SRV, klass, life, struct.pack(">HHH", 0, 0, port) + name(*host)),
        (whole, TXT, klass, life, text(id=peer, v=b"1", net=digest.encode())),
        *(
            (host, kind, klass, life, socket.inet_pton(family, each))
            for (kind, family), each in zip(families, addresses, strict=True)
        ),
    ]


class Attacks:
    """Makes packets of every kind, in turn, for ever."""

    def __init__(self, rng: random.Random, digest: str, own: str, port: int, victims: Sequence[str]) -> None:
        self._rng = rng
        self._digest = digest
        self._own = own
        self._port = port
        self._victims = [each.encode() for each in victims]
        self._invented = [peer_id_text(PeerId(rng.randbytes(32))).encode() for _ in range(SERVICES)]

    def packets(self) -> Iterator[bytes]:
        """Yield packets."""
        kinds = (self.fake, self.impostor, self.goodbye, self.pointers, self.controls, self.huge, self.lives)
        more = (self.addresses, self.question, self.mutated)
        while True:
            for make in (*kinds, self.fake, *more):
                yield make()[:PACKET_MAX_BYTES]

    def fake(self) -> bytes:
        """A service that is none, as sound as any."""
        peer = self._rng.choice(self._invented)
        return packet(service(self._instance(peer), peer, self._digest, self._port, [self._own]))

    def impostor(self) -> bytes:
        """A victim's name, with somebody else's key and address."""
        victim = self._victim()
        return packet(service(self._instance(victim), self._rng.choice(self._invented), self._digest, 9, [self._own]))

    def goodbye(self) -> bytes:
        """All records of a victim end now."""
        victim = self._victim()
        return packet(service(self._instance(victim), victim, self._digest, 7433, [self._own], life=0))

    def pointers(self) -> bytes:
        """Names of pointers: to itself, to one another, forwards, in a chain; behind a label that is of interest."""
        start = 12 + len(name(*SERVICE))
        chains = [
            struct.pack(">H", 0xC000 | start),
            struct.pack(">HH", 0xC000 | start + 2, 0xC000 | start),
            struct.pack(">H", 0xC000 | 0x3FFF),
            b"".join(struct.pack(">H", 0xC000 | start + 2 * at + 2) for at in range(400)),
            b"".join(b"\x01a" + struct.pack(">H", 0xC000 | start + 4 * at + 4) for at in range(200)),
            b"\x3f" + b"x" * 62,
            b"\x80\x80",
        ]
        body = name(*SERVICE) + self._rng.choice(chains) + struct.pack(">HHIH", PTR, CLASS_IN, 120, 2) + b"\xc0\x0c"
        return struct.pack(">6H", 0, 0x8400, 0, self._rng.choice((1, 2, 65535)), 0, 0) + body

    def controls(self) -> bytes:
        """Characters that move cursors, wherever text can be."""
        peer = self._rng.choice((CONTROLS, self._rng.choice(self._invented)))
        digest = self._rng.choice((self._digest, CONTROLS.decode("utf-8", "replace")))
        return packet(service(CONTROLS, peer, digest, self._port, [self._own]))

    def huge(self) -> bytes:
        """As much as fits one packet: one text, or very many records."""
        peer = self._rng.choice(self._invented)
        instance = self._instance(peer)
        if self._rng.random() < 0.5:
            filler = b"".join(b"\xff" + self._rng.randbytes(255) for _ in range(30))
            return packet([((instance, *SERVICE), TXT, FLUSH, 4500, filler)])
        many = (((self._rng.randbytes(9).hex().encode(), *SERVICE), A, CLASS_IN, 2**31, bytes(4)) for _ in range(160))
        return packet([(SERVICE, PTR, CLASS_IN, 4500, name(instance, *SERVICE)), *many])

    def lives(self) -> bytes:
        """Lives of nothing and of for ever, of invented services and of a victim's."""
        peer = self._rng.choice([*self._invented[:20], *self._victims])
        return packet(
            service(self._instance(peer), peer, self._digest, self._port, [self._own], life=self._rng.choice(LIVES))
        )

    def addresses(self) -> bytes:
        """One name at 64 addresses, of which hardly one can be."""
        odd = ["127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.251", "8.8.8.8", "::1", "fe80::1", "ff02::fb"]
        many = [
            *odd,
            *(f"10.77.{self._rng.randrange(4)}.{self._rng.randrange(256)}" for _ in range(ADDRESSES - len(odd))),
        ]
        peer = self._rng.choice([*self._invented[:20], *self._victims])
        return packet(service(self._instance(peer), peer, self._digest, self._port, many))

    def question(self) -> bytes:
        """Very many questions, truncated, so that more is waited for."""
        asked: list[Record] = [(SERVICE, self._rng.choice((PTR, ANY)), 0, 0, b"")] * self._rng.choice((1, 50, 300))
        asked += [((self._instance(each), *SERVICE), ANY, 0, 0, b"") for each in self._victims]
        return packet(asked, query=True, truncated=self._rng.random() < 0.5)

    def mutated(self) -> bytes:
        """Any of them, changed blindly."""
        return Mutator(self._rng, [self.fake()]).mutate(self._rng.choice((self.fake, self.question, self.impostor))())

    def _victim(self) -> bytes:
        return self._rng.choice(self._victims or self._invented)

    def _instance(self, peer: bytes) -> bytes:
        return peer + b"-" + self._digest[:8].encode()


def _sockets(interface: str) -> list[tuple[socket.socket, tuple[object, ...]]]:
    index = socket.if_nametoindex(interface)
    four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    for sock in (four, six):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    four.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("@4s4si", bytes(4), bytes(4), index))
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    for sock, level, option in (
        (four, socket.IPPROTO_IP, socket.IP_MULTICAST_TTL),
        (six, socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS),
    ):
        sock.setsockopt(level, option, 255)
        sock.bind(("", PORT))
    return [(four, (GROUP_4, PORT)), (six, (GROUP_6, PORT, 0, index))]


def main() -> None:
    """Attack for a while, then tell how often and how many came to see."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--interface", default="eth0")
    parser.add_argument("--own", required=True, help="the address of this host")
    parser.add_argument("--network", required=True)
    parser.add_argument("--victim", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--per-s", type=float, default=400.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    trap = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    trap.bind((args.own, 0))
    attacks = Attacks(random.Random(args.seed), args.network, args.own, trap.getsockname()[1], args.victim)
    outs = _sockets(args.interface)
    began = time.monotonic()
    sent = came = 0
    for data in attacks.packets():
        now = time.monotonic() - began
        if now > args.seconds:
            break
        sock, group = outs[sent % 8 == 7]
        sock.sendto(data, group)  # type: ignore[arg-type]
        sent += 1
        while select.select([trap], [], [], max(0.0, sent / args.per_s - now))[0]:
            trap.recv(2048)
            came += 1
            now = time.monotonic() - began
    print(json.dumps({"sent": sent, "came": came, "seconds": round(time.monotonic() - began, 1)}), flush=True)


if __name__ == "__main__":
    main()
