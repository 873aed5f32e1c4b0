"""Datagrams that no honest peer would send, thrown at a daemon: it counts them, answers little, and stays up."""

import os
import random
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.live.daemons import Daemon, Daemons, meet, until

DATAGRAM_MAX_BYTES = 1232
ROUNDS = 400


class Relay:
    """A host in the middle: it passes datagrams on between a daemon and those who dial it, and keeps a copy of each."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back.bind(("127.0.0.1", 0))
        self.to_target: list[bytes] = []
        self.from_target: list[bytes] = []
        self.passing = True
        self._caller: tuple[str, int] | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.front.getsockname()[1]}"

    def _run(self) -> None:
        while not self._stopped:
            for sock in select.select([self.front, self.back], [], [], 0.05)[0]:
                data, sender = sock.recvfrom(65536)
                if sock is self.front:
                    self._caller = sender
                    self.to_target.append(data)
                    if self.passing:
                        self.back.sendto(data, self.target)
                else:
                    self.from_target.append(data)
                    if self.passing and self._caller is not None:
                        self.front.sendto(data, self._caller)

    def close(self) -> None:
        self._stopped = True
        self._thread.join()
        self.front.close()
        self.back.close()


@pytest.fixture(scope="module")
def scene() -> Iterator[tuple[Daemon, Daemon, Relay]]:
    """Alice, and bob who reaches her through a relay that has recorded their handshake and some messages."""
    with Daemons() as daemons:
        alice = daemons.start()
        relay = Relay(("127.0.0.1", int(alice.listen.rpartition(":")[2])))
        try:
            bob = daemons.start(None, "--bootstrap", relay.address)
            meet([alice, bob])
            alice.ok("put", "before", "--value", "sound")
            assert bob.ok("get", "before") == b"sound"
            until(lambda: len(relay.to_target) >= 4, 10)
            yield alice, bob, relay
        finally:
            relay.close()


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def answers(sock: socket.socket, wait_s: float = 0.3) -> list[bytes]:
    got = []
    while select.select([sock], [], [], wait_s)[0]:
        got.append(sock.recv(65536))
    return got


def throw(sock: socket.socket, target: tuple[str, int], datagrams: list[bytes]) -> list[bytes]:
    """Send them all, with pauses enough for none to be lost in the receiver's buffer; return what came back."""
    got: list[bytes] = []
    for number, datagram in enumerate(datagrams):
        sock.sendto(datagram, target)
        if number % 20 == 19:
            got += answers(sock, 0.01)
    return got + answers(sock)


def require_sound(alice: Daemon, bob: Daemon, pid: int, word: str) -> None:
    assert alice.running and alice.pid == pid
    alice.ok("put", "after", "--value", word)
    assert bob.ok("get", "after") == word.encode()
    assert bob.id in alice.alive() and alice.id in bob.alive()
    assert "Traceback" not in alice.log and "ERROR" not in alice.log, alice.log


def damaged(recorded: list[bytes], kind: str, rng: random.Random) -> list[bytes]:
    picks = [rng.choice(recorded) for _ in range(ROUNDS)]
    match kind:
        case "truncated":
            return [data[: rng.randrange(len(data))] for data in picks]
        case "altered":
            made = []
            for data in picks:
                changed = bytearray(data)
                changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
                made.append(bytes(changed))
            return made
        case "extended":
            return [data + rng.randbytes(rng.randrange(1, 64)) for data in picks]
        case "oversized":
            return [data + bytes(rng.randrange(DATAGRAM_MAX_BYTES, 60_000)) for data in picks[:100]]
        case "foreign":
            dns = bytes.fromhex("abcd01000001000000000000076578616d706c6503636f6d0000010001")
            dht = b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe"
            return [
                b"",
                b"\x00",
                dns,
                dht,
                b"GET / HTTP/1.1\r\n\r\n",
                *(rng.randbytes(rng.randrange(1300)) for _ in picks),
            ]
        case _:
            return picks


