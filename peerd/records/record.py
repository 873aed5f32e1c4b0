"""A record: a name's value, the id of its content, or its tombstone, in one version, signed by its writer.

Source: BEP 44 (mutable items), with three differences: the key is derived from the name and the network and not from
the writer, because shared names may be written by every member; a delete is a version of its own; ties are decided.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.identity import SIGNATURE_BYTES, Identity
from peerd.ids import Key, NetworkId, PeerId, name_key
from peerd.records.statement import Statements, Verifier
from peerd.records.version import Version
from peerd.wire import limits
from peerd.wire.fields import CID_BYTES, CID_DAG_PB, CID_RAW, Bytes32

TOMBSTONE, INLINE, FILE, DIRECTORY = 0, 1, 2, 3
NONCE_BYTES = 8


class RecordBody(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The signed fields. `value` is the value itself (INLINE), 36 bytes of CID (FILE, DIRECTORY) or empty."""

    format: Annotated[int, Meta(ge=1, le=1)]
    key: Bytes32
    name: Annotated[str, Meta(min_length=1, max_length=limits.NAME_MAX_BYTES)]
    owner: Bytes32 | None
    sequence: Annotated[int, Meta(ge=1, le=limits.SEQUENCE_MAX)]
    writer: Bytes32
    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    kind: Annotated[int, Meta(ge=TOMBSTONE, le=DIRECTORY)]
    value: Annotated[bytes, Meta(max_length=limits.RECORD_MAX_BYTES)]
    size: Annotated[int, Meta(ge=0, le=limits.CONTENT_MAX_BYTES)]
    copies: Annotated[int, Meta(ge=1, le=limits.COPIES_MAX)]
    ttl_s: Annotated[int, Meta(ge=1, le=limits.TTL_MAX_S)] | None
    strong: bool = False
    """Chosen by the key's register (trust.register); never written by a plain write."""


_statements = Statements(
    RecordBody, tag=b"peerd/1 record\x00", signer_field="writer", max_bytes=limits.RECORD_MAX_BYTES
)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it travels (`raw`), what it says (`body`), and its place in the order (`version`)."""

    raw: bytes
    body: RecordBody
    version: Version

    @property
    def key(self) -> Key:
        """Return the key it is stored under."""
        return Key(self.body.key)

    @property
    def deleted(self) -> bool:
        """Whether it says that there is nothing."""
        return self.body.kind == TOMBSTONE


def make_record(identity: Identity, body: RecordBody) -> Record:
    """Return the signed record.

    Raises WireError (`statement_size`) where it is longer than a record may be; the caller stores content instead.
    """
    raw = _statements.sign(identity, body)
    if len(raw) > (limits.STRONG_RECORD_MAX_BYTES if body.strong else limits.RECORD_MAX_BYTES):
        raise WireError("statement_size")
    return _wrap(raw, body)


def read_record(raw: bytes) -> Record:
    """Return a record that was verified before it was stored; raises WireError where it is none."""
    return _wrap(raw, _statements.read(raw))


def is_mortal(raw: bytes) -> bool:
    """Return whether a record that was verified before it was stored has a life that ends."""
    return _statements.glance(raw).ttl_s is not None


def verify_record(raw: bytes, network: NetworkId, verifier: Verifier) -> Record:
    """Return a record from outside, checked in all that it says of itself.

    Raises WireError: as statements do, and `record_name` (longer than a name may be), `record_key` (stored under
    another name's key), `record_owner` (written by somebody else than the name's owner), `record_value` (value, size
    and kind do not fit).
    """
    body = _statements.verify(raw, verifier)
    check_body(body, network)
    if body.strong and len(raw) > limits.STRONG_RECORD_MAX_BYTES:
        raise WireError("statement_size")
    return _wrap(raw, body)


def check_body(body: RecordBody, network: NetworkId) -> None:
    """Raise WireError where the fields of a record contradict each other."""
    if len(body.name.encode()) > limits.NAME_MAX_BYTES:
        raise WireError("record_name")
    owner = PeerId(body.owner) if body.owner is not None else None
    if body.key != name_key(network, body.name, owner):
        raise WireError("record_key")
    if owner is not None and body.writer != owner:
        raise WireError("record_owner")
    fits = {
        TOMBSTONE: not body.value and body.size == 0,
        INLINE: body.size == len(body.value),
        FILE: len(body.value) == CID_BYTES and body.value.startswith((CID_RAW, CID_DAG_PB)),
        DIRECTORY: len(body.value) == CID_BYTES and body.value.startswith(CID_DAG_PB),
    }
    if not fits[body.kind]:
        raise WireError("record_value")


def body_bytes(raw: bytes) -> bytes:
    """Return the bytes that a record's digest covers: all but the signature."""
    return raw[:-SIGNATURE_BYTES]


def newest(records: list[Record]) -> Record | None:
    """Return the record that wins, or None of none."""
    return max(records, key=lambda record: record.version, default=None)


def _wrap(raw: bytes, body: RecordBody) -> Record:
    digest = hashlib.sha256(memoryview(raw)[:-SIGNATURE_BYTES]).digest()
    return Record(raw, body, Version(body.sequence, body.writer, body.nonce, digest, body.strong))
