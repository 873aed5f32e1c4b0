"""Listing: the entries of a directory with what they are and how large; what this peer keeps."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from peerd.content.cid import RAW, Cid
from peerd.content.read import Entry, decode
from peerd.errors import IntegrityError, UsageError, WireError
from peerd.ids import PeerId
from peerd.node import results
from peerd.node.core import Core
from peerd.node.entry_names import PREFIX as CACHE_PREFIX
from peerd.node.get import Source, open_target
from peerd.node.holding import left_s, record_cid_bytes
from peerd.node.locking import PREFIX
from peerd.node.names import Name
from peerd.node.put import kind_of
from peerd.node.results import GetOptions
from peerd.node.shards import entries as entries_of
from peerd.records.record import read_record

PAGE = 256
LISTED_MAX = 100_000
# Entries of one directory that are listed at a time: an answer is in memory whole, there and here.
ENTRIES_LISTED_MAX = 50_000
# Entries looked at to tell how large the directories below one are, LINKS_PER_ENTRY links of their blocks counted as
# one more; what lies beyond counts as its writer says.
NODES_MAX = 10_000
LINKS_PER_ENTRY = 16


async def list_target(core: Core, target: str | None, prefix: str = "") -> list[results.Entry]:
    """Return the entries of a directory; with nothing named, the keys and content that this peer keeps.

    With a `prefix` only those whose names begin with it: of what is kept, no content that has none.

    The size of a directory is that of the files in it, whatever its depth. Raises what getting raises.
    """
    if target is None:
        return await _list_kept(core, prefix)
    opened = await open_target(core, target, GetOptions())
    if opened.kind != "directory":
        name = opened.name or opened.root.text
        return [results.Entry(name=name, cid=opened.root.text, size=opened.size, kind="file")]
    async with Source(opened, keep_whole=False) as source:
        measure = _Measure(source)
        entries = [entry for entry in await entries_of(source, opened.root) if entry.name.startswith(prefix)]
        if len(entries) > ENTRIES_LISTED_MAX:
            raise UsageError(
                f"a directory of {len(entries)} entries, more than {ENTRIES_LISTED_MAX} are not listed at a time",
                hint="get it with `peer get KEY -o PATH`",
            )
        return [await measure.listed(entry) for entry in entries]


class _Known(NamedTuple):
    kind: Literal["file", "directory", "symlink"]
    size: int


@dataclass(slots=True)
class _Measure:
    """Tells what entries are; reads the blocks of directories and of files' roots, never those of content."""

    source: Source
    left: int = NODES_MAX
    known: dict[Cid, _Known] = field(default_factory=dict)
    """What blocks are, which may be linked over and over."""

    async def listed(self, entry: Entry) -> results.Entry:
        kind: Literal["file", "directory", "symlink"] = "file"
        size = entry.tsize
        if entry.cid.codec != RAW:
            kind, size = await self._look(entry.cid)
            if kind == "directory":
                size = await self._below(entry.cid, entry.tsize)
        return results.Entry(name=entry.name, cid=entry.cid.text, size=size, kind=kind)

    async def _below(self, root: Cid, tsize: int) -> int:
        """Return the bytes of all files below a directory."""
        size = 0
        waiting = [(root, tsize)]
        while waiting:
            cid, tsize = waiting.pop()
            if self.left < 0:
                size += tsize
                continue
            await asyncio.sleep(0)
            for entry in await entries_of(self.source, cid):
                self.left -= 1
                if entry.cid.codec == RAW or self.left < 0:
                    size += entry.tsize
                    continue
                known = await self._look(entry.cid)
                if known.kind == "directory":
                    waiting.append((entry.cid, entry.tsize))
                else:
                    size += known.size
        return size

    async def _look(self, cid: Cid) -> _Known:
        known = self.known.get(cid)
        if known is not None:
            return known
        try:
            node = decode(cid, await self.source.block(cid))
        except WireError as error:
            raise IntegrityError(f"block {cid} is malformed: {error.reason}") from error
        self.left -= len(node.links) // LINKS_PER_ENTRY
        if node.kind in ("directory", "hamt"):
            known = _Known("directory", 0)
        else:
            known = _Known("symlink", 0) if node.kind == "symlink" else _Known("file", node.file_size)
        if len(self.known) < NODES_MAX:
            self.known[cid] = known
        return known


async def _list_kept(core: Core, prefix: str) -> list[results.Entry]:
    listed: list[results.Entry] = []
    named: set[bytes] = set()
    after = None
    while page := await core.store.records(after, PAGE):
        for key, raw in page:
            record = read_record(raw)
            cid = record_cid_bytes(record)
            if record.body.owner is None and record.body.name.startswith(PREFIX):
                continue  # a lock, which is no key of anybody's
            if cid is None or len(listed) >= LISTED_MAX or await left_s(core, record) == 0:
                continue
            owner = PeerId(record.body.owner) if record.body.owner is not None else None
            name = Name(key, record.body.name, owner).shown
            if not name.startswith(prefix):
                continue
            size, kind = record.body.size, kind_of(record)
            listed.append(results.Entry(name=name, cid=Cid.from_bytes(cid).text, size=size, kind=kind))
            named.add(cid)
        after = page[-1][0]
    listed.sort(key=lambda entry: entry.name)
    if prefix:
        return listed
    root_after = None
    while roots := await core.store.roots(root_after, PAGE):
        for root in roots:
            of_build_cache = root.class_ == "cache" and root.name == CACHE_PREFIX
            if root.complete and root.cid not in named and not of_build_cache and len(listed) < LISTED_MAX:
                kind = "directory" if root.kind == "directory" else "file"
                cid_text = Cid.from_bytes(root.cid).text
                listed.append(results.Entry(name="", cid=cid_text, size=root.size, kind=kind))
        root_after = roots[-1].cid
    return listed
