"""What this peer knows of registers without asking: its acceptors, and which keys are just being made strong."""

from peerd.clock import Clock
from peerd.ids import ID_BYTES, Key, PeerId
from peerd.io.store.interface import Store
from peerd.trust.register import Acceptor, decode_acceptor, encode_acceptor, encode_lost

# A promise for a register that is new holds off plain writes for so long; its proposer gives up earlier.
CREATING_S = 30.0
CREATING_MAX = 4096


class Registers:
    """The acceptors of this peer, one for each key."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._started_at = clock.monotonic()
        self._creating: dict[Key, float] = {}

    async def load(self, key: Key) -> tuple[bytes | None, Acceptor]:
        """Return the acceptor of a key, and the bytes that `keep` compares with."""
        raw = await self._store.register(key) if self._store.may_have_register(key) else None
        return raw, decode_acceptor(raw, self._store.store_id)

    async def keep(self, key: Key, acceptor: Acceptor, *, over: bytes | None) -> bool:
        """Make the acceptor durable where `over` is still what is there."""
        return await self._store.put_register(key, encode_acceptor(acceptor, self._store.store_id), only_if=over)

    def proposer(self, raw: bytes) -> PeerId | None:
        """Return who made what is kept of a register: who wrote its value, or who was promised to."""
        acceptor = decode_acceptor(raw, self._store.store_id)
        if acceptor.state is not None:
            return PeerId(acceptor.state.value.body.writer)
        return PeerId(acceptor.promised.peer) if len(acceptor.promised.peer) == ID_BYTES else None

    async def keep_lost(self, key: Key) -> Acceptor:
        """Note that this store has forgotten what it said of a key's register, and return that."""
        await self._store.put_register(key, encode_lost(), only_if=None)
        return (await self.load(key))[1]

    def creating(self, key: Key) -> None:
        """Note that a register that is new was promised: no plain write may come between."""
        now = self._clock.monotonic()
        self._creating.pop(key, None)
        self._creating[key] = now
        oldest = next(iter(self._creating))
        if len(self._creating) > CREATING_MAX or self._creating[oldest] < now - CREATING_S:
            del self._creating[oldest]

    async def is_strong(self, key: Key) -> bool:
        """Whether plain writes of the key are refused here."""
        if not self._store.may_have_register(key):
            return False
        _, acceptor = await self.load(key)
        if acceptor.state is not None:
            return True
        return max(self._creating.get(key, self._started_at), self._started_at) > self._clock.monotonic() - CREATING_S
