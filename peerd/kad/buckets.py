"""The k-buckets of the routing table, on the `kademlia` package's, mended: entries, buckets, and who may be in one.

From the package: nodes, and buckets (least recently seen first, replacement lists). Overridden: what of it is wrong or
reads a clock, each told at its method; and who comes into a bucket, as far as liars would fill it (Kademlia 2.2, 4.1).
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import inf

from kademlia.node import Node
from kademlia.routing import KBucket

from peerd.clock import Entropy
from peerd.ids import ID_BITS, ID_BYTES, NodeId
from peerd.kad.contact import Contact
from peerd.kad.diversity import Diversity

NEVER = -inf
"""When something was that never was."""


@dataclass(frozen=True, slots=True)
class Span:
    """The places of one bucket, both ends included."""

    low: int
    high: int

    def random_target(self, entropy: Entropy) -> NodeId:
        """Return a place in the span, each as likely (its size is a power of two)."""
        offset = int.from_bytes(entropy(ID_BYTES), "big") % (self.high - self.low + 1)
        return NodeId((self.low + offset).to_bytes(ID_BYTES, "big"))


EVERYWHERE = Span(0, 2**ID_BITS - 1)
"""All places."""


class Entry(Node):  # type: ignore[misc]
    """A contact in the table and what we have seen of it."""

    id: NodeId
    long_id: int

    def __init__(self, contact: Contact, now: float, group: bytes | None = None, *, sought: bool = False) -> None:
        super().__init__(contact.place, *contact.address)
        self.contact = contact
        self.group = group
        self.sought = sought
        """Whether it was we who found it, and not it that came to us."""
        self.since = now
        self.seen_at = now
        self.strikes = 0
        self.struck_at = NEVER
        self.in_use = False

    def refresh(self, contact: Contact, now: float) -> None:
        """Take over what a new sight of the contact shows: its address, and that it lives."""
        self.contact = contact
        self.ip, self.port = contact.address
        self.seen_at = now
        self.strikes = 0
        self.struck_at = NEVER


class Bucket(KBucket):  # type: ignore[misc]
    """A k-bucket that reads no clock and says what a removal changed."""

    nodes: OrderedDict[NodeId, Entry]
    replacement_nodes: OrderedDict[NodeId, Entry]
    range: tuple[int, int]

    def __init__(
        self, low: int, high: int, ksize: int, replacements_max: int, diversity: Diversity | None = None
    ) -> None:
        super().__init__(low, high, ksize)
        self._diversity = diversity or Diversity()
        self.gave_way = False
        """Whether one of its entries had to: who is in use is to be settled."""
        # The table trims replacements itself, as it alone knows which are in use; this bound is never reached.
        self.max_replacement_nodes = replacements_max

    def touch_last_updated(self, now: float = NEVER) -> None:
        """Note a look-up in the bucket. The stock one reads the clock."""
        self.last_updated = now

    def split(self) -> tuple["Bucket", "Bucket"]:
        """Return the two halves, in order. The stock ones would be stock buckets, updated now."""
        low, high = self.range
        middle = (low + high) // 2
        halves = (
            Bucket(low, middle, self.ksize, self.max_replacement_nodes, self._diversity),
            Bucket(middle + 1, high, self.ksize, self.max_replacement_nodes, self._diversity),
        )
        for half in halves:
            half.last_updated = self.last_updated
        for entry in self.nodes.values():
            halves[entry.long_id > middle].add_node(entry)
        for entry in self.replacement_nodes.values():
            half = halves[entry.long_id > middle]
            if entry.in_use or entry.group is None:
                half.add_node(entry)
            else:  # its group may have no room: it is counted when it comes in, one at a time
                half.replacement_nodes[entry.id] = entry
        return halves

    def add_node(self, node: Entry) -> bool:
        """Add or refresh an entry; return False where it became a replacement: the bucket is full, or of its group.

        In a full bucket those that came to us have half of it: one that we found takes the place of the last of them.
        """
        if node.id not in self.nodes and not self._admits(node):
            self.replacement_nodes.pop(node.id, None)
            self.replacement_nodes[node.id] = node
            return False
        if node.id not in self.nodes and len(self.nodes) >= self.ksize and (last := self._last_to_give_way(node)):
            del self.nodes[last.id]
            self.replacement_nodes[last.id] = last
            self.gave_way = True
        added: bool = super().add_node(node)
        if added:
            self.replacement_nodes.pop(node.id, None)
        return added

    def _admits(self, node: Entry) -> bool:
        return (node.in_use or self._diversity.may_be_used(node)) and self._diversity.may_be_among(
            node, self.nodes.values()
        )

    def _last_to_give_way(self, node: Entry) -> Entry | None:
        """Return the entry in whose place one that we found comes, where more than half came to us."""
        came = [entry for entry in self.nodes.values() if not entry.sought]
        if not node.sought or 2 * len(came) <= self.ksize:
            return None
        return max(came, key=lambda entry: entry.since)

    def remove_node(self, node: Entry) -> None:
        """Remove an entry; the last replacement takes its place that its group allows. The stock one takes any."""
        self.replacement_nodes.pop(node.id, None)
        if self.nodes.pop(node.id, None) is None:
            return
        for spare in reversed(self.replacement_nodes.values()):
            if self._admits(spare):
                del self.replacement_nodes[spare.id]
                self.nodes[spare.id] = spare
                break

    def depth(self) -> int:
        """Return how many leading bits the bucket's places share.

        By its range. The stock one takes the prefix of those now in it, which whoever fills it may choose.
        """
        low, high = self.range
        return ID_BITS - (high - low).bit_length()
