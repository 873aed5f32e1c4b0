"""A signed statement: a canonical body and the Ed25519 signature of the peer that the body names, in 64 last bytes.

Everything that others must be able to rely on without us is one (DESIGN.md 5). The bytes that travelled are what is
signed, kept and passed on.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from peerd.errors import WireError
from peerd.identity import SIGNATURE_BYTES, Identity
from peerd.ids import PeerId
from peerd.wire.codec import Codec, encode

T = TypeVar("T")

# Digests of statements that were found good: the same record comes from eight holders and again with each read.
VERIFIED_MAX = 4096


class Statements(Generic[T]):
    """Makes and reads statements of one kind. `signer_field` names the field of the body that holds the signer.

    `check` raises WireError for a body whose fields are sound one by one and not together.
    """

    def __init__(
        self,
        kind: type[T],
        *,
        tag: bytes,
        signer_field: str,
        max_bytes: int,
        check: Callable[[T], None] = lambda body: None,
    ) -> None:
        self._codec: Codec[T] = Codec(kind)
        self._tag = tag
        self._signer_field = signer_field
        self._max_bytes = max_bytes
        self._check = check

    def sign(self, identity: Identity, body: T) -> bytes:
        """Return the statement's bytes."""
        assert getattr(body, self._signer_field) == identity.peer
        raw = encode(body)
        return raw + identity.sign(self._tag, raw)

    def read(self, raw: bytes) -> T:
        """Return the body, not verified; for bytes that were verified when they were stored. Raises WireError."""
        if not SIGNATURE_BYTES < len(raw) <= self._max_bytes:
            raise WireError("statement_size")
        return self._codec.decode_canonical(raw[:-SIGNATURE_BYTES])

    def is_whole(self, raw: bytes) -> bool:
        """Return whether bytes from our own disk can still be read."""
        try:
            self.read(raw)
        except WireError:
            return False
        return True

    def glance(self, raw: bytes) -> T:
        """Return the body of bytes that were read before, in this process; nothing is checked again."""
        return self._codec.decode(raw[:-SIGNATURE_BYTES])

    def verify(self, raw: bytes, verifier: "Verifier") -> T:
        """Return the body of a statement from outside.

        Raises WireError: `statement_size`, `malformed`, `not_canonical`, what `check` raises, `signature`.
        """
        body = self.read(raw)
        self._check(body)
        if not verifier.check(PeerId(getattr(body, self._signer_field)), self._tag, raw):
            raise WireError("signature")
        return body


class Verifier:
    """Checks signatures of one network, and remembers the newest that were good (95 µs each, else 1)."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def check(self, signer: PeerId, tag: bytes, raw: bytes) -> bool:
        """Return whether the last 64 bytes of `raw` are the signer's signature of the rest."""
        digest = hashlib.sha256(tag + signer + raw).digest()
        if digest in self._good:
            self._good.move_to_end(digest)
            return True
        if not self._identity.verify(signer, tag, raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:]):
            return False
        self._good[digest] = None
        if len(self._good) > VERIFIED_MAX:
            self._good.popitem(last=False)
        return True
