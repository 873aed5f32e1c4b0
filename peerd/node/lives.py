"""Lives of records after a return: this peer's clock stood still while its host was down, the others' went on.

Reading a key from its holders takes the median of what they say is left (reading); here every record with an end is
read once after the start, slowly.
"""

import asyncio

from loguru import logger

from peerd.errors import PeerdError, StoreError
from peerd.ids import Key
from peerd.node.core import Core
from peerd.node.reading import read
from peerd.records.record import read_record

PAGE = 128
SETTLE_S = 2.0
PAUSE_S = 0.05
READ_TIMEOUT_S = 4.0


async def mend_lives(core: Core) -> None:
    """Ask once for each record with an end how much of its life is left, when others are there to be asked."""
    after = None
    while page := await _records(core, after):
        if core.members.alive_count() == 0:
            await asyncio.sleep(SETTLE_S)
            continue
        for key, raw in page:
            if read_record(raw).body.ttl_s is None:
                continue
            await _confirmed(core, key)
            try:
                await read(core, key, consistency="quorum", timeout_s=READ_TIMEOUT_S)
            except PeerdError as error:
                logger.debug("how long a record lives was not learnt", reason=str(error))
            await asyncio.sleep(PAUSE_S)
        after = page[-1][0]


async def _records(core: Core, after: Key | None) -> list[tuple[Key, bytes]]:
    """Return the next records; a disk that cannot be read is waited for."""
    while True:
        try:
            return await core.store.records(after, PAGE)
        except StoreError as error:
            logger.debug("how long records live is asked later", reason=str(error))
            await asyncio.sleep(SETTLE_S)


async def _confirmed(core: Core, key: Key) -> None:
    """Return when this peer answers for a key: until then what is here is not counted, and not mended."""
    while not core.returning.confirmed(key):  # noqa: ASYNC110  it hangs on the time too
        await asyncio.sleep(SETTLE_S)
