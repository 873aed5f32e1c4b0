"""Listing one directory, in one block or sharded over many (`hamt`); what its entries are is not looked at.

No I/O: the caller fetches what `wants` names, checks each block against its CID and gives it; out come entries. Each
name is checked, and that it is where its hash says: so no name comes twice, and a look-up finds what the listing shows.
"""

from itertools import islice

from peerd.content.cid import CID_BYTES, Cid
from peerd.content.cid_set import CidSet
from peerd.content.hamt import hash_slot, read_slots
from peerd.content.limits import BLOCK_MAX_BYTES, LISTING_MAX_BYTES
from peerd.content.listing import Entry, packed_bytes
from peerd.content.murmur3 import murmur3_x64_64
from peerd.content.names import check_entry_name
from peerd.content.unixfs import DagNode, decode
from peerd.errors import IntegrityError, WireError

# What a shard takes here: as long as it is known, and as long as it is awaited.
_SHARD_BYTES = CID_BYTES + 14
_AWAITED_BYTES = 550


class DirectoryReader:
    """The listing of the directory `root`; entries come in the order of the blocks given, not sorted by name."""

    def __init__(self, root: Cid) -> None:
        self._root = root
        self._wanted: dict[Cid, tuple[int, ...]] = {root: ()}  # shards, with the slots that lead there
        self._sizes: dict[Cid, int] = {}  # of shards wanted: what is below them, as the links say
        self._seen = CidSet()
        self._seen.add(root.to_bytes())
        self._fanout = 0
        self._entries_bytes = 0

    @property
    def done(self) -> bool:
        """Whether all entries were handed out."""
        return not self._wanted

    def wants(self, count: int) -> list[Cid]:
        """Return at most `count` blocks to fetch next; what was named and not yet given is named again."""
        return list(islice(reversed(self._wanted), count))

    def fitting(self, count: int, budget_bytes: int) -> dict[Cid, int]:
        """As `wants`, as far as they have room together, and how large each is at most; at least one."""
        chosen: dict[Cid, int] = {}
        for cid in self.wants(count):
            size = min(self._sizes.get(cid) or BLOCK_MAX_BYTES, BLOCK_MAX_BYTES)
            budget_bytes -= size
            if budget_bytes < 0 and chosen:
                break
            chosen[cid] = size
        return chosen

    def give(self, cid: Cid, data: bytes) -> list[Entry]:
        """Take a block, checked by the caller, and return the entries in it; a block not awaited is ignored.

        Raises IntegrityError where it is no sound directory: malformed, or a name hostile, twice or misplaced.
        """
        path = self._wanted.get(cid)
        if path is None:
            return []
        try:
            node = decode(cid, data)
            entries = self._flat(node) if node.kind == "directory" and not path else self._shard(node, path)
        except WireError as error:
            raise IntegrityError(f"block {cid} is malformed: {error.reason}") from error
        del self._wanted[cid]
        self._sizes.pop(cid, None)
        for entry in entries:
            check_entry_name(entry.name)
            self._entries_bytes += packed_bytes(entry.name)
        shards_bytes = len(self._seen) * _SHARD_BYTES + len(self._wanted) * _AWAITED_BYTES
        if self._entries_bytes + shards_bytes > LISTING_MAX_BYTES:
            raise IntegrityError(f"a directory of too many entries to be listed: {self._root}")
        return entries

    def _flat(self, node: DagNode) -> list[Entry]:
        entries = [Entry(link.name, link.cid, link.tsize) for link in node.links]
        if len({entry.name for entry in entries}) < len(entries):
            raise IntegrityError(f"a directory with one name twice: {self._root}")
        return entries

    def _shard(self, node: DagNode, path: tuple[int, ...]) -> list[Entry]:
        if node.kind != "hamt":
            raise IntegrityError(f"a {node.kind} where a directory was expected: {self._root}")
        self._fanout = self._fanout or node.fanout
        if node.fanout != self._fanout or (path and not node.links):
            raise IntegrityError(f"a sharded directory whose shards do not fit together: {self._root}")
        entries = []
        for slot in read_slots(node):
            here = (*path, slot.number)
            if slot.name is None:
                self._follow(slot.cid, here)
                self._sizes[slot.cid] = slot.tsize
                continue
            name_hash = murmur3_x64_64(slot.name.encode())
            if any(hash_slot(name_hash, depth, self._fanout) != number for depth, number in enumerate(here)):
                raise IntegrityError(f"a sharded directory with an entry in a wrong place: {slot.name[:80]!r}")
            entries.append(Entry(slot.name, slot.cid, slot.tsize))
        return entries

    def _follow(self, cid: Cid, path: tuple[int, ...]) -> None:
        # The same shard in two places would hold names that belong in only one of them.
        if hash_slot(0, len(path), self._fanout) is None or not self._seen.add(cid.to_bytes()):
            raise IntegrityError(f"a sharded directory that repeats itself or is too deep: {self._root}")
        self._wanted[cid] = path
