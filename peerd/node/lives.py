"""Lives of records after a return: this peer's clock stood still while its host was down, the others' went on.

Reading a key from its holders takes the median of what they say is left (reading); here every record with an end is
read once after the start, slowly.
"""

import asyncio

from loguru import logger

from peerd.errors import PeerdError
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
    while page := await core.store.records(after, PAGE):
        if core.members.alive_count() == 0:
            await asyncio.sleep(SETTLE_S)
            continue
        for key, raw in page:
            if read_record(raw).body.ttl_s is None:
                continue
            try:
                await read(core, key, consistency="quorum", timeout_s=READ_TIMEOUT_S)
            except PeerdError as error:
                logger.debug("how long a record lives was not learnt", reason=str(error))
            await asyncio.sleep(PAUSE_S)
        after = page[-1][0]
