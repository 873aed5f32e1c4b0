"""What the node's operations answer; encoded as they stand, these are the API's JSON (INTERFACE.md)."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from peerd.records.evidence import KindName

Consistency = Literal["one", "quorum", "strong"]
Kind = Literal["file", "directory"]
Source = Literal["local", "cache", "peer"]
Form = Literal["file", "tar"]

NO_VERSION, ANY_VERSION = "none", "*"
"""What `if_version` may be beside the text of a version: there is nothing; there is something."""


class PutOptions(Struct, frozen=True, kw_only=True):
    """How to write; `require` and `copies` count different peers, `ttl_s` is the life in seconds, None for ever."""

    require: int | None = None
    consistency: Consistency = "quorum"
    if_version: str | None = None
    ttl_s: int | None = None
    own: bool = False
    pin: bool = False
    timeout_s: float = 30.0


class GetOptions(Struct, frozen=True, kw_only=True):
    """How to read; the timeout is seconds without progress.

    `patience_s` is how long a name or CID is asked for again where too few of its holders answer: as the user said.
    `in_order`: the first bytes are wanted first; else all of it as soon as may be.
    """

    consistency: Consistency = "quorum"
    cache: bool = True
    pin: bool = False
    timeout_s: float = 30.0
    patience_s: float = 0.0
    in_order: bool = True


class Put(Struct, frozen=True, kw_only=True):
    """What was stored and who says that they have it; `key` and `version` only of a named put.

    `sha256` (hexadecimal digits) is the plain digest of a file that was put, where it is found by that.
    """

    key: str | UnsetType = UNSET
    cid: str
    size: int
    kind: Kind = "file"
    version: str | UnsetType = UNSET
    copies: int
    copies_wanted: int
    holders: list[str]
    created: bool = True
    sha256: str | UnsetType = UNSET
    elapsed_ms: float


class Imported(Struct, frozen=True, kw_only=True):
    """What a CAR brought: its roots, each as `peer add` tells it, its distinct blocks, and their bytes."""

    roots: list[Put]
    blocks: int
    size: int
    elapsed_ms: float


class Get(Struct, frozen=True, kw_only=True):
    """What was found; `key`, `version` and `writer` only of a name."""

    key: str | UnsetType = UNSET
    cid: str
    kind: Kind = "file"
    size: int
    version: str | UnsetType = UNSET
    writer: str | UnsetType = UNSET
    source: Source
    hops: int
    elapsed_ms: float
    stale_since_s: float | UnsetType = UNSET


class Holder(Struct, frozen=True, kw_only=True):
    """One peer that has it: a promised replica, or a cached copy that may go."""

    id: str
    address: str
    kind: Literal["replica", "cache"]
    version: str | None = None


class HistoryEntry(Struct, frozen=True, kw_only=True):
    """One version of a name; `conflict` where it lost a tie."""

    version: str
    writer: str
    cid: str | None
    size: int
    deleted: bool
    conflict: bool = False


class WatchedVersion(HistoryEntry, frozen=True, kw_only=True):
    """One version of a key that is watched; `missed` sequences before it are known to nobody that was asked."""

    missed: int | UnsetType = UNSET


class Agreed(Struct, frozen=True, kw_only=True):
    """The holders whose majority decides of a key that is written `strong`, and the number of that list."""

    epoch: int
    holders: list[str]


class Stat(Struct, frozen=True, kw_only=True):
    """All that is known of a name or a content id.

    `copies` are promised copies of this version; `holders` also have caches and older versions. `missing` should have a
    copy and said that they have none, `silent` did not answer (peer ids). `record_holders` have the name's record.
    `agreed` is told where this peer is one of a strong key's holders.
    """

    key: str | UnsetType = UNSET
    cid: str
    kind: Kind
    size: int
    version: str | UnsetType = UNSET
    writer: str | UnsetType = UNSET
    copies: int
    copies_wanted: int
    holders: list[Holder]
    missing: list[str] = []
    silent: list[str] = []
    record_holders: list[Holder] = []
    agreed: Agreed | None = None
    conflicts: list[HistoryEntry]


class Entry(Struct, frozen=True, kw_only=True):
    """One line of a listing. `name` is a key, an entry of a directory, or empty for content without a name here."""

    name: str
    cid: str
    size: int
    kind: Literal["file", "directory", "symlink"]


class Storage(Struct, frozen=True, kw_only=True):
    """Disk in use, by class, bytes."""

    used_bytes: int
    quota_bytes: int
    pinned_bytes: int
    replica_bytes: int
    cache_bytes: int


class CacheCounts(Struct, frozen=True, kw_only=True):
    """How often what was read was here already; cached copies that were kept, not kept, and let go of for others.

    `records` are those of others cached now for reads with `one`.
    """

    hits: int
    misses: int
    kept: int = 0
    declined: int = 0
    evicted: int = 0
    records: int = 0


class Repair(Struct, frozen=True, kw_only=True):
    """How many keys and pieces of content are known to lack copies, and for how long the first of them has.

    `may_fail` machines may fail at once so that everything kept here has a copy left; None where that is not known.
    """

    missing_copies: int
    lag_s: float
    may_fail: int | None = None


class CoordinatorInfo(Struct, frozen=True, kw_only=True):
    """One coordinator as this peer sees it."""

    url: str
    connected: bool
    registered: bool


class TrustCounts(Struct, frozen=True, kw_only=True):
    """How many peers are asked last for a while, and how many are out for good."""

    shunned: int = 0
    convicted: int = 0
    revoked: int = 0


class Status(Struct, frozen=True, kw_only=True):
    """The daemon about itself."""

    id: str
    network: str
    version: str
    uptime_s: float
    listen: str
    contacts: int
    records: int
    blobs: int
    storage: Storage
    cache: CacheCounts
    repair: Repair
    rejected: dict[str, int]
    degraded: list[str]
    health: str
    coordinators: list[CoordinatorInfo]
    trust: TrustCounts


class PeerInfo(Struct, frozen=True, kw_only=True):
    """One member as this peer sees it; `rtt_ms` is None before the first measurement.

    One that is `forgotten` is not counted any more; it is a member again when it comes back. `faults` are what this
    peer caught it at; one that is `shunned` for them is not relied on for a while.
    """

    id: str
    address: str
    rtt_ms: float | None
    source: Literal["mdns", "bootstrap", "coordinator", "overlay", "remembered"]
    last_seen_s: float
    verified: bool
    state: Literal["alive", "suspect", "dead", "left"]
    forgotten: bool = False
    trust: Literal["trusted", "shunned", "convicted", "revoked"] = "trusted"
    faults: dict[str, int] = {}


class Evidence(Struct, frozen=True, kw_only=True):
    """What convicts a peer: its id, how it convicted itself, and the signed statements, in hexadecimal digits."""

    id: str
    kind: KindName
    evidence: str


class Ping(Struct, frozen=True, kw_only=True):
    """One round trip to a peer."""

    id: str
    address: str
    rtt_ms: float


class Lock(Struct, frozen=True, kw_only=True):
    """A lock that was taken, renewed or released; `fence` grows with each holder, `lease_s` is how long it is held."""

    name: str
    fence: int
    lease_s: float


class Hop(Struct, frozen=True, kw_only=True):
    """One question of a lookup: when it was asked and answered (ms from its start), and what came of it."""

    id: str
    asked_ms: float
    answered_ms: float | None
    result: str


class Find(Struct, frozen=True, kw_only=True):
    """A lookup, hop by hop, in the order of asking."""

    hops: list[Hop]


class Pinned(Struct, frozen=True, kw_only=True):
    """What is kept here whatever happens, or is not any more."""

    cid: str
    size: int
    pinned: bool


class Revoked(Struct, frozen=True, kw_only=True):
    """A peer whose key counts no more; `revocation` is the statement that says so, as a file for `peer revoke`."""

    id: str
    reason: str
    at_s: float
    revocation: str


class Forgotten(Struct, frozen=True, kw_only=True):
    """A peer that is no longer counted, unless it comes back."""

    id: str
    forgotten: bool


class Collected(Struct, frozen=True, kw_only=True):
    """What was freed: bytes of blocks and damaged files, and how many roots, blocks and records went."""

    freed_bytes: int
    roots: int
    blocks: int
    records: int


class Verified(Struct, frozen=True, kw_only=True):
    """What was re-hashed (blocks, and records' signatures), what of it was damaged, mended, and could not be mended."""

    blocks: int
    records: int
    damaged: int
    mended: int
    lost: int


class AuditedKey(Struct, frozen=True, kw_only=True):
    """What the holders of a key have: peer ids of those with the newest version, without any, with another one.

    `silent` did not answer, and may have anything; `versions` says what the differing ones have.
    """

    key: str
    version: str | None
    deleted: bool
    holders: list[str]
    missing: list[str]
    differing: list[str]
    silent: list[str]
    versions: dict[str, str]

    @property
    def divergent(self) -> bool:
        """Whether a holder that answered lacks the newest version."""
        return bool(self.missing or self.differing)


class Audit(Struct, frozen=True, kw_only=True):
    """What every holder has, key by key; `divergent` counts the keys of which some holder has not the newest."""

    keys: list[AuditedKey]
    divergent: int
