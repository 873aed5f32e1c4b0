"""What the store keeps at most, and what each kind of row is taken to cost.

The costs are what the quota counts: the bytes of the content itself plus a fixed sum for each row, indexes
included, so that a flood of tiny rows fills a quota as surely as a few large files do.
"""

from typing import Final, Literal

from peerd.errors import UsageError

RootClass = Literal["pinned", "own", "replica", "cache"]

CLASS_RANK: Final[dict[str, int]] = {"cache": 1, "replica": 2, "own": 3, "pinned": 4}
"""A block counts for the highest class of the roots that link it; 0 is a block that no root links."""

CLASS_OF_RANK: Final[dict[int, RootClass]] = {1: "cache", 2: "replica", 3: "own", 4: "pinned"}
RANK_UNLINKED = 0
RANK_MAX = 4

STORE_ID_BYTES = 16

INLINE_MAX_BYTES = 32 * 1024
"""Blocks up to here live in the database: below it a file of its own costs more than it saves."""

HISTORY_MAX = 16
"""Versions of a key whose metadata is kept; more would let one busy writer fill every holder."""

PROVIDERS_PER_KEY_MAX = 64
"""Provider records of one key: a flood of identities must not make one answer, or one row set, grow without end."""

PROVIDERS_MAX = 200_000
"""Provider records in all, about 80 MiB: strangers announce for free."""

PROVIDERS_PART = 16
"""Of the quota they may use one part in this many, the reserve too; an honest peer announces each hour anew."""

PEERS_MAX = 1_024
"""Remembered peers; the longest unseen goes first."""

FORGOTTEN_MAX = 4_096
"""Notices of peers that will not come back; the first noted goes first."""

RECEIPTS_MAX = 50_000
"""Receipts of others, the newest of each holder for a key; less where the quota is small (`receipts_max`)."""

EVIDENCE_MAX = 4_096
"""Evidence, one piece for each accused: key pairs are cheap, and so are liars that convict themselves."""

SEEN_MAX = 100_000
"""Versions that were read here and may not be older the next time; those noted first go first."""

ENTRIES_MAX = 200_000
"""Entries of build caches, the longest unused go first: a CI farm writes as many as it likes."""

DIGESTS_MAX = 65_536
"""Files of which the plain SHA-256 was seen here; those noted first go first: small files come by the million."""

CLAIM_MAX_BYTES = 640
"""A claim is a signed statement of at most 512 bytes, after what it is found by; anything longer is not one."""

SEQUENCE_MAX = 2**63 - 1
"""Highest sequence of a version; the database's integers end here."""

HOLDERS_PER_KEY_MAX = 32
"""Peers remembered beside a tombstone: four times those that should have it."""

RECORD_ROW_BYTES = 200
FLOOR_ROW_BYTES = 160
HOLDER_ROW_BYTES = 96
SEEN_ROW_BYTES = 160
DIGEST_ROW_BYTES = 200
HISTORY_ROW_BYTES = 300
SEQUENCE_ROW_BYTES = 64
REGISTER_ROW_BYTES = 120
BLOCK_ROW_BYTES = 200
LINK_ROW_BYTES = 32
ROOT_ROW_BYTES = 300
CLAIM_ROW_BYTES = 120
ADDITION_ROW_BYTES = 64
PROVIDER_ROW_BYTES = 160
PEER_ROW_BYTES = 128
FORGOTTEN_ROW_BYTES = 240
RECEIPT_ROW_BYTES = 200
EVIDENCE_ROW_BYTES = 120
REVOKED_ROW_BYTES = 320
ENTRY_ROW_BYTES = 240

ROOM_HINT = "raise --quota, or delete something"

_RESERVE_PART = 32
# Kept for writers that use less than their share: the reserve and the empty tables are of the same tenth, but not all
# of it. Of a small quota they are more.
_KEPT_PART = 10
_KEPT_MIN_PART = 16
# The store's empty directories and tables, as far as they are no large part of a small quota.
_BASE_BYTES = 1_310_720
_BASE_PART = 8
_PAGE_BYTES = 4_096
_RECEIPTS_PART = 64
_RECEIPT_BYTES = 256
_ENTRIES_PART = 32
_ENTRY_BYTES = 1_024


def reserve_bytes(quota_bytes: int) -> int:
    """Return the part of the quota that only tombstones, roots, links and claims may use.

    A full store must still be able to note what is deleted, and to finish a write whose blocks were accepted.
    """
    return quota_bytes // _RESERVE_PART


def limit_bytes(quota_bytes: int, *, reserve: bool) -> int:
    """Return how much may be used, with the reserve or without."""
    most = quota_bytes - min(_BASE_BYTES, quota_bytes // _BASE_PART)
    return most if reserve else most - reserve_bytes(quota_bytes)


def providers_max(quota_bytes: int) -> int:
    """Return how many provider records may be kept in all."""
    return min(PROVIDERS_MAX, max(PROVIDERS_PER_KEY_MAX, quota_bytes // PROVIDERS_PART // (2 * PROVIDER_ROW_BYTES)))


def common_bytes(quota_bytes: int) -> int:
    """Return how much writers may use that use more than their share: a tenth of the quota is kept from them."""
    least = limit_bytes(quota_bytes, reserve=False) - quota_bytes // _KEPT_MIN_PART
    return min(quota_bytes - quota_bytes // _KEPT_PART, least)


def receipts_max(quota_bytes: int) -> int:
    """Return how many receipts of others are kept: they take a 64th of a small quota at most."""
    return min(RECEIPTS_MAX, quota_bytes // _RECEIPTS_PART // (RECEIPT_ROW_BYTES + _RECEIPT_BYTES))


def entries_max(quota_bytes: int) -> int:
    """Return how many entries of build caches are kept: they take a 32nd of a small quota at most."""
    return max(1, min(ENTRIES_MAX, quota_bytes // _ENTRIES_PART // (ENTRY_ROW_BYTES + _ENTRY_BYTES)))


def padding_bytes(size: int) -> int:
    """Return what a block's file takes on the disk beyond its bytes."""
    return -size % _PAGE_BYTES if size > INLINE_MAX_BYTES else 0


PADDING_SQL = f"CASE WHEN ROW.size > {INLINE_MAX_BYTES} THEN (-ROW.size & {_PAGE_BYTES - 1}) ELSE 0 END"
"""`padding_bytes` of a block's row, in SQL."""


def record_bytes(record: bytes) -> int:
    """Return what a record costs with the metadata of its version."""
    return len(record) + RECORD_ROW_BYTES + HISTORY_ROW_BYTES


def claim_bytes(claim: bytes) -> int:
    """Return what a claim costs: it stands in the table and in its index."""
    return 2 * len(claim) + CLAIM_ROW_BYTES


def check_sequence(sequence: int) -> None:
    """Raise UsageError where `sequence` is not one the store can order."""
    if not 0 <= sequence <= SEQUENCE_MAX:
        raise UsageError(f"a version's sequence must be from 0 to {SEQUENCE_MAX}")


def above(prefix: bytes) -> bytes:
    """Return the least bytes above all that begin with `prefix`, which is not empty nor all 0xff."""
    cut = prefix.rstrip(b"\xff")
    return cut[:-1] + bytes([cut[-1] + 1])


def check_claim(claim: bytes) -> None:
    """Raise UsageError where `claim` is longer than a claim can be."""
    if len(claim) > CLAIM_MAX_BYTES:
        raise UsageError(f"a claim is at most {CLAIM_MAX_BYTES} bytes")
