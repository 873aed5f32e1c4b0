"""The versions of a key as they come: each that became its newest, once, in their order, deletes too.

What the newest is says a quorum read; what was replaced between two reads is told from the histories of the holders.
They are not signed, so that a version between counts where more than a third of those that were asked have it, or our
own store. Sequences of which nothing is known are said to be missed: never written, or gone from the histories, which
keep 16. A version that sorts below one that was told is not told any more; `history` has it.

Woken by `changes`; nothing hangs on that: the key is read again every `changes.POLL_S` in any case.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

from loguru import logger
from msgspec import UNSET, structs

from peerd.errors import NoRoomError, PeerdError, RefusedError, TimedOutError, UnreachableError, UsageError, WireError
from peerd.ids import Key
from peerd.io.store.interface import HistoryRow, RecordRow
from peerd.kad.contact import Contact
from peerd.node import results, showing
from peerd.node.changes import Followed
from peerd.node.core import Core
from peerd.node.found import Reading
from peerd.node.holding import row_of
from peerd.node.names import Name, target_of
from peerd.node.nearest import holders_of
from peerd.node.reading import read
from peerd.records.floor import FloorVersion
from peerd.records.version import version_text
from peerd.wire import frames

NONE = "none"
"""What stands for the version of a key that has none yet."""

WATCHERS_MAX = 256
"""Keys watched at a time by whoever uses this peer; each costs its holders a read for a change."""

ASKED_FIRST = 3
ASKED_MAX = 8
READ_TIMEOUT_S = 10.0
# After a read that failed, doubled each time; by chance up to half as long again, so that not all come at once.
AGAIN_S = 0.1
AGAIN_MAX_S = 8.0
VERSION_MAX_CHARS = 64

_VERSION = re.compile(r"([0-9]{1,20})-[0-9a-f]{20}")


class Told(NamedTuple):
    """One version; the first that is told stands for what was there before, and has no entry."""

    version: str
    entry: results.WatchedVersion | None


class _Last(NamedTuple):
    """How far was told: `version` is below all others where only its text is known."""

    text: str
    strong: bool
    version: FloorVersion

    @property
    def sequence(self) -> int:
        return self.version[0]


class Versions:
    """Who watches which key."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._watchers = 0

    @asynccontextmanager
    async def watch(
        self, target: str, *, after: str | None = None, timeout_s: float = READ_TIMEOUT_S
    ) -> AsyncIterator[AsyncIterator[Told]]:
        """Watch a key from a version on (`none`: from its first), or from now on.

        Raises UsageError, NoRoomError where too many watch. What is entered yields without an end, and raises
        TimedOutError at first where it is not known what is there now.
        """
        found = target_of(self._core, target)
        if not isinstance(found, Name):
            raise UsageError("content never changes", hint="watch a key")
        last = _parsed(after) if after is not None else None
        if self._watchers >= WATCHERS_MAX:
            raise NoRoomError("too many watch keys of this peer already", hint="end some `peer watch`")
        self._watchers += 1
        try:
            async with self._core.changes.follow(found.key) as followed:
                told = self._tell(found.key, last, followed, timeout_s)
                try:
                    yield told
                finally:
                    await told.aclose()
        finally:
            self._watchers -= 1

    async def _tell(
        self, key: Key, last: _Last | None, followed: Followed, timeout_s: float
    ) -> AsyncGenerator[Told, None]:
        if last is None:
            last = await self._now(key, timeout_s)
        yield Told(last.text, None)
        again_s = AGAIN_S
        while True:
            try:
                told = await _since(self._core, key, last)
                again_s = AGAIN_S
            except PeerdError as error:
                logger.debug("a watched key cannot be read now", key=key.hex()[:8], reason=str(error))
                await asyncio.sleep(again_s * (1 + self._core.environment.rng.random() / 2))
                again_s = min(2 * again_s, AGAIN_MAX_S)
                continue
            for last, entry in told:
                yield Told(last.text, entry)
            await followed.changed()

    async def _now(self, key: Key, timeout_s: float) -> _Last:
        until = self._core.now() + timeout_s
        while True:
            try:
                return _newest(await read(self._core, key, consistency="quorum", timeout_s=timeout_s))
            except TimedOutError:
                if self._core.now() + AGAIN_S > until:
                    raise
                await asyncio.sleep(AGAIN_S)


