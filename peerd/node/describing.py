"""What a root that is not here is: its own block, fetched, and a majority's word where there is none."""

import asyncio
from typing import Any

from peerd.content.cid import Cid
from peerd.content.read import decode
from peerd.errors import IntegrityError, NotFoundError, TimedOutError, UsageError, WireError
from peerd.node.auditing import some_have
from peerd.node.core import Core
from peerd.node.fetch import Fetcher
from peerd.node.providing import find_providers, sources_of
from peerd.node.results import Kind
from peerd.trust.quorum import majority

# Where its holders do not answer it is asked for again after so long, while there is patience.
AGAIN_S = 1.0


async def describe(core: Core, root: Cid, *, until: float) -> tuple[bytes, Kind, int, bool]:
    """Fetch the root block, return it and say what it is; NotFoundError where its holders say that nobody has it.

    Where too few of them answer they are asked again `until` then.
    """
    while True:
        try:
            return await _describe_now(core, root)
        except TimedOutError:
            if core.now() + AGAIN_S > until:
                raise
            await asyncio.sleep(AGAIN_S)


async def _describe_now(core: Core, root: Cid) -> tuple[bytes, Kind, int, bool]:

    async def find() -> list[Any]:
        return await sources_of(core, root)

    async with Fetcher(core, find) as fetcher:
        try:
            data = await fetcher.get(root)
        except TimedOutError:
            found = await find_providers(core, root)
            expected = core.members.expected_holders(root.digest)
            denied = [peer for peer in expected if peer in found.answered]
            enough = len(expected) if core.members.responsible(root.digest).crowded else majority(len(expected))
            if len(denied) >= enough and not await some_have(core, root, found):
                raise NotFoundError(f"not found: {root.text}") from None
            raise
        local = fetcher.from_local_count > 0
    try:
        node = decode(root, data)
    except WireError as error:
        raise IntegrityError(f"the content {root.text} is malformed: {error.reason}") from error
    if node.kind in ("directory", "hamt"):
        return data, "directory", 0, local
    if node.kind == "symlink":
        raise UsageError(f"{root.text} is a symbolic link, not a file or directory")
    return data, "file", node.file_size, local
