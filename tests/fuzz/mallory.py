"""A member of the network that shakes hands as it should and then speaks nearly sense: mutated messages, well sealed.

So what is inside is reached: the decoders of messages and statements, and all that looks at sound ones. It answers
what it is asked, half of the time soundly, or the others would soon have nothing to do with it.
"""

import asyncio
import random
from contextlib import suppress

import msgspec

from peerd.errors import WireError
from peerd.identity import SIGNATURE_BYTES, Identity
from peerd.kad.contact import Address
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire import envelope, messages
from peerd.wire.handshake import Initiator, Responder
from peerd.wire.messages import Answering
from peerd.wire.session import Session
from tests.fuzz import samples
from tests.fuzz.bytes_in import TAGS
from tests.fuzz.mutate import Mutator
from tests.vectors.cast import identity

PORT = 7433
HANDSHAKE_TRIES = 6
HANDSHAKE_WAIT_S = 0.3
INDEX_FROM = 50_000
"""Above the numbers of the hosts of the world."""

SIGNERS = tuple(identity(name).peer for name in ("alice", "bob", "carol"))
_REPLY_TAG = 64
_ANSWERS = {
    messages.Ping: (64,),
    messages.FindNode: (65,),
    messages.FindValue: (66,),
    messages.FindProviders: (67,),
    messages.Store: (68, 69),
    messages.Members: (65,),
    messages.Relay: (80,),
    messages.Vouch: (80,),
    messages.Prepare: (88,),
    messages.Accept: (89, 88),
    messages.Prove: (104,),
    messages.Attest: (105,),
    messages.FindFloors: (84,),
    messages.FindEntry: (112,),
    messages.Follow: (108,),
}


def _field(raw: bytes, at: int) -> int:
    return int(msgspec.msgpack.decode(raw)[at])


