"""What of the store is about plain digests: which root the file of a SHA-256 is, as this peer has seen for itself."""

from typing import NamedTuple, Protocol


class DigestRow(NamedTuple):
    """The SHA-256 of a whole file, and the 36-byte CID of its root."""

    digest: bytes
    root: bytes


class KeepsDigests(Protocol):
    """What of the store is about them."""

    async def digest_root(self, digest: bytes) -> bytes | None:
        """Return the root of the file of a SHA-256, None where it was not noted."""

    async def note_digest(self, digest: bytes, root: bytes) -> None:
        """Note a file's SHA-256 and root; at most DIGESTS_MAX, the first noted go."""

    async def digests(self, after: bytes | None, limit: int) -> list[DigestRow]:
        """Return what was noted, by digest, those after `after`."""
