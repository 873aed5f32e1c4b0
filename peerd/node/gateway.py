"""Reading for the gateway: any block, path or file by CID, from here or from the overlay, within a bounded time.

Only roots are announced, their blocks are not; but IPFS clients ask for one block after the other. So of each block
that was looked at it is remembered below which root it and its links hang: who has that root has them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import cast

from peerd.content.block import Block
from peerd.content.car_writing import encode_header, encode_section
from peerd.content.cid import Cid
from peerd.content.cid_set import CidSet
from peerd.content.entry_lookup import EntryLookup
from peerd.content.range_walk import RangeWalk
from peerd.content.read import DagNode, decode
from peerd.errors import IntegrityError, NotFoundError, TimedOutError, UsageError, WireError
from peerd.node import results
from peerd.node.core import Core
from peerd.node.exporting import car, walk
from peerd.node.get import AHEAD_BLOCKS, Opened, Source, open_target
from peerd.node.placing import inline_value
from peerd.node.results import GetOptions, Kind

FOUND_WITHIN_S = 15.0
"""How long a root and the way to a path in it are looked for; then it is 504, before a client gives up (30 s)."""

PATIENCE_S = 10.0
"""How long a block is waited for without progress."""

PARENTS_MAX = 32_768
"""Blocks and links that were met, with the root they hang below: who asks for ever new ones fills no more."""


@dataclass(slots=True)
class Located:
    """What a path leads to: its block, decoded; `passed` are the blocks on the way there, without it.

    `roots` are the directories that were gone through and the end, one for each part of the path.
    """

    cid: Cid
    data: bytes
    node: DagNode
    passed: list[Block] = field(default_factory=list)
    roots: list[Cid] = field(default_factory=list)


class Gateway:
    """What a gateway reads, of one peer."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._parents: OrderedDict[bytes, Cid] = OrderedDict()

    async def is_here(self, cid: Cid) -> bool:
        """Return whether the block of `cid` can be read without asking anybody."""
        if await self._core.store.block(cid) is not None:
            return True
        return await inline_value(self._core, cid.to_bytes()) is not None

    def open(self, top: Cid) -> "Reading":
        """Return a reading of what hangs below `top`, to be entered."""
        return Reading(self._core, self, top)

    def parent(self, cid: Cid) -> Cid:
        """Return the root below which a block hangs, as far as it is known; else the block itself."""
        return self._parents.get(cid.to_bytes(), cid)

    def met(self, located: Located, under: Cid) -> None:
        """Note what was found below a root: the way there and the links of its end, which may be asked for next."""
        for cid in (*located.roots[1:], *(link.cid for link in located.node.links)):
            raw = cid.to_bytes()
            self._parents[raw] = under
            self._parents.move_to_end(raw)
        while len(self._parents) > PARENTS_MAX:
            self._parents.popitem(last=False)


