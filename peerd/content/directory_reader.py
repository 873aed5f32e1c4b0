"""Listing one directory, in one block or sharded over many (`hamt`); what its entries are is not looked at.

No I/O: the caller fetches what `wants` names, checks each block against its CID and gives it; out come entries. Each
name is checked, and that it is where its hash says: so no name comes twice, and a look-up finds what the listing shows.
"""

from itertools import islice

from msgspec import Struct

from peerd.content.cid import Cid
from peerd.content.hamt import hash_slot, read_slots
from peerd.content.limits import DIRECTORY_ENTRIES_MAX
from peerd.content.murmur3 import murmur3_x64_64
from peerd.content.names import check_entry_name
from peerd.content.unixfs import DagNode, decode
from peerd.errors import IntegrityError, WireError


class Entry(Struct, frozen=True, gc=False):
    """A name in a directory and the root it stands for; `tsize` is the size of all its blocks, as the writer says."""

    name: str
    cid: Cid
    tsize: int


class DirectoryReader:
    """The listing of the directory `root`; entries come in the order of the blocks given, not sorted by name."""

    def __init__(self, root: Cid) -> None:
        self._root = root
        self._wanted: dict[Cid, tuple[int, ...]] = {root: ()}  # shards, with the slots that lead there
        self._seen = {root}
        self._fanout = 0
        self._count = 0

    @property
    def done(self) -> bool:
        """Whether all entries were handed out."""
        return not self._wanted

    def wants(self, count: int) -> list[Cid]:
        """Return at most `count` blocks to fetch next; what was named and not yet given is named again."""
        return list(islice(reversed(self._wanted), count))

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
        self._count += len(entries)
        if self._count > DIRECTORY_ENTRIES_MAX:
            raise IntegrityError(f"a directory of more than {DIRECTORY_ENTRIES_MAX} entries: {self._root}")
        for entry in entries:
            check_entry_name(entry.name)
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
                continue
            name_hash = murmur3_x64_64(slot.name.encode())
            if any(hash_slot(name_hash, depth, self._fanout) != number for depth, number in enumerate(here)):
                raise IntegrityError(f"a sharded directory with an entry in a wrong place: {slot.name[:80]!r}")
            entries.append(Entry(slot.name, slot.cid, slot.tsize))
        return entries

    def _follow(self, cid: Cid, path: tuple[int, ...]) -> None:
        # The same shard in two places would hold names that belong in only one of them.
        if cid in self._seen or hash_slot(0, len(path), self._fanout) is None:
            raise IntegrityError(f"a sharded directory that repeats itself or is too deep: {self._root}")
        if len(self._seen) == DIRECTORY_ENTRIES_MAX:
            raise IntegrityError(f"a sharded directory of more than {DIRECTORY_ENTRIES_MAX} shards: {self._root}")
        self._seen.add(cid)
        self._wanted[cid] = path
