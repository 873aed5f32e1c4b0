"""Scrubbing: everything kept is read and re-hashed once in a long while, and what rotted is fetched again.

The store re-hashes what it reads and sets aside what does not match; this only sees to it that all is read: slowly in
the background, or all at once where somebody asks (`peer verify`), then records and their signatures too. What turns
out to be lost when another peer asks for it is looked for at once.
"""

import asyncio
from dataclasses import dataclass, replace

from loguru import logger

from peerd.content.block import Block
from peerd.content.cid import RAW, Cid
from peerd.content.read import DagWalk
from peerd.errors import IntegrityError, NoRoomError, PeerdError, StoreError, WireError
from peerd.ids import Key
from peerd.io.store.interface import Root
from peerd.kad.contact import Contact
from peerd.node.core import Core
from peerd.node.fetch import Fetcher
from peerd.node.holding import keep_record
from peerd.node.providing import GONE, REPLICA, announce, sources_of
from peerd.node.reading import read
from peerd.node.results import Verified
from peerd.records.record import verify_record

PAGE = 64
DAMAGED_AT_ONCE = 1_024
# However much there is to read and however short the interval: never more than one root in this time.
PAUSE_MIN_S = 0.05
REREAD_TIMEOUT_S = 10.0
# Blocks that others asked for and that were not here, until it was looked whether they should be.
NOTICED_MAX = 1_024
# Roots that share a block; the others of it are whole once the block is.
ROOTS_WITH_BLOCK_MAX = 64


@dataclass(slots=True)
class Scrubbed:
    """What was read of some content: how many blocks, how many of them were damaged or gone, mended, and not."""

    blocks: int = 0
    damaged: int = 0
    mended: int = 0
    lost: int = 0


async def scrub(core: Core) -> None:
    """Go round all roots for ever, each once in `scrub_interval_s`, and then all records."""
    after: bytes | None = None
    pause_s = core.settings.scrub_interval_s
    while True:
        await asyncio.sleep(max(PAUSE_MIN_S, pause_s))
        try:
            pause_s = core.settings.scrub_interval_s / max(1, (await core.store.usage()).blobs)
            roots = await core.store.roots(after, 1)
            after = roots[0].cid if roots else None
            for root in roots:
                if is_owed(root):
                    await _scrub_safely(core, root, Scrubbed())
            if after is None:
                await _mend_records(core, Scrubbed())
        except (NoRoomError, StoreError) as error:
            logger.warning("what is kept could not be checked for now", reason=str(error))


async def verify(core: Core) -> Verified:
    """Read and check all that is kept here now, blocks and records, and fetch again what is damaged or gone.

    One block after the other, so that others get their turn; may be cancelled at any moment. Raises StoreError.
    """
    found, after = Scrubbed(), None
    while roots := await core.store.roots(after, PAGE):
        for root in roots:
            if is_owed(root):
                await _scrub_safely(core, root, found)
        after = roots[-1].cid
    records = await _verify_records(core, found)
    return Verified(blocks=found.blocks, records=records, damaged=found.damaged, mended=found.mended, lost=found.lost)


def is_owed(root: Root) -> bool:
    """Return whether a root should be whole here: it is said to be, or it is a promised copy that was found damaged."""
    return root.complete or is_broken(root)


def is_broken(root: Root) -> bool:
    """Return whether a root is a promised copy of which something was lost and found nowhere else so far."""
    return not root.complete and root.class_ != "cache"


async def _scrub_safely(core: Core, root: Root, found: Scrubbed) -> None:
    """Scrub a root; what cannot be mended is no copy any more, and others are told so."""
    mended, lost = found.mended, found.lost
    try:
        await _scrub(core, Cid.from_bytes(root.cid), found)
    except (IntegrityError, NoRoomError) as error:
        logger.warning("content could not be checked", cid=Cid.from_bytes(root.cid).text, reason=str(error))
        return
    if found.mended > mended:
        logger.warning(
            "damaged blocks were fetched again", cid=Cid.from_bytes(root.cid).text, count=found.mended - mended
        )
    if found.lost > lost:
        logger.warning("content is damaged here and could not be mended", cid=Cid.from_bytes(root.cid).text)
        await _give_up(core, root.cid)
    else:
        await _take_up(core, root.cid)


async def _give_up(core: Core, cid: bytes) -> None:
    root = await core.store.root(cid)
    if root is not None and root.complete:
        await core.store.put_root(replace(root, complete=False))
        core.tasks.spawn(announce(core, Cid.from_bytes(cid), GONE), "announce")


async def _take_up(core: Core, cid: bytes) -> None:
    """What was damaged is whole again and counts as a copy."""
    root = await core.store.root(cid)
    if root is not None and is_broken(root):
        await core.store.put_root(replace(root, complete=True))
        core.tasks.spawn(announce(core, Cid.from_bytes(cid), REPLICA), "announce")