@pytest.mark.parametrize("kind", ["truncated", "altered", "extended", "oversized", "foreign", "replayed"])
def test_bad_datagrams_of_a_stranger_are_counted_and_change_nothing(
    scene: tuple[Daemon, Daemon, Relay], stranger: socket.socket, kind: str, rng: random.Random
) -> None:
    alice, bob, relay = scene
    pid, before, threads = alice.pid, alice.rejected(), alice.memory_kb()
    datagrams = damaged(list(relay.to_target), kind, rng)
    got = throw(stranger, relay.target, datagrams)
    sent_bytes, got_bytes = sum(map(len, datagrams)), sum(map(len, got))
    counted = alice.rejected() - before
    print(f"{kind}: {len(datagrams)} sent ({sent_bytes} B), {counted} counted, {len(got)} answered ({got_bytes} B)")
    print(alice.status()["rejected"])
    # An answer to a stranger is a challenge, smaller than what asked for it: nothing to amplify with.
    assert got_bytes <= sent_bytes
    assert counted > 0 or (kind == "replayed" and got)
    require_sound(alice, bob, pid, kind)
    assert alice.memory_kb()["VmRSS"] < threads["VmRSS"] + 8192


@pytest.mark.parametrize("kind", ["replayed", "altered", "truncated"])
def test_bad_datagrams_from_the_address_of_a_known_peer_do_not_break_its_session(
    scene: tuple[Daemon, Daemon, Relay], kind: str, rng: random.Random
) -> None:
    alice, bob, relay = scene
    pid, before = alice.pid, alice.rejected()
    for datagram in damaged(list(relay.to_target), kind, rng):
        relay.back.sendto(datagram, relay.target)
    until(lambda: alice.rejected() > before, 5, lambda: alice.status()["rejected"])
    print(f"{kind}: {alice.rejected() - before} counted: {alice.status()['rejected']}")
    require_sound(alice, bob, pid, f"known {kind}")
    # The other way too: what alice said once is said again to bob, by a host in the middle.
    before = bob.rejected()
    bobs = ("127.0.0.1", int(bob.listen.rpartition(":")[2]))
    for datagram in damaged(list(relay.from_target), kind, rng):
        relay.front.sendto(datagram, bobs)
    until(lambda: bob.rejected() > before, 5, lambda: bob.status()["rejected"])
    assert bob.running
    require_sound(alice, bob, pid, f"known {kind} back")


def test_a_flood_of_hellos_from_many_ports_leaves_the_daemon_useful(scene: tuple[Daemon, Daemon, Relay]) -> None:
    alice, bob, relay = scene
    pid, before = alice.pid, alice.memory_kb()["VmRSS"]
    hello = max(relay.to_target[:3], key=len)
    for _ in range(300):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(5):
                sock.sendto(hello[:-8] + os.urandom(8), relay.target)
    require_sound(alice, bob, pid, "flooded")
    after = alice.memory_kb()["VmRSS"]
    print(f"RSS {before} -> {after} KiB after 1,500 hellos from 300 ports")
    assert after < before + 8192


def test_connections_that_speak_no_tls_or_nothing_are_dropped() -> None:
    with Daemons() as daemons:
        alice, bob = daemons.loopback(2)
        pid, files = alice.pid, alice.descriptors()
        target = ("127.0.0.1", int(alice.listen.rpartition(":")[2]))
        held = []
        try:
            for number in range(60):
                sock = socket.create_connection(target, 5)
                if number % 3 == 1:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                elif number % 3 == 2:
                    sock.sendall(b"\x16\x03\x01" + os.urandom(200))
                held.append(sock)
            require_sound(alice, bob, pid, "connected")
            for writer, reader in ((alice, bob), (bob, alice)):
                writer.ok("put", "bulk", "-", stdin=b"x" * 3_000_000)
                assert reader.ok("get", "bulk") == b"x" * 3_000_000
        finally:
            for sock in held:
                sock.close()
        until(lambda: alice.descriptors() <= files + 6, 15, lambda: (files, alice.descriptors()))
        require_sound(alice, bob, pid, "closed")
