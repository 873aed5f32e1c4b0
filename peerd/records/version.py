"""The order of a key's versions: sequence, then writer, then nonce (DESIGN.md 6). No clock decides.

The digest of the record itself only matters where a writer signed one version twice, and then all replicas still agree
which of the two they keep. What a register has chosen is newer than any plain version: a plain write by somebody who
could not know that the key is strong must not undo what was agreed.
"""

import hashlib
from typing import NamedTuple


class Version(NamedTuple):
    """Compares as replicas do; `digest` is SHA-256 over the record's body."""

    sequence: int
    writer: bytes
    nonce: bytes
    digest: bytes
    strong: bool = False

    def _order(self) -> tuple[bool, int, bytes, bytes, bytes]:
        return (self.strong, self.sequence, self.writer, self.nonce, self.digest)

    def __lt__(self, other: tuple[object, ...]) -> bool:
        if isinstance(other, Version) and other.strong == self.strong:
            return tuple.__lt__(self, other)
        return self._order() < Version(*other)._order()  # type: ignore[arg-type]

    def __le__(self, other: tuple[object, ...]) -> bool:
        if isinstance(other, Version) and other.strong == self.strong:
            return tuple.__le__(self, other)
        return self._order() <= Version(*other)._order()  # type: ignore[arg-type]

    def __gt__(self, other: tuple[object, ...]) -> bool:
        if isinstance(other, Version) and other.strong == self.strong:
            return tuple.__gt__(self, other)
        return self._order() > Version(*other)._order()  # type: ignore[arg-type]

    def __ge__(self, other: tuple[object, ...]) -> bool:
        if isinstance(other, Version) and other.strong == self.strong:
            return tuple.__ge__(self, other)
        return self._order() >= Version(*other)._order()  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        """Return what users see: opaque, for equality only."""
        return version_text(self.sequence, self.writer, self.nonce)


def version_text(sequence: int, writer: bytes, nonce: bytes) -> str:
    """Return a version as users see it."""
    return f"{sequence}-{hashlib.sha256(writer + nonce).hexdigest()[:20]}"