def _parsed(text: str) -> _Last:
    if text == NONE:
        return _nothing()
    known = _VERSION.fullmatch(text) if len(text) <= VERSION_MAX_CHARS else None
    if known is None:
        raise UsageError("that is no version", hint="`peer history` shows versions; `none` is before the first")
    return _Last(text, False, (int(known[1]), b"", b""))


def _nothing() -> _Last:
    return _Last(NONE, False, (0, b"", b""))


def _newest(reading: Reading) -> _Last:
    """Return the newest version that a read showed."""
    record = reading.record
    if record is not None:
        return _Last(record.version.text, record.body.strong, record.version[:3])
    if reading.over is not None:
        return _Last(version_text(*reading.over), False, reading.over)
    return _nothing()


async def _since(core: Core, key: Key, last: _Last) -> list[tuple[_Last, results.WatchedVersion]]:
    """Return what followed the last version, in order, as far as it is known; raises what a read does."""
    reading = await read(core, key, consistency="quorum", timeout_s=READ_TIMEOUT_S)
    newest = _newest(reading)
    if newest.text in (last.text, NONE):
        return []
    rows = await _between(core, key, last, newest)
    known = next((row for row in rows if version_text(*row.row.version) == last.text), None)
    if known is not None:
        last = last._replace(version=known.row.version)  # of which the text alone was known
    if (newest.strong, newest.version) <= (last.strong, last.version):
        return []
    shown = HistoryRow(_row_of_newest(core, reading, newest), conflict=False)
    above = [row for row in rows if last.version < row.row.version < newest.version and row is not known]
    ordered = [shown, *sorted(above, key=lambda row: row.row.version, reverse=True)]
    lost = showing.lost_ties(ordered)
    found: list[tuple[_Last, results.WatchedVersion]] = []
    for row in reversed(ordered):
        entry = showing.entry_of(row.row, row.conflict or row.row.version in lost)
        missed = max(0, row.row.sequence - last.sequence - 1)
        last = _Last(entry.version, newest.strong, row.row.version)
        found.append((last, _watched(entry, missed)))
    return found


def _watched(entry: results.HistoryEntry, missed: int) -> results.WatchedVersion:
    return results.WatchedVersion(**structs.asdict(entry), missed=missed or UNSET)


def _row_of_newest(core: Core, reading: Reading, newest: _Last) -> RecordRow:
    if reading.record is not None:
        return row_of(core, reading.record, None)
    return RecordRow("", None, *newest.version, cid=None, size=0, deleted=True, expires=None, written_at=0.0)


async def _between(core: Core, key: Key, last: _Last, newest: _Last) -> list[HistoryRow]:
    """Return the versions that our own store knows, or enough holders: few are asked where that leaves no gap."""
    own = {row.row.version: _plain(row) for row in await core.store.history(key)}
    holders = (await holders_of(core, key)).contacts[:ASKED_MAX]
    told: list[list[HistoryRow]] = []
    for some in (holders[:ASKED_FIRST], holders[ASKED_FIRST:]):
        told += [rows for rows in await asyncio.gather(*(_ask(core, key, each) for each in some)) if rows is not None]
        known = own | _agreed(told)
        sequences = {version[0] for version in known}
        if all(at in sequences for at in range(last.sequence + 1, min(newest.sequence, last.sequence + ASKED_MAX * 4))):
            break
    return list(known.values())


def _agreed(told: list[list[HistoryRow]]) -> dict[FloorVersion, HistoryRow]:
    """Return what more than a third of those that answered have, but for who lost a tie: that one saw is enough."""
    needed = len(told) // 3 + 1
    counts = Counter(replace(row, conflict=False) for rows in told for row in rows)
    lost = {row.row.version for rows in told for row in rows if row.conflict}
    return {
        row.row.version: replace(row, conflict=row.row.version in lost)
        for row, count in counts.items()
        if count >= needed
    }


async def _ask(core: Core, key: Key, contact: Contact) -> list[HistoryRow] | None:
    """Return the history that a holder tells, each version once; None where it tells none."""
    try:
        connection = await core.bulk.get(contact)
        bodies = frames.history_codec.decode_canonical(await connection.ask(frames.VERSIONS, key))
    except (UnreachableError, RefusedError, WireError):
        return None
    rows = {row.row.version: row for row in map(showing.row_of_body, bodies)}
    return list(rows.values())


def _plain(row: HistoryRow) -> HistoryRow:
    """Return a row as the holders tell it: without what only our own store knows."""
    return replace(row, row=replace(row.row, name="", owner=None, expires=None, written_at=0.0))
