"""The order of a key's versions: sequence, then writer, then nonce (DESIGN.md 6). No clock decides.

The last part is the digest of the record itself: it only matters where a writer signed one version twice, and then all
replicas still agree which of the two they keep.
"""

from typing import NamedTuple


class Version(NamedTuple):
    """Compares as replicas do; `digest` is SHA-256 over the record's body."""

    sequence: int
    writer: bytes
    nonce: bytes
    digest: bytes

    @property
    def text(self) -> str:
        """Return what users see: opaque, equal exactly where the records are."""
        return f"{self.sequence}-{self.digest[:10].hex()}"
