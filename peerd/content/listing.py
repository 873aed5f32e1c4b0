"""The entries of one directory, packed: a directory may have very many, and a walk holds one listing for each level."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from peerd.content.cid import CID_BYTES, Cid

_TSIZE_BYTES = 8
_TAIL_BYTES = 1 + CID_BYTES + _TSIZE_BYTES
# What the interpreter adds for each: the head of a bytes object and a place in a list.
_ENTRY_BYTES = 33 + 8


class Entry(Struct, frozen=True, gc=False):
    """A name in a directory and the root it stands for; `tsize` is the size of all its blocks, as the writer says."""

    name: str
    cid: Cid
    tsize: int


def packed_bytes(name: str) -> int:
    """Return the memory that an entry of that name takes in a listing."""
    return len(name.encode()) + _TAIL_BYTES + _ENTRY_BYTES


class Listing:
    """Entries, whose names were checked, sorted by name once all are there; what is taken is let go."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self.size_bytes = 0

    def add(self, entries: Iterable[Entry]) -> None:
        """Add some entries."""
        for entry in entries:
            # A name has no NUL, so that these bytes are ordered as the names are.
            tail = entry.cid.to_bytes() + entry.tsize.to_bytes(_TSIZE_BYTES, "big")
            packed = entry.name.encode() + b"\0" + tail
            self._packed.append(packed)
            self.size_bytes += len(packed) + _ENTRY_BYTES

    def sort(self) -> None:
        """Sort by name, by code points."""
        self._packed.sort(reverse=True)

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in order; they stay."""
        return map(_unpack, reversed(self._packed))

    def ahead(self, count: int) -> Iterator[Entry]:
        """Yield the next `count` entries, which stay."""
        return map(_unpack, reversed(self._packed[-count:]))

    def take(self) -> Entry:
        """Return the next entry and let it go; there is one."""
        packed = self._packed.pop()
        self.size_bytes -= len(packed) + _ENTRY_BYTES
        return _unpack(packed)


def _unpack(packed: bytes) -> Entry:
    name, tail = packed[:-_TAIL_BYTES], packed[1 - _TAIL_BYTES :]
    return Entry(name.decode(), Cid.from_bytes(tail[:CID_BYTES]), int.from_bytes(tail[CID_BYTES:], "big"))
