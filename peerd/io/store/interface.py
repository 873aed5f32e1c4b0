"""The store as the node sees it: what is kept on this host's disk, and what each call promises.

Two implementations: `SqliteStore` (files, SQLite) and `MemoryStore` (simulator, benchmarks). They know no protocol:
records and statements are opaque bytes; which version is newer is the caller's business. A call that changes something
returns when that is durable; concurrent calls share one commit. Every call may raise StoreError (the disk failed),
those that add something NoRoomError (quota or disk full): nothing was changed. Cancelled ones may take effect, whole.
"""

import enum
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from peerd.content.block import Block
from peerd.content.cid import Cid
from peerd.ids import Key, PeerId
from peerd.io.store.ahead import StagesBlocks
from peerd.io.store.bounds import RootClass
from peerd.io.store.digests import KeepsDigests
from peerd.io.store.entries import KeepsEntries
from peerd.io.store.health import StoreHealth
from peerd.io.store.remembered import RememberedPeer
from peerd.io.store.seen import KeepsSeen
from peerd.io.store.small import ReadsSmallBlocks

RootKind = Literal["file", "directory", "raw"]


class Miss(enum.Enum):
    """The type of MISS."""

    MISS = "miss"


MISS: Final = Miss.MISS
"""What `peek_record` returns where only the disk knows."""


class Anything(enum.Enum):
    """The type of ANY."""

    ANY = "any"


ANY: Final = Anything.ANY
"""`only_if=ANY`: put whatever is there now."""


@dataclass(frozen=True, slots=True)
class RecordRow:
    """The metadata of one version of a key; `(sequence, writer, nonce)` orders versions and names this one."""

    name: str
    owner: bytes | None
    sequence: int
    writer: bytes
    nonce: bytes
    cid: bytes | None
    size: int
    deleted: bool
    expires: float | None
    written_at: float
    """Unix seconds by this host's clock, to show; `expires` is in the store's seconds (`now_s`)."""

    @property
    def version(self) -> tuple[int, bytes, bytes]:
        """What orders this version among the key's others."""
        return self.sequence, self.writer, self.nonce


@dataclass(frozen=True, slots=True)
class Floor:
    """What stays of a key whose tombstone, or whose record with a life, has gone: this version and all below are over.

    `ends` (in the store's seconds) is when it may be forgotten itself, None: never.
    """

    sequence: int
    writer: bytes
    nonce: bytes
    ends: float | None = None

    @property
    def version(self) -> tuple[int, bytes, bytes]:
        """What orders it among the key's versions."""
        return self.sequence, self.writer, self.nonce

    def over(self, present: "Floor") -> bool:
        """Return whether it says more than one that is present: a higher version, or the same for longer."""
        if self.version != present.version:
            return self.version > present.version
        return present.ends is not None and (self.ends is None or self.ends > present.ends)


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A version that was stored under a key; `conflict` where it lost a tie."""

    row: RecordRow
    conflict: bool


@dataclass(frozen=True, slots=True)
class Root:
    """Content this peer keeps, and why; `cid` is 36 bytes, `complete` says that every block of it is here.

    `size` is the content's own bytes, `dag_size` those of all its blocks, `copies` how many peers should hold it.
    `name` is a name it is known by, or empty. Times are the store's seconds (`now_s`).
    """

    cid: bytes
    kind: RootKind
    size: int
    dag_size: int
    class_: RootClass
    name: str
    copies: int
    complete: bool
    added_at: float
    used_at: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used, in bytes that the quota counts, a block once in the highest class of the roots that link it.

    `used_bytes` is all classes, blocks that no root links yet, and all rows; `rotten` the blocks ever found damaged.
    """

    used_bytes: int
    quota_bytes: int
    pinned_bytes: int
    own_bytes: int
    replica_bytes: int
    cache_bytes: int
    records: int
    blobs: int
    rotten: int


class Freed(NamedTuple):
    """What was let go: the bytes of blocks, and how many blocks."""

    bytes: int
    blocks: int


def unknown_root(cid: bytes, now: float) -> Root:
    """Return what stands for a root whose blocks were linked before anything else was said of it."""
    return Root(cid, "raw", 0, 0, "cache", "", 0, False, now, now)


