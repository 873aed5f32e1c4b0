"""The routing table: k-buckets on the `kademlia` package's, mended; and, in small networks, everybody.

From the package: nodes, buckets (least recently seen first, replacement lists) and when a bucket splits. Overridden:
what of it is wrong or reads a clock or starts a task, each told at its method. Only this module and buckets import it.

Beside the buckets, up to `members_max` contacts are in use whatever their bucket: a full bucket's replacements count
as members while there is room, so that a small network is known whole and a look-up in it is one hop (DESIGN.md 7).

Only proven contacts may be given to `seen`.

Sources: Kademlia 2.1 to 2.4, 4.1 (replacement caches), 4.2 (more buckets than our own half's).
"""

from bisect import bisect_left
from collections.abc import Callable, Collection
from typing import Any

from kademlia.node import Node
from kademlia.routing import RoutingTable as StockRoutingTable

from peerd.ids import ID_BITS, NodeId, PeerId
from peerd.kad.buckets import Bucket, Entry, Span
from peerd.kad.contact import Contact
from peerd.kad.diversity import SHARE_UNKNOWN_MAX, TABLE_MAX, Diversity
from peerd.kad.places import Places

K = 20
"""Contacts in a bucket (Kademlia 2.2)."""

MEMBERS_MAX = 256
"""Contacts in use beside what the buckets hold: a network up to this size is known whole."""

SPLIT_BITS = 5
"""A bucket that is not ours splits until its depth is a multiple of this (b of Kademlia 4.2)."""

STRIKES_MAX = 3
"""Requests without an answer before a contact is forgotten; one lost packet is no death."""

STRIKE_SPACING_S = 1.0
"""Strikes nearer together count once: many requests under way when a host pauses are one silence, not many."""