class Reading:
    """One request's reading. Use as an async context manager; `locate` first."""

    def __init__(self, core: Core, gateway: Gateway, top: Cid) -> None:
        self._core = core
        self._gateway = gateway
        self.top = top
        self.under = top
        self._options = GetOptions(timeout_s=PATIENCE_S)
        self._source: Source | None = None
        self._inline: bytes | None = None
        self._first: bytes | None = None

    async def __aenter__(self) -> "Reading":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._source is not None:
            await self._source.__aexit__(*exc_info)

    async def locate(self, path: Sequence[str]) -> Located:
        """Find what `path` leads to below the root.

        Raises NotFoundError for what is not there, TimedOutError for what cannot be had in time, IntegrityError.
        """
        try:
            async with asyncio.timeout(FOUND_WITHIN_S) as limit:
                await self._open()
                return await self._follow(path)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimedOutError(f"{self.top} was not found within {FOUND_WITHIN_S:g} s") from None

    async def file(self, located: Located, offset: int, length: int) -> AsyncIterator[bytes]:
        """Yield a range of a file's bytes."""
        if located.node.kind == "raw":
            if piece := located.data[offset : offset + length]:
                yield piece
            return
        size = located.node.file_size
        if located.cid == self.under and offset == 0 and length == size:
            pieces = self._opening(located.cid, located).body()  # which leaves a cached copy
        else:
            pieces = self._opened_source().file(located.cid, offset, length, first=located.data)
        async with aclosing(cast("AsyncGenerator[bytes]", pieces)):
            async for piece in pieces:
                yield piece

    async def entry(self, located: Located, name: str) -> Located | None:
        """Return what stands under a name in a directory, None for nothing."""
        try:
            return await self._step(located, name)
        except NotFoundError:
            return None

    async def car(self, located: Located, scope: str, span: tuple[int, int] | None) -> AsyncIterator[bytes]:
        """Yield a CAR with the blocks on the way to the end of the path and those of it that `scope` names.

        `block`: its own; `entity`: of a file those that hold its bytes (the range `span` of them, offset and length),
        of a directory those that list it; `all`: all below it. Each once, depth first.
        """
        if scope == "all" and span is None and located.cid == self.under and located.node.links:
            async with aclosing(car(self._opening(self.under, located))) as pieces:
                async for piece in pieces:
                    yield piece  # which leaves a cached copy
            return
        yield encode_header([self.top])
        for block in located.passed:
            yield encode_section(block.cid, block.data)
        async with aclosing(self._scoped(located, scope, span)) as blocks:
            async for cid, data in blocks:
                yield encode_section(cid, data)

    async def _scoped(
        self, located: Located, scope: str, span: tuple[int, int] | None
    ) -> AsyncGenerator[tuple[Cid, bytes]]:
        kind = located.node.kind
        if scope == "block" or not located.node.links:
            blocks = None
        elif scope == "all" and span is None:
            blocks = walk(self._opened_source(), located.cid, located.data)
        elif kind == "file":
            blocks = self._file_blocks(located, *(span or (0, located.node.file_size)))
        else:
            blocks = self._shards(located) if kind == "hamt" else None
        if blocks is None:
            yield located.cid, located.data
            return
        async with aclosing(blocks):
            async for each in blocks:
                yield each

    async def _file_blocks(self, located: Located, offset: int, length: int) -> AsyncGenerator[tuple[Cid, bytes]]:
        blocks = RangeWalk(located.cid, offset, length)
        tasks: dict[Cid, asyncio.Task[bytes]] = {}
        source = self._opened_source()
        try:
            blocks.give(located.cid, located.data)
            yield located.cid, located.data
            while not blocks.done:
                wants = blocks.wants(AHEAD_BLOCKS)
                for cid in wants:
                    if cid not in tasks:
                        tasks[cid] = asyncio.get_running_loop().create_task(source.block(cid))
                data = await tasks[wants[0]]
                del tasks[wants[0]]
                if blocks.give(wants[0], data):
                    yield wants[0], data
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _shards(self, located: Located) -> AsyncGenerator[tuple[Cid, bytes]]:
        """Yield the shards of a directory; entries have names, shards have none but their slot's."""
        source, seen = self._opened_source(), CidSet()
        waiting = [located.cid]
        while waiting:
            cid = waiting.pop()
            if not seen.add(cid.to_bytes()):
                continue
            data = located.data if cid == located.cid else await source.block(cid)
            node = _decode(cid, data)
            if node.kind != "hamt" or node.fanout != located.node.fanout:
                raise IntegrityError(f"a sharded directory whose shards do not fit together: {cid}")
            yield cid, data
            width = len(f"{node.fanout - 1:X}")
            waiting += [link.cid for link in reversed(node.links) if len(link.name) == width]

    async def _open(self) -> None:
        """Find the root's own block, and whom to ask for what hangs below it."""
        core, top = self._core, self.top
        self._inline = await inline_value(core, top.to_bytes())
        if self._inline is not None:
            return
        self.under = self._gateway.parent(top)
        self._first = await core.store.block(top)
        if self._first is None and self.under == top:
            opened = await open_target(core, top.text, self._options)
            self._first, self._inline = opened.first, opened.inline
        # Parts of what hangs below a root that is not here are no copy of it; each block is kept where there is room.
        self._source = Source(self._opening(self.under), keep_whole=False)
        await self._source.__aenter__()

    def _opening(self, root: Cid, top: Located | None = None) -> Opened:
        """Return a root as something opened; `top` is its own block, where all of it is to be read."""
        kind: Kind = "directory" if top is not None and top.node.kind in ("directory", "hamt") else "file"
        size, first = (top.node.file_size, top.data) if top is not None else (0, None)
        info = results.Get(cid=root.text, kind=kind, size=size, source="peer", hops=0, elapsed_ms=0.0)
        return Opened(self._core, info, kind, size, root, self._options, None, "", first)

    async def _follow(self, path: Sequence[str]) -> Located:
        data = self._inline if self._inline is not None else self._first
        if data is None:
            data = await self._opened_source().block(self.top)
        here = Located(self.top, data, _decode(self.top, data), [], [self.top])
        for name in path:
            there = await self._step(here, name)
            if there is None:
                raise NotFoundError(f"no such entry: {name[:255]!r} in {here.cid}")
            here = there
        return here

    async def _step(self, here: Located, name: str) -> Located | None:
        lookup = EntryLookup(here.cid, name)
        passed = list(here.passed)
        while not lookup.done:
            cid = lookup.next
            data = here.data if cid == here.cid else await self._opened_source().block(cid)
            passed.append(Block(cid, data))
            lookup.give(data)
        if not lookup.is_directory:
            raise NotFoundError(f"no directory to look for {name[:255]!r} in: {here.cid}")
        if lookup.found is None:
            return None
        data = await self._opened_source().block(lookup.found)
        found = lookup.found
        return Located(found, data, _decode(found, data), passed, [*here.roots, found])

    def _opened_source(self) -> Source:
        if self._source is None:
            raise UsageError(f"{self.top} is a short value, nothing hangs below it")
        return self._source


def _decode(cid: Cid, data: bytes) -> DagNode:
    try:
        return decode(cid, data)
    except WireError as error:
        raise IntegrityError(f"the content {cid} is malformed: {error.reason}") from error
