"""An alias: its signer says that a file of some plain SHA-256 is the content of some root, for a while.

A hint, never believed: who reads the file by its digest hashes it. It stands among the provider records under the
digest; a file that is one raw block needs none, for its digest is in its CID.
"""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.records.provider import REPLICA, Provider, providers
from peerd.records.statement import Statements, Verifier
from peerd.wire import limits
from peerd.wire.fields import CID_DAG_PB, Bytes32, Cid36


class Alias(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`digest` is the SHA-256 of the whole file, and the key; `root` the 36-byte CID of its topmost node."""

    format: Annotated[int, Meta(ge=1, le=1)]
    digest: Bytes32
    root: Cid36
    provider: Bytes32
    stamp: Annotated[int, Meta(ge=0, le=limits.STAMP_MAX)]
    life_s: Annotated[int, Meta(ge=1, le=limits.PROVIDER_LIFE_MAX_S)]

    @property
    def kind(self) -> int:
        """As of a provider record, among which it stands."""
        return REPLICA

    @property
    def key(self) -> bytes:
        """What it stands under."""
        return self.digest


def _check(body: Alias) -> None:
    if not body.root.startswith(CID_DAG_PB):
        raise WireError("cid")


aliases = Statements(
    Alias,
    tag=b"peerd/1 alias\x00",
    signer_field="provider",
    max_bytes=limits.PROVIDER_MAX_BYTES,
    check=_check,
)


def is_sound(raw: bytes) -> bool:
    """Return whether bytes from our own disk can still be read as a provider record or an alias."""
    return providers.is_whole(raw) or aliases.is_whole(raw)


def read_announcement(raw: bytes) -> Provider | Alias:
    """Return a provider record or an alias, not verified; raises WireError for what is neither."""
    return providers.read(raw) if providers.is_whole(raw) else aliases.read(raw)


def verify_announcement(raw: bytes, verifier: Verifier) -> Provider | Alias:
    """Return a provider record or an alias from outside; raises WireError as `Statements.verify` does."""
    return aliases.verify(raw, verifier) if aliases.is_whole(raw) else providers.verify(raw, verifier)