class RoutingTable(StockRoutingTable):  # type: ignore[misc]
    """The contacts one peer knows; never itself."""

    buckets: list[Bucket]

    def __init__(
        self,
        own_place: NodeId,
        *,
        k: int = K,
        members_max: int = MEMBERS_MAX,
        strikes_max: int = STRIKES_MAX,
        strike_spacing_s: float = STRIKE_SPACING_S,
        certified: Callable[[PeerId], bool] = lambda peer: False,
        group_max: int = TABLE_MAX,
    ) -> None:
        """Make an empty table.

        Of an address group `group_max` contacts are in use; `certified` says whose does not count.
        """
        self._diversity = Diversity(certified, group_max)
        self.own_place = own_place
        self.members_max = members_max
        self.strikes_max = strikes_max
        self.strike_spacing_s = strike_spacing_s
        super().__init__(None, k, Node(own_place))

    # What the node uses.

    def seen(self, contact: Contact, now: float, *, sought: bool = False) -> Contact | None:
        """Add a proven contact, or refresh its address and its place in the order of sight; its strikes are forgiven.

        Returns None where it is in use. Else it is a spare, and the answer is whom to probe: the least recently seen
        of its bucket, which makes room only by not answering (Kademlia 2.2). Costs 2 microseconds where it is known.
        `sought`: it was we who began.
        """
        entry = self._entries.get(contact.peer)
        assert entry is None or contact.place == entry.id, "a peer has one place in a network"
        moved = entry is not None and entry.contact.address != contact.address
        if entry is not None and moved and self._diversity.group_of(contact) != entry.group:
            self.remove_contact(entry)  # it counts where it is now, behind those that are there
            entry = None
        if entry is None:
            if contact.place == self.own_place:
                return None
            entry = Entry(contact, now, self._diversity.group_of(contact), sought=sought)
        else:
            entry.refresh(contact, now)
            self._struck.pop(contact.peer, None)
            if entry.in_use:
                self._places.put(contact)
        if self.add_contact(entry) or entry.in_use:
            return None
        bucket = self._bucket_of(entry.long_id)
        return bucket.head().contact if bucket.nodes else None

    def strike(self, peer: PeerId, now: float) -> bool:
        """Note that a request to `peer` had no answer; return whether that removed it.

        It goes with the third strike, and the most recently seen replacement takes its place. Strikes less than
        `strike_spacing_s` after the last one that counted do not count.
        """
        entry = self._entries.get(peer)
        if entry is None or now - entry.struck_at < self.strike_spacing_s:
            return False
        entry.strikes += 1
        entry.struck_at = now
        self._struck[peer] = None
        return entry.strikes >= self.strikes_max and self.remove(peer)

    def remove(self, peer: PeerId) -> bool:
        """Forget `peer` now (it left, is revoked, or is known to be dead); return whether it was known."""
        entry = self._entries.get(peer)
        if entry is None:
            return False
        self.remove_contact(entry)
        return True

    def closest(
        self, target: bytes, count: int, exclude: Collection[PeerId] = (), *, responsive: bool = False
    ) -> list[Contact]:
        """Return the known contacts nearest to `target`, nearest first.

        Exact, over buckets and members. At most `count`, fewer in a small table; never ourselves nor one of `exclude`;
        with `responsive`, none whose last request went unanswered. About 5 microseconds for 8, whatever the size.
        """
        if responsive and self._struck:
            exclude = self._struck.keys() | exclude
        return self._places.closest(target, count, exclude)

    def is_near(self, target: bytes, count: int) -> bool:
        """Return whether this peer is itself one of the `count` closest to `target`, as far as the table knows."""
        nearest = self.closest(target, count)
        if len(nearest) < count:
            return True
        point = int.from_bytes(target, "big")
        own: int = self.node.long_id ^ point
        return own < int.from_bytes(nearest[-1].place, "big") ^ point

    def get(self, peer: PeerId) -> Contact | None:
        """Return the contact of `peer` where it is in use."""
        entry = self._entries.get(peer)
        return entry.contact if entry is not None and entry.in_use else None

    def contacts(self) -> list[Contact]:
        """Return all contacts in use, in order of place."""
        return self._places.all()

    def idle(self, since: float) -> list[Contact]:
        """Return the contacts in use not seen after the instant `since`, least recently seen first."""
        quiet = [entry for entry in self._entries.values() if entry.in_use and entry.seen_at <= since]
        quiet.sort(key=lambda entry: (entry.seen_at, entry.id))
        return [entry.contact for entry in quiet]

    def touch(self, target: bytes, now: float) -> None:
        """Note that a look-up for `target` ran: its bucket is fresh (Kademlia 2.3)."""
        self._bucket_of(int.from_bytes(target, "big")).touch_last_updated(now)

    def stale_buckets(self, now: float, interval_s: float) -> list[Span]:
        """Return the ranges in which no look-up ran for `interval_s`, ours last; each wants one for a random target.

        All of them in a new table, so that joining is a look-up for oneself and then these (Kademlia 2.3).
        """
        stale = self.lonely_buckets(now, interval_s)
        stale.sort(key=lambda bucket: bucket.range[0] <= self.node.long_id <= bucket.range[1])
        return [Span(*bucket.range) for bucket in stale]

    @property
    def complete(self) -> bool:
        """Whether nobody proven was turned away: as far as this peer knows, it knows everybody.

        But for those of one address group that are too many, where those are few.
        """
        known = len(self._entries)
        if known - len(self._left_out) != len(self._places) or len(self._places) > self.members_max:
            return False
        return SHARE_UNKNOWN_MAX * len(self._left_out) <= known

    def __len__(self) -> int:
        """Return how many contacts are in use."""
        return len(self._places)

    def __contains__(self, peer: PeerId) -> bool:
        """Return whether `peer` is in use."""
        entry = self._entries.get(peer)
        return entry is not None and entry.in_use

    # The package's own names, mended.

    def flush(self) -> None:
        """Forget all contacts. The stock one makes buckets of 160 bits whose last place is one too many."""
        spares_and_members_max = self.members_max + self.ksize + 1
        self.buckets = [Bucket(0, 2**ID_BITS - 1, self.ksize, spares_and_members_max, self._diversity)]
        self._entries: dict[PeerId, Entry] = {}
        self._struck: dict[PeerId, None] = {}
        self._left_out: dict[PeerId, None] = {}
        """Those not in use because too many of their address group are."""
        self._places = Places()
        self._surplus_count = 0  # of those in use, how many are not in a bucket

    def get_bucket_for(self, node: Any) -> int:
        """Return the index of the bucket whose range holds `node`.

        The stock one takes a range's last place to be in the next bucket, and has none for the last of all.
        """
        return bisect_left(self.buckets, node.long_id, key=_last_place)

    def add_contact(self, node: Entry) -> bool:
        """Add or refresh an entry, splitting buckets as needed; return False where its bucket is full.

        It is then a replacement. The stock one pings the head of the bucket in a task of its own, and recurses.
        """
        is_new = node.contact.peer not in self._entries
        self._entries[node.contact.peer] = node
        split = False
        while True:
            index = self.get_bucket_for(node)
            bucket = self.buckets[index]
            added = bucket.add_node(node)
            if added or len(bucket.nodes) < self.ksize or not self._may_split(bucket):
                break
            self.split_bucket(index)
            split = True
        if split or bucket.gave_way or (added and not is_new and not node.in_use):
            bucket.gave_way = False
            self._settle()
        elif is_new:
            self._settle_new(node, bucket, in_bucket=added)
        return added

    def remove_contact(self, node: Entry) -> None:
        """Remove an entry; the most recently seen replacement takes its place."""
        self._bucket_of(node.long_id).remove_node(node)
        self._entries.pop(node.contact.peer, None)
        self._struck.pop(node.contact.peer, None)
        self._left_out.pop(node.contact.peer, None)
        self._unuse(node)
        self._settle()

    def find_neighbors(self, node: Any, k: int | None = None, exclude: Any = None) -> list[Entry]:
        """Return the entries nearest to `node`, nearest first, without itself and whoever shares `exclude`'s address.

        By XOR. The stock one walks the buckets by number, left and right in turn, and stops at k.
        """
        k = k or self.ksize
        count = len(self._places) if exclude is not None else k + 1
        nearest = [self._entries[contact.peer] for contact in self.closest(node.id, count)]
        kept = [e for e in nearest if e.id != node.id and not (exclude is not None and e.same_home_as(exclude))]
        return kept[:k]

    def lonely_buckets(self, now: float, interval_s: float) -> list[Bucket]:
        """Return the buckets without a look-up for `interval_s`. The stock one reads the clock, for an hour."""
        return [bucket for bucket in self.buckets if bucket.last_updated <= now - interval_s]

    # Which buckets split, and who is in use.

    def _may_split(self, bucket: Bucket) -> bool:
        """Return whether a full bucket splits: it is ours, or between the depths of 4.2, or holds neighbours of ours.

        The last is for unbalanced trees (Kademlia 2.4), where the k nearest to us need not be in our own bucket; who
        holds a key depends on knowing them all. The stock table loses some of them.
        """
        if bucket.has_in_range(self.node) or bucket.depth() % SPLIT_BITS:
            return True
        neighbours = self.closest(self.own_place, self.ksize)
        if len(neighbours) < self.ksize:
            return True
        low, high = bucket.range
        nearest: int = low ^ (self.node.long_id & ~(high - low))
        farthest: int = int.from_bytes(neighbours[-1].place, "big") ^ self.node.long_id
        return nearest <= farthest

    def _settle_new(self, entry: Entry, bucket: Bucket, *, in_bucket: bool) -> None:
        """Do what `_settle` does, cheaply, where no more has changed than that `entry` came to `bucket`."""
        if in_bucket and (not self._surplus_count or len(self._places) < self.members_max):
            self._use(entry)
        elif in_bucket:
            self._settle()
        elif not self._diversity.may_be_used(entry):
            self._left_out[entry.contact.peer] = None
            self._trim(bucket)
        elif len(self._places) < self.members_max:
            self._use(entry)
            self._surplus_count += 1
        else:
            self._trim(bucket)

    def _settle(self) -> None:
        """Make true again after a change of the buckets that the right entries are in use.

        Those in buckets are; of the replacements, as many as `members_max` leaves room for, the ones already in use
        first (who has been there longest stays longest: Kademlia 2.2), then the most recently seen. The others are
        spares, at most k a bucket, the least recently seen dropped.
        """
        waiting: list[Entry] = []
        room = self.members_max
        for bucket in self.buckets:
            room -= len(bucket.nodes)
            for entry in bucket.nodes.values():
                self._use(entry)
            waiting.extend(bucket.replacement_nodes.values())
        room = max(room, 0)
        waiting.sort(key=lambda entry: (not entry.in_use, -entry.seen_at))
        self._left_out.clear()
        self._surplus_count = 0
        for entry in waiting:
            if not entry.in_use and not self._diversity.may_be_used(entry):
                self._left_out[entry.contact.peer] = None
            elif self._surplus_count < room:
                self._use(entry)
                self._surplus_count += 1
            else:
                self._unuse(entry)
        if self._surplus_count < len(waiting):
            for bucket in self.buckets:
                self._trim(bucket)

    def _trim(self, bucket: Bucket) -> None:
        spares = [entry for entry in bucket.replacement_nodes.values() if not entry.in_use]
        for entry in spares[: max(0, len(spares) - self.ksize)]:
            del bucket.replacement_nodes[entry.id]
            del self._entries[entry.contact.peer]
            self._struck.pop(entry.contact.peer, None)
            self._left_out.pop(entry.contact.peer, None)

    def _use(self, entry: Entry) -> None:
        if not entry.in_use:
            entry.in_use = True
            self._diversity.used(entry)
            self._places.put(entry.contact)

    def _unuse(self, entry: Entry) -> None:
        if entry.in_use:
            entry.in_use = False
            self._diversity.unused(entry)
            self._places.discard(entry.id)

    def _bucket_of(self, place: int) -> Bucket:
        return self.buckets[bisect_left(self.buckets, place, key=_last_place)]


def _last_place(bucket: Bucket) -> int:
    return bucket.range[1]
