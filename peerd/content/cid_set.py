"""Very many CIDs in little memory: 36 bytes each and about 12 to find them, where a set of bytes takes 130."""

from array import array

from peerd.content.cid import CID_BYTES

_PARTS = 256  # each grows by itself, so that no single addition takes long
_SLOTS_MIN = 8
_NO_SLOTS = array("I", bytes(4 * _SLOTS_MIN))


class CidSet:
    """A set of CIDs, as 36 bytes each; `packed` is all of them in the order in which they came."""

    __slots__ = ("_counts", "_parts", "packed")

    def __init__(self) -> None:
        self.packed = bytearray()
        # Each slot is the number of a CID in `packed`, from 1 on; 0 is a free one.
        self._parts = [_NO_SLOTS] * _PARTS
        self._counts = [0] * _PARTS

    def __len__(self) -> int:
        return len(self.packed) // CID_BYTES

    def __contains__(self, cid: bytes) -> bool:
        mixed = hash(cid)
        slots = self._parts[mixed % _PARTS]
        return slots[self._slot(slots, cid, mixed)] != 0

    def add(self, cid: bytes) -> bool:
        """Add a CID; return whether it is new."""
        mixed = hash(cid)  # keyed anew by each process: nobody can choose CIDs that meet in one place
        number = mixed % _PARTS
        slots = self._parts[number]
        at = self._slot(slots, cid, mixed)
        if slots[at]:
            return False
        if slots is _NO_SLOTS:
            slots = self._parts[number] = array("I", slots)
        self.packed += cid
        slots[at] = len(self)
        self._counts[number] += 1
        if 3 * self._counts[number] > 2 * len(slots):
            self._grow(number)
        return True

    def _slot(self, slots: "array[int]", cid: bytes, mixed: int) -> int:
        """Return where a CID is, or the free slot where it would be."""
        packed, mask = self.packed, len(slots) - 1
        at = mixed // _PARTS & mask
        while number := slots[at]:
            if packed[(number - 1) * CID_BYTES : number * CID_BYTES] == cid:
                break
            at = at + 1 & mask
        return at

    def _grow(self, number: int) -> None:
        old = self._parts[number]
        new = array("I", bytes(8 * len(old)))
        for one in old:
            if one:
                cid = bytes(self.packed[(one - 1) * CID_BYTES : one * CID_BYTES])
                new[self._slot(new, cid, hash(cid))] = one
        self._parts[number] = new
