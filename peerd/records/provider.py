"""A provider record: its signer has all blocks of some content, as a promised replica or a cached copy, for a while.

`stamp` grows with each statement of one provider about one root, so that an old one cannot displace a newer.
"""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.records.statement import Statements
from peerd.wire import limits
from peerd.wire.fields import CID_DAG_PB, CID_RAW, Bytes32, Cid36

REPLICA, CACHE, GONE = 1, 2, 3


class Provider(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`root` is the 36-byte CID; its digest is the key. GONE withdraws."""

    format: Annotated[int, Meta(ge=1, le=1)]
    root: Cid36
    provider: Bytes32
    kind: Annotated[int, Meta(ge=REPLICA, le=GONE)]
    stamp: Annotated[int, Meta(ge=0, le=limits.STAMP_MAX)]
    life_s: Annotated[int, Meta(ge=1, le=limits.PROVIDER_LIFE_MAX_S)]

    @property
    def key(self) -> bytes:
        """What it stands under."""
        return self.root[4:]


def _check(body: Provider) -> None:
    if not body.root.startswith((CID_RAW, CID_DAG_PB)):
        raise WireError("cid")


providers = Statements(
    Provider,
    tag=b"peerd/1 provider\x00",
    signer_field="provider",
    max_bytes=limits.PROVIDER_MAX_BYTES,
    check=_check,
)