class Store(KeepsSeen, KeepsDigests, KeepsEntries, StagesBlocks, ReadsSmallBlocks, Protocol):
    """Everything a peer keeps."""

    @property
    def store_id(self) -> bytes:
        """16 random bytes, new when the store was created, and when it turned out to be restored from a backup."""

    @property
    def restored(self) -> bool:
        """Whether at this start the store turned out to be older than it had been."""

    @property
    def is_copy(self) -> bool:
        """Whether at this start or an earlier one the store turned out to be older than it had been."""

    @property
    def health(self) -> StoreHealth:
        """What is wrong with the disk; from a failed sync on changes raise StoreError, until all was read again."""

    def watch(self, changed: Callable[[Key], None]) -> None:
        """Call `changed(key)` after each change of what is kept under a key, once it is durable; replaces the last."""

    def peek_record(self, key: Key) -> bytes | Miss | None:
        """Return the record, None where there is none, MISS where that cannot be told without I/O."""

    async def record(self, key: Key) -> bytes | None:
        """Return the record under `key`; raises DamagedError where the disk has changed it."""

    async def put_record(
        self, key: Key, record: bytes, *, row: RecordRow, only_if: bytes | Anything | None = ANY
    ) -> bool:
        """Put `record` under `key` and note its version in the history.

        With `only_if`, only where the present record is just that (None: there is none); False where it is not. A
        tombstone (`row.deleted`) may use the reserve of the quota, and where that is used up the key's older versions
        leave the history for it: a full store can be emptied. A floor of the key goes, as the record is above it, and
        so does what was confirmed of an earlier tombstone.
        """

    async def add_history(self, key: Key, row: RecordRow, *, conflict: bool) -> None:
        """Note a version that is not the current one; a version already noted gets the new `conflict`."""

    async def history(self, key: Key) -> list[HistoryRow]:
        """Return the versions known, newest first, at most HISTORY_MAX."""

    async def records(self, after: Key | None, limit: int) -> list[tuple[Key, bytes]]:
        """Return a page of records in key order, those above `after`."""

    async def damaged_records(self, limit: int) -> list[Key]:
        """Return keys of records that the disk has changed; reads all of them."""

    async def expired_records(self, now: float, limit: int) -> list[Key]:
        """Return keys of records whose `expires` is at or before `now`, the longest expired first."""

    async def drop_record(self, key: Key) -> None:
        """Forget the record and its history; the reserved sequence stays."""

    def peek_floor(self, key: Key) -> Floor | Miss | None:
        """Return the floor of a key, None where there is none, MISS where that cannot be told without I/O."""

    async def floor(self, key: Key) -> Floor | None:
        """Return the floor of a key."""

    async def put_floor(self, key: Key, floor: Floor) -> None:
        """Put a floor unless there is one that says as much, and drop the key's record, history and holders.

        The caller has seen to it that the record is not above the floor. May use the reserve of the quota.
        """

    async def floors(self, after: Key | None, limit: int) -> list[tuple[Key, Floor]]:
        """Return a page of floors in key order, those above `after`."""

    async def ended_floors(self, now: float, limit: int) -> list[Key]:
        """Return keys of floors whose `ends` is at or before `now`, the longest ended first."""

    async def drop_floor(self, key: Key) -> None:
        """Forget a floor."""

    async def tombstones(self, after: Key | None, limit: int) -> list[tuple[Key, float]]:
        """Return a page of the keys of tombstones in key order, with when each came here (the store's seconds)."""

    async def note_holders(self, key: Key, peers: Sequence[PeerId]) -> None:
        """Note who is known to have held a key whose record is a tombstone; at most HOLDERS_PER_KEY_MAX, then no more.

        May use the reserve of the quota, as may `confirm_holder`.
        """

    async def confirm_holder(self, peer: PeerId, keys: Sequence[Key]) -> None:
        """Note that a peer has the tombstones of these keys; keys without one are passed over."""

    async def holders(self, key: Key) -> dict[PeerId, bool]:
        """Return who is known to have held a key, and whether each has its tombstone."""

    async def record_count(self) -> int:
        """Return how many records there are."""

    async def record_with_cid(self, cid: bytes) -> bytes | None:
        """Return some record whose row names that content."""

    async def reserve_sequence(self, key: Key, at_least: int) -> int:
        """Return a sequence for a new version of `key`, never the same twice: last + 1 or `at_least`, the larger.

        Raises UsageError above SEQUENCE_MAX.
        """

    def may_have_register(self, key: Key) -> bool:
        """Say False only where nothing was put by `put_register` under `key`. No I/O."""

    async def register(self, key: Key) -> bytes | None:
        """Return what this peer keeps as an acceptor of the key's register."""

    async def put_register(self, key: Key, state: bytes, *, only_if: bytes | None) -> bool:
        """Put `state` where just `only_if` is there now (None: nothing); False where it is not.

        May use the reserve beyond the quota. It stays for as long as the store does.
        """

    async def registers(self, after: Key | None, limit: int) -> list[tuple[Key, bytes]]:
        """Return a page of what `put_register` put, in key order, those above `after`."""

    async def put_blocks(
        self, blocks: Sequence[Block], *, root: bytes | None = None, named: Sequence[bytes] = ()
    ) -> None:
        """Keep blocks, all or none, which the caller has checked. With `root`, it links them and those `named` at once.

        One call is one change: some 16 MiB of large blocks or a few hundred small ones at a time keep others moving.
        What no root links may go in `drop_unlinked`. A block that is here already counts as put now: what frees blocks
        `since` an instant leaves it.
        """

    async def block(self, cid: Cid) -> bytes | None:
        """Return a block whose hash was checked just now; a rotten one is set aside, counted, and None.

        A rotten block stays linked to its roots, so that putting it again mends them.
        """

    async def block_to_send(self, cid: Cid) -> bytes | None:
        """As `block`, for whom checks it himself: a file that was hashed lately and not written since is not again."""

    async def delete_blocks(self, cids: Sequence[Cid]) -> None:
        """Delete blocks even where roots link them; the links stay."""

    async def drop_unlinked(self, age_s: float, *, since: float | None = None) -> Freed:
        """Delete blocks that no root links and that were put at least `age_s` ago or before the last start.

        What an interrupted put leaves. Never one put at or after the monotonic instant `since`: a put under way counts
        on it.
        """

    async def put_root(self, root: Root) -> None:
        """Keep or change a root; where its class changes, its blocks count for the new one."""

    async def root(self, cid: bytes) -> Root | None:
        """Return the root of that CID."""

    async def roots(self, after: bytes | None, limit: int) -> list[Root]:
        """Return a page of roots in the order of their CIDs, those above `after`."""

    async def roots_with_block(self, cid: bytes, limit: int) -> list[bytes]:
        """Return the CIDs of so many roots that link a block, whether it is here or not."""

    def touch_root(self, cid: bytes, used_at: float) -> None:
        """Note that a root was used: what eviction goes by. No I/O; reaches the disk with a later write."""

    async def delete_root(self, cid: bytes) -> None:
        """Forget a root and its links; its blocks stay and are unlinked where no other root links them."""

    async def release_root(self, cid: bytes) -> int:
        """Delete a root, its links and the blocks that no other root links; returns the bytes freed.

        The root is gone at once, its blocks in slices; a crash between is finished at the next start. Claims stay.
        """

    async def release_unclaimed(self, cid: bytes, *, since: float) -> Freed | None:
        """Release a root as `release_root` does, where it is of class cache and nothing claims it; else None.

        Looked at and taken in one change. Its blocks that were put at or after the monotonic instant `since` stay,
        unlinked: a put under way counts on them.
        """

    async def idle_roots(self, after: Root | None, limit: int) -> list[Root]:
        """Return a page of roots of class cache, those that come after `after`.

        The unclaimed first (0 copies wanted), of these and the others the longest unused.
        """

    async def link_blocks(self, root: bytes, cids: Sequence[bytes]) -> None:
        """Note that blocks belong to a root, here already or still to come.

        A root not known yet becomes an incomplete one of class cache; `put_root` says what it really is.
        """

    async def add_claim(self, cid: bytes, claim: bytes) -> None:
        """Note a reason to keep the content; it need not be here yet. At most CLAIM_MAX_BYTES, else UsageError."""

    async def remove_claim(self, cid: bytes, claim: bytes) -> None:
        """Withdraw one reason."""

    async def claims(self, cid: bytes, *, prefix: bytes = b"", limit: int | None = None) -> list[bytes]:
        """Return the reasons to keep the content that begin with `prefix`, sorted; the first `limit` of them."""

    async def claims_like(
        self, prefix: bytes, after: tuple[bytes, bytes] | None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return a page of (CID, claim) of the claims on anything that begin with `prefix`.

        In the order of claim and CID, those above `after`, a (CID, claim). `prefix` is not empty.
        """

    async def note_addition(self, cid: bytes, withdrawn_at: float | None) -> None:
        """Note that this peer added content without a name, and when (the store's seconds) it withdrew it again."""

    async def addition(self, cid: bytes) -> tuple[float | None] | None:
        """Return (when it was withdrawn,) of what this peer added, None of anything else."""

    async def withdrawals(self, after: bytes | None, limit: int) -> list[tuple[bytes, float]]:
        """Return a page of (CID, when) of what this peer withdrew, in the order of the CIDs, those above `after`."""

    async def drop_addition(self, cid: bytes) -> None:
        """Forget that this peer added content."""

    async def roots_with_claim(self, claim: bytes) -> list[bytes]:
        """Return the CIDs kept for that reason, sorted."""

    async def put_provider(self, key: Key, peer: PeerId, statement: bytes, expires: float) -> None:
        """Keep a peer's statement that it has the content, in place of its last one.

        At most PROVIDERS_PER_KEY_MAX for a key and `bounds.providers_max` in all. Beyond, those that end first go,
        which may be the new one: of all, or of its own peer where that has more than a part of them.
        """

    async def providers(self, key: Key, now: float) -> list[bytes]:
        """Return the statements for `key` that end after `now`, the latest end first."""

    async def remember_peers(self, peers: Sequence[RememberedPeer]) -> None:
        """Keep peers, one address each; at most PEERS_MAX: half those that lived longest, half the last seen."""

    async def remembered_peers(self, limit: int) -> list[RememberedPeer]:
        """Return peers to try again, the last seen first."""

    async def anchors(self, limit: int) -> list[RememberedPeer]:
        """Return peers to try again, those that lived longest first: no flood of new ones stands before them."""

    async def note_forgotten(self, peer: PeerId, notice: bytes | None) -> None:
        """Note that a peer will not come back, as one more notice says, or with None that it did; at most 4,096."""

    async def forgotten(self) -> list[bytes]:
        """Return all notices of those that will not come back, the first noted first."""

    async def put_receipts(self, rows: Sequence[tuple[Key, PeerId, bytes]]) -> None:
        """Keep (key, holder, receipt), each in place of that holder's last one for the key; the longest kept go.

        At most `bounds.receipts_max`.
        """

    async def receipt(self, key: Key, holder: PeerId) -> bytes | None:
        """Return the newest receipt that is kept of a holder for a key."""

    async def put_evidence(self, accused: PeerId, evidence: bytes) -> None:
        """Keep what convicts a peer, the first there is; at most EVIDENCE_MAX, the first noted goes."""

    async def evidence(self) -> list[bytes]:
        """Return all evidence, the first noted first."""

    async def put_revocation(self, peer: PeerId, statement: bytes, *, known: bool) -> None:
        """Keep for good, unbounded here, the first word that a peer's key is revoked; `known` where it was a member."""

    async def revocations(self) -> list[tuple[bytes, bool]]:
        """Return every revocation, and whether its peer was a member here."""

    async def usage(self) -> Usage:
        """Return what is used; from counters, no scan."""

    async def evict_cache(self, bytes_wanted: int, spare: Collection[bytes] = (), *, since: float | None = None) -> int:
        """Release cache roots that nothing claims, in the order of `idle_roots`, until that much is free.

        Never one of `spare`, whose blocks are coming in just now; blocks put at or after the monotonic instant `since`
        stay, unlinked. Returns the bytes freed: fewer where there is no more to give.
        """

    async def drop_providers(self, now: float, limit: int) -> int:
        """Forget at most `limit` provider records that ended by `now`; returns how many."""

    async def drop_rotten(self) -> int:
        """Delete what was set aside as damaged; returns the bytes freed."""

    def now_s(self) -> float:
        """Return the seconds that this store has lived: monotonic, kept across restarts, never the wall clock."""

    def note_time(self) -> None:
        """Have the store's clock noted on disk where that was not done for a while; no I/O here."""

    async def next_stamp(self) -> int:
        """Return a stamp above all given before, also before a restart: Unix milliseconds where these are larger."""

    async def close(self) -> None:
        """Finish what was begun and let go of the files; later calls raise StoreError."""