async def mend(core: Core, root: Root) -> bool:
    """Look for what a broken root lacks; return whether it is whole now. What is here is not read again.

    Raises IntegrityError where the DAG is malformed, NoRoomError, StoreError.
    """
    cid = Cid.from_bytes(root.cid)

    async def find() -> list[Contact]:
        return await sources_of(core, cid)

    walk = DagWalk(cid)
    with core.room.coming_in(cid):
        async with Fetcher(core, find) as fetcher:
            while not walk.done:
                block = walk.wants(1)[0]
                if block.codec == RAW and (await core.store.has_blocks([block]))[0]:
                    walk.skip(block)
                    continue
                data = await core.store.block(block)
                if data is None:
                    data = await _fetch(core, fetcher, block)
                if data is None:
                    return False
                walk.give(block, data)
    await _take_up(core, root.cid)
    return True


class Mending:
    """Mends at once what turns out to be lost when others ask for it, one root after the other."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._noticed: dict[bytes, None] = {}
        self._runs = False

    def noticed(self, cid: bytes) -> None:
        """A block that somebody asked for is not here: it never was, or the disk has lost it."""
        if len(self._noticed) < NOTICED_MAX:
            self._noticed[cid] = None
        if not self._runs:
            self._runs = self._core.tasks.spawn(self._run(), "mend what was asked for")

    async def _run(self) -> None:
        try:
            while self._noticed:
                cid = next(iter(self._noticed))
                del self._noticed[cid]
                try:
                    await self._look(cid)
                except (IntegrityError, NoRoomError, StoreError) as error:
                    logger.warning("damaged content could not be mended for now", reason=str(error))
        finally:
            self._runs = False

    async def _look(self, cid: bytes) -> None:
        core = self._core
        for raw in await core.store.roots_with_block(cid, ROOTS_WITH_BLOCK_MAX):
            root = await core.store.root(raw)
            if root is None or not root.complete or (await core.store.has_blocks([Cid.from_bytes(cid)]))[0]:
                continue
            if await mend(core, root):
                logger.warning("damaged blocks were fetched again", cid=Cid.from_bytes(raw).text)
            else:
                logger.warning("content is damaged here and could not be mended", cid=Cid.from_bytes(raw).text)
                await _give_up(core, raw)


async def scrub_root(core: Core, root: Cid) -> Scrubbed:
    """Read every block of a root and fetch again those that are lost or rotten.

    Raises IntegrityError where the DAG is malformed, NoRoomError, StoreError.
    """
    found = Scrubbed()
    await _scrub(core, root, found)
    return found


async def _scrub(core: Core, root: Cid, found: Scrubbed) -> None:
    async def find() -> list[Contact]:
        return await sources_of(core, root)

    walk = DagWalk(root)
    with core.room.coming_in(root):
        async with Fetcher(core, find) as fetcher:
            while not walk.done:
                cid = walk.wants(1)[0]
                found.blocks += 1
                data = await core.store.block(cid)
                if data is None:
                    found.damaged += 1
                    data = await _fetch(core, fetcher, cid)
                    found.mended += data is not None
                    found.lost += data is None
                if data is None:
                    walk.skip(cid)
                else:
                    walk.give(cid, data)


async def _fetch(core: Core, fetcher: Fetcher, cid: Cid) -> bytes | None:
    """Fetch a block and keep it; None where nobody that can be reached has it."""
    try:
        data = await fetcher.get(cid)
    except (NoRoomError, StoreError):
        raise
    except PeerdError as error:
        logger.debug("a damaged block could not be fetched", reason=str(error))
        return None
    await core.room.put_blocks([Block(cid, data)])
    return data


async def _verify_records(core: Core, found: Scrubbed) -> int:
    """Check the signatures of all records kept, and read those again that are damaged; returns how many there were."""
    after: Key | None = None
    count = 0
    while page := await core.store.records(after, PAGE):
        for key, raw in page:
            count += 1
            try:
                record = verify_record(raw, core.identity.network, core.verifier)
            except WireError as error:
                logger.warning("a record is damaged here", key=key.hex()[:10], reason=error.reason)
            else:
                if record.key == key:
                    continue
            await _mend_record(core, key, found)
            await asyncio.sleep(0)
        after = page[-1][0]
    return count + await _mend_records(core, found)


async def _mend_records(core: Core, found: Scrubbed) -> int:
    """Read again the records whose bytes the disk has changed; returns how many there were."""
    damaged = await core.store.damaged_records(DAMAGED_AT_ONCE)
    for key in damaged:
        logger.warning("a record is damaged here", key=key.hex()[:10], reason="checksum")
        await _mend_record(core, key, found)
    return len(damaged)


async def _mend_record(core: Core, key: Key, found: Scrubbed) -> None:
    found.damaged += 1
    if await _read_again(core, key):
        found.mended += 1
    else:
        found.lost += 1


async def _read_again(core: Core, key: Key) -> bool:
    """Drop a damaged record and take what the others have; returns whether they had one."""
    await core.store.drop_record(key)
    try:
        reading = await read(core, key, consistency="quorum", timeout_s=REREAD_TIMEOUT_S)
        if reading.record is None:
            return False
        await keep_record(core, reading.record, None)
    except (NoRoomError, StoreError):
        raise
    except PeerdError as error:
        logger.warning("a damaged record could not be read again", key=key.hex()[:10], reason=str(error))
        return False
    return True
