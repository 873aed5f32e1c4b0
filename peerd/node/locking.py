"""Fenced locks: a strong key says who holds it, and until when is told by silence, never by comparing clocks.

A holder counts its lease from before it asked, on its own monotonic clock, and stops early; a contender takes over only
after it has seen the same version for longer than the lease, on its own: with clocks that drift by 10 % there is time
between. The fence is the sequence of the version that took the lock: it grows with each holder (Kleppmann 2016).
"""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from loguru import logger
from msgspec import Meta, Struct

from peerd.errors import ConflictError, PeerdError, TimedOutError, UsageError, WireError
from peerd.ids import Key, name_key
from peerd.node import results
from peerd.node.agreeing import Draft, read_strong, write_strong
from peerd.node.core import Core
from peerd.node.results import NO_VERSION
from peerd.records.record import INLINE, Record
from peerd.wire.codec import Codec, encode
from peerd.wire.limits import NAME_MAX_BYTES

# No user's key begins with @ (names): locks are apart from them.
PREFIX = "@lock/"
LOCK_NAME_MAX_BYTES = NAME_MAX_BYTES - len(PREFIX)
TOKEN_BYTES = 8
LOCKS_MAX = 1024

# Shares of the lease. At most 10 % slow, a holder lets go after 0.89 of it; 10 % fast, a contender waits for 1.13.
HELD_SHARE = 0.8
TAKEN_OVER_SHARE = 1.25
RENEW_TIMEOUT_SHARE = 0.5
POLL_SHARE = 0.05
POLL_MAX_S = 0.5