class Mallory:
    """One such member, at an address of its own; `victim` is who hears it."""

    def __init__(self, world: World, victim: Host, number: int, rng: random.Random) -> None:
        suite = world.suite
        self.identity = Identity(suite.signing_key(rng.randbytes(32)), world.overlay, suite)
        self.address: Address = (f"10.200.{number >> 8}.{number & 255}", PORT)
        self.session: Session | None = None
        self.recorded: list[bytes] = []
        """Handshakes as they were: to be mutated, and thrown by strangers."""
        self.answered = 0
        self._rng = rng
        self._victim = victim
        self._network = world.network
        self._loop = world.loop
        self._responder = Responder(self.identity, rng.randbytes)
        self._initiator: Initiator | None = None
        self._opened = asyncio.Event()
        self._interface = world.network.attach(INDEX_FROM + number, self.address)
        self._interface.start()
        self._interface.receive = self._hear
        whole = samples.messages()
        self._requests = [raw for raw in whole if _field(raw, 0) < _REPLY_TAG]
        self._replies = [raw for raw in whole if _field(raw, 0) >= _REPLY_TAG]
        self._mutator = Mutator(rng, whole)
        self._statements = [
            (kind, raw) for kind in TAGS for raw in samples.statements(kind) if raw[-SIGNATURE_BYTES:] != b""
        ]

    def close(self) -> None:
        """Go away without a word."""
        self._interface.stop()

    async def shake_hands(self) -> bool:
        """Open a session with the victim; False where it does not want one."""
        for _ in range(HANDSHAKE_TRIES):
            self._opened.clear()
            self._initiator = Initiator(self.identity, self._rng.randbytes, expected=self._victim.identity.peer)
            self._tell(self._initiator.hello_bytes())
            with suppress(TimeoutError):
                async with asyncio.timeout(HANDSHAKE_WAIT_S):
                    await self._opened.wait()
                    return True
        return False

    def is_known(self) -> bool:
        """Return whether the victim still has the session."""
        session, peer = self.session, self._victim.peer
        return (
            session is not None
            and peer is not None
            and peer._core.endpoint.sessions.by_id(session.remote_id) is not None
        )

    # What it says.

    def sealed(self) -> bytes:
        """Return a sealed datagram that holds a mutated request, now and then an answer to nothing."""
        assert self.session is not None, "shake hands first"
        rng = self._rng
        chosen = rng.random()
        if chosen < 0.35:
            plain = self._mutator.mutate_packed(self._mine(rng.choice(self._requests)))
        elif chosen < 0.65:
            plain = self._mutator.mutate(self._mine(rng.choice(self._requests)))
        elif chosen < 0.9:
            plain = self._carried()
        else:
            plain = self._mutator.mutate_packed(rng.choice(self._replies))
        return self._seal(plain[: envelope.PLAINTEXT_MAX_BYTES])

    def hello(self) -> bytes:
        """Return a mutated hello whose MAC is right again."""
        body = self._mutator.mutate(Initiator(self.identity, self._rng.randbytes).hello_bytes()[:-16])
        return body + _mac(self.identity, body)

    def finish(self) -> bytes:
        """Return a mutated finish of the last handshake, whose MAC is right again."""
        finish = self._initiator.finish if self._initiator is not None else None
        if finish is None:
            return self.hello()
        body = self._mutator.mutate(finish.body())
        return body + _mac(self.identity, body)

    def _carried(self) -> bytes:
        """A sound message around a statement that was changed, and then signed by us."""
        kind, sample = self._rng.choice(self._statements)
        body = self._mine(sample[:-SIGNATURE_BYTES])
        if self._rng.random() < 0.8:
            body = self._mutator.mutate_packed(body)
        raw = body + self.identity.sign(TAGS[kind], body)
        rid = self._rng.randrange(2**32)
        match kind:
            case "record":
                message: messages.Request = messages.Store(rid, raw, self._rng.choice((None, 1, 60, 2**30)))
            case "provider":
                message = messages.AddProvider(rid, raw)
            case "notice":
                message = self._rng.choice((messages.Leave(rid, raw), messages.Tell(rid, (b"\x02" + raw,))))
            case "claim":
                message = messages.Release(rid, b"\x01\x70\x12\x20" + bytes(32), raw)
            case _:
                message = messages.Tell(rid, (bytes([self._rng.randrange(10)]) + raw,))
        return messages.encode(message)

    def _mine(self, raw: bytes) -> bytes:
        """The same bytes, where somebody of the vectors stands in them with our id instead."""
        for signer in SIGNERS:
            raw = raw.replace(signer, self.identity.peer)
        return raw

    # What it hears.

    def _hear(self, data: bytes, sender: Address) -> None:
        if sender != self._victim.address:
            return
        with suppress(WireError):
            self._take(data, envelope.kind_of(data))

    def _take(self, data: bytes, kind: int) -> None:
        now = self._loop.time()
        if kind == envelope.HELLO:
            self._tell(self._responder.on_hello(data, self._victim.address, now)[1])
        elif kind == envelope.FINISH:
            established, accept = self._responder.on_finish(data, self._victim.address, now, first=b"\x93@\x00\xc4\x00")
            self.session = established.session
            self._tell(accept)
        elif kind == envelope.CHALLENGE and self._initiator is not None:
            self._tell(self._initiator.on_challenge(envelope.parse_challenge(data)))
        elif kind == envelope.ACCEPT and self._initiator is not None:
            self.session = self._initiator.on_accept(envelope.parse_accept(data)).session
            self._opened.set()
        elif kind == envelope.SEALED and self.session is not None and data[3:11] == self.session.local_id:
            message = messages.decode(self.session.open(data))
            if not isinstance(message, Answering):
                self._answer(message)

    def _answer(self, request: messages.Request) -> None:
        tags = _ANSWERS.get(type(request), (70,))
        fitting = [raw for raw in self._replies if _field(raw, 0) in tags] or self._replies
        plain = self._mine(self._rng.choice(fitting))
        if self._rng.random() < 0.5:
            plain = self._mutator.mutate_packed(plain)
        with suppress(msgspec.MsgspecError, IndexError, TypeError, ValueError, RecursionError, OverflowError):
            fields = msgspec.msgpack.decode(plain)
            fields[1] = request.rid
            plain = msgspec.msgpack.encode(fields)
        self.answered += 1
        self._network.send(self._interface, self._seal(plain[: envelope.PLAINTEXT_MAX_BYTES]), self._victim.address)

    def _seal(self, plain: bytes) -> bytes:
        assert self.session is not None, "shake hands first"
        return self.session.seal(plain)

    def _tell(self, data: bytes) -> None:
        self.recorded.append(data)
        del self.recorded[:-64]
        self._network.send(self._interface, data, self._victim.address)


def _mac(who: Identity, body: bytes) -> bytes:
    import hashlib

    from peerd.wire.handshake import mac_key

    return hashlib.blake2b(body, key=mac_key(who.network), digest_size=envelope.MAC_BYTES).digest()
