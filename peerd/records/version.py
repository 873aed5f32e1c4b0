"""The order of a key's versions: sequence, then writer, then nonce (DESIGN.md 6). No clock decides.

The last part is the digest of the record itself: it only matters where a writer signed one version twice, and then all
replicas still agree which of the two they keep.
"""

import hashlib
from typing import NamedTuple


class Version(NamedTuple):
    """Compares as replicas do; `digest` is SHA-256 over the record's body."""

    sequence: int
    writer: bytes
    nonce: bytes
    digest: bytes

    @property
    def text(self) -> str:
        """Return what users see: opaque, for equality only."""
        return version_text(self.sequence, self.writer, self.nonce)


def version_text(sequence: int, writer: bytes, nonce: bytes) -> str:
    """Return a version as users see it."""
    return f"{sequence}-{hashlib.sha256(writer + nonce).hexdigest()[:20]}"