class LockValue(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What the record of a lock says. `fence` is 0 in the version that took it: then it is that version's sequence.

    `token` is empty where nobody holds it.
    """

    token: Annotated[bytes, Meta(max_length=TOKEN_BYTES)]
    fence: Annotated[int, Meta(ge=0)]
    lease_ms: Annotated[int, Meta(ge=0, le=10**9)]


_values: Codec[LockValue] = Codec(LockValue)
_FREE = LockValue(b"", 0, 0)


@dataclass(slots=True)
class Held:
    """A lock of this peer: who took it here, the last version known, and until when it is surely ours (monotonic)."""

    token: bytes
    fence: int
    version: str
    until: float


@dataclass(slots=True)
class _Wanted:
    """A lock that a client waits for, and whether it was asked for: then it may be had without our knowing."""

    token: bytes
    asked: bool = False


class Locks:
    """The locks that clients of this peer hold."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._held: dict[str, Held] = {}

    async def acquire(self, name: str, timeout_s: float) -> results.Lock:
        """Take the lock, waiting for it; raises TimedOutError where it was not had in time, UsageError."""
        core, key = self._core, self._key(name)
        self._held = {text: held for text, held in self._held.items() if held.until > core.now()}
        if len(self._held) >= LOCKS_MAX:
            raise UsageError(f"this peer holds {LOCKS_MAX} locks already")
        wanted = _Wanted(core.environment.entropy(TOKEN_BYTES))
        try:
            return await self._acquire(name, key, wanted, timeout_s)
        except (asyncio.CancelledError, PeerdError):
            if wanted.asked:  # nobody waits for it any more, and it may yet be granted
                core.tasks.spawn(self._free(name, key, wanted.token), "free a lock")
            raise

    async def _acquire(self, name: str, key: Key, wanted: _Wanted, timeout_s: float) -> results.Lock:
        core, token = self._core, wanted.token
        deadline = core.now() + timeout_s
        seen, since, asked_at = "", core.now(), core.now()
        while True:
            left_s = max(0.1, deadline - core.now())
            record = (await read_strong(core, key, timeout_s=left_s)).record
            value, version = _read(record), record.version.text if record is not None else NO_VERSION
            if value.token == token and record is not None:  # an attempt whose answers were lost
                return self._took(name, token, record, asked_at)
            if version != seen:
                seen, since = version, core.now()
            if not value.token or core.now() - since >= value.lease_ms / 1000 * TAKEN_OVER_SHARE:
                asked_at, wanted.asked = core.now(), True
                try:
                    taken = await self._write(key, name, LockValue(token, 0, self._lease_ms), version, left_s)
                    return self._took(name, token, taken, asked_at)
                except ConflictError:
                    continue  # somebody was faster
                except TimedOutError:
                    if core.now() >= deadline:
                        raise
                    continue
            if core.now() >= deadline:
                raise TimedOutError(f"the lock {name} is held by another", hint="--timeout SECONDS waits longer")
            poll_s = min(POLL_MAX_S, self._lease_ms / 1000 * POLL_SHARE, max(0.0, deadline - core.now()))
            await asyncio.sleep(poll_s * core.environment.rng.uniform(0.7, 1.0))

    async def renew(self, name: str, fence: int) -> results.Lock:
        """Hold it for another lease; raises ConflictError where it is lost, TimedOutError where that is not known."""
        core, key = self._core, self._key(name)
        held = self._mine(name, fence)
        asked_at = core.now()
        value = LockValue(held.token, fence, self._lease_ms)
        timeout_s = max(0.1, min(held.until - asked_at, self._lease_ms / 1000 * RENEW_TIMEOUT_SHARE))
        record = await self._write_mine(key, name, held, value, timeout_s)
        held.version, held.until = record.version.text, asked_at + self._lease_ms / 1000 * HELD_SHARE
        return results.Lock(name=name, fence=fence, lease_s=self._lease_ms / 1000)

    async def release(self, name: str, fence: int) -> results.Lock:
        """Give it back; raises ConflictError where it is lost, TimedOutError where that is not known."""
        key = self._key(name)
        held = self._mine(name, fence)
        await self._write_mine(key, name, held, _FREE, self._core.settings.request_timeout_s * 2)
        self._held.pop(name, None)
        return results.Lock(name=name, fence=fence, lease_s=0.0)

    def abandon(self, name: str, fence: int) -> None:
        """Give it back in the background: whom it was taken for has gone, or never heard of it."""
        held = self._held.get(name)
        if held is not None and held.fence == fence:
            del self._held[name]
            self._core.tasks.spawn(self._free(name, self._key(name), held.token), "free a lock")

    async def _free(self, name: str, key: Key, token: bytes) -> None:
        """Free the lock where `token` has it; what may still be on its way is looked for a second time."""
        core = self._core
        timeout_s = core.settings.request_timeout_s * 2
        for pause_s in (0.0, timeout_s):
            await asyncio.sleep(pause_s)
            try:
                record = (await read_strong(core, key, timeout_s=timeout_s)).record
                if record is not None and _read(record).token == token:
                    await self._write(key, name, _FREE, record.version.text, timeout_s)
                    return
            except (ConflictError, TimedOutError) as error:
                logger.debug("a lock that nobody waits for was not freed", reason=str(error))

    def _took(self, name: str, token: bytes, record: Record, asked_at: float) -> results.Lock:
        fence = record.body.sequence
        until = asked_at + self._lease_ms / 1000 * HELD_SHARE
        if self._core.now() >= until:
            raise TimedOutError(f"the lock {name} was had too late to be used", hint="the peers are slow; try again")
        self._held[name] = Held(token, fence, record.version.text, until)
        return results.Lock(name=name, fence=fence, lease_s=self._lease_ms / 1000)

    def _mine(self, name: str, fence: int) -> Held:
        held = self._held.get(name)
        if held is None or held.fence != fence:
            raise _lost(name)
        if self._core.now() >= held.until:
            del self._held[name]
            raise _lost(name)
        return held

    async def _write_mine(self, key: Key, name: str, held: Held, value: LockValue, timeout_s: float) -> Record:
        """Write over our own version; an earlier write of ours whose answers were lost is ours too."""
        try:
            return await self._write(key, name, value, held.version, timeout_s)
        except ConflictError:
            record = (await read_strong(self._core, key, timeout_s=timeout_s)).record
            if record is None or _read(record).token != held.token:
                self._held.pop(name, None)
                raise _lost(name) from None
            held.version = record.version.text
        try:
            return await self._write(key, name, value, held.version, timeout_s)
        except ConflictError:
            self._held.pop(name, None)
            raise _lost(name) from None

    async def _write(self, key: Key, name: str, value: LockValue, if_version: str, timeout_s: float) -> Record:
        core, data = self._core, encode(value)
        draft = Draft(key, PREFIX + name, None, INLINE, data, len(data))
        async with core.locks.hold(b"write " + key):
            chosen, _ = await write_strong(core, draft, if_version=if_version, timeout_s=timeout_s)
        return chosen.record

    def _key(self, name: str) -> Key:
        try:
            length = len(name.encode())
        except UnicodeEncodeError as error:
            raise UsageError("the name of a lock is text in UTF-8") from error
        if not 1 <= length <= LOCK_NAME_MAX_BYTES:
            raise UsageError(f"the name of a lock is 1 to {LOCK_NAME_MAX_BYTES} bytes, this one has {length}")
        return name_key(self._core.identity.network, PREFIX + name)

    @property
    def _lease_ms(self) -> int:
        return int(self._core.settings.lock_lease_s * 1000)


def _read(record: Record | None) -> LockValue:
    """Return what a lock's record says; one that says nothing we know counts as free."""
    if record is None or record.body.kind != INLINE:
        return _FREE
    try:
        return _values.decode(record.body.value)
    except WireError:
        return _FREE


def _lost(name: str) -> ConflictError:
    return ConflictError(f"the lock {name} is lost", hint="what it guarded may be another's by now")
