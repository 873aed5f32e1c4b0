"""Finding one entry of a directory by its name, reading no more of a sharded one than the shards that lead there.

No I/O: the caller fetches `next`, checks it against its CID and gives it, until `done`.
"""

from peerd.content.cid import Cid
from peerd.content.hamt import hash_slot, read_slots
from peerd.content.murmur3 import murmur3_x64_64
from peerd.content.unixfs import DagNode, decode
from peerd.errors import IntegrityError, WireError


class EntryLookup:
    """One name in one directory; once `done`, `found` is what stands there, None for nothing.

    `is_directory` is whether there was a directory to look in.
    """

    def __init__(self, directory: Cid, name: str) -> None:
        self._name = name
        self._hash = murmur3_x64_64(name.encode())
        self._fanout = 0
        self._depth = 0
        self.next: Cid = directory
        self.found: Cid | None = None
        self.is_directory = True
        self.done = False

    def give(self, data: bytes) -> None:
        """Take the block `next`, checked by the caller; raises IntegrityError where it is malformed."""
        cid = self.next
        try:
            node = decode(cid, data)
            self.done = True
            if node.kind == "directory" and not self._depth:
                self.found = next((link.cid for link in node.links if link.name == self._name), None)
            elif node.kind == "hamt":
                self._shard(node)
            elif self._depth:
                raise IntegrityError(f"a {node.kind} where a part of a directory was expected: {cid}")
            else:
                self.is_directory = False
        except WireError as error:
            raise IntegrityError(f"block {cid} is malformed: {error.reason}") from error

    def _shard(self, node: DagNode) -> None:
        self._fanout = self._fanout or node.fanout
        wanted = hash_slot(self._hash, self._depth, self._fanout)
        if node.fanout != self._fanout or wanted is None:
            raise IntegrityError(f"a sharded directory whose shards do not fit together: {self.next}")
        slot = next((each for each in read_slots(node) if each.number == wanted), None)
        if slot is None or (slot.name is not None and slot.name != self._name):
            return
        if slot.name is not None:
            self.found = slot.cid
            return
        # As deep as the hash has bits: it ends.
        self.next, self.done = slot.cid, False
        self._depth += 1
