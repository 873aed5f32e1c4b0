"""A PAX tar stream as it arrives: entries one after the other, in constant memory, or an integrity failure.

Strict on purpose, and not `tarfile`: that takes a damaged header in the middle for the end of the archive, reads
headers of any size into memory, and knows hard links, sparse files and devices, which a stored directory never has.
Source: POSIX pax interchange format. Not here: names as paths, and writing anything (extract).
"""

from __future__ import annotations

from .failure import Failure
from .text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_BYTES = 512
PAX_MAX_BYTES = 512 * 1024
"""Extended header of one entry: a path of the greatest depth and the target of a link."""

PADDING_MAX_BYTES = 1024 * 1024
"""Zeros after the end; writers pad to a record."""

SIZE_DIGITS_MAX = 18

ERROR_RECORD = "PEERD.error"
"""Of an extended header: why the daemon breaks off here."""

_ZERO = bytes(BLOCK_BYTES)
_KINDS = {b"0": "file", b"\0": "file", b"5": "directory", b"2": "symlink"}


class TarEntry:
    """One entry: `file`, `directory` or `symlink`; `size` bytes of a file follow it in the stream."""

    __slots__ = ("kind", "link", "path", "size")

    def __init__(self, kind: str, path: str, link: str, size: int) -> None:
        self.kind = kind
        self.path = path
        self.link = link
        self.size = size


class TarReader:
    """Reads entries from pieces of bytes."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._pieces = pieces
        self._view = memoryview(b"")

    def next(self) -> TarEntry | None:
        """Return the next entry, None at the end; what `data` did not take of the last one must be nothing.

        Raises Failure (integrity) where the stream is not what may arrive.
        """
        extended: dict[str, str] = {}
        header = self._exactly(BLOCK_BYTES)
        if header == _ZERO:
            self._end()
            return None
        if header[156:157] == b"x":
            extended = _pax(self._padded(_size(_checked(header), {}), PAX_MAX_BYTES))
            header = self._exactly(BLOCK_BYTES)
        if ERROR_RECORD in extended:
            raise Failure("integrity", safe(extended[ERROR_RECORD]), "nothing was written")
        _checked(header)
        kind = _KINDS.get(header[156:157])
        if kind is None:
            raise damaged(f"an entry of the type {header[156:157]!r}")
        path = extended.get("path") or _path(header)
        size = _size(header, extended)
        if kind != "file" and size:
            raise damaged("a directory or link with data")
        return TarEntry(kind, path, extended.get("linkpath") or _text(header[157:257]), size)

    def data(self, size: int) -> Iterator[memoryview]:
        """Yield the `size` bytes of a file's data, and take the padding after them."""
        left = size
        while left:
            piece = self._some(left)
            left -= len(piece)
            yield piece
        if any(self._exactly(-size % BLOCK_BYTES)):
            raise damaged("padding that is not empty")

    def _end(self) -> None:
        """Take the rest: the second empty block and padding, up to the end of what is sent."""
        left = PADDING_MAX_BYTES
        if self._exactly(BLOCK_BYTES) != _ZERO:
            raise damaged("an end that is none")
        while self._view or self._fill():
            left -= len(self._view)
            if left < 0 or any(self._view):
                raise damaged("bytes after the end")
            self._view = memoryview(b"")

    def _padded(self, size: int, limit: int) -> bytes:
        if size > limit:
            raise damaged("a header that is too long")
        return self._exactly(size + -size % BLOCK_BYTES)[:size]

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            piece = self._some(count)
            count -= len(piece)
            parts.append(bytes(piece))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _some(self, limit: int) -> memoryview:
        if not self._view and not self._fill():
            raise damaged("an end before its end")
        piece, self._view = self._view[:limit], self._view[limit:]
        return piece

    def _fill(self) -> bool:
        for piece in self._pieces:
            if piece:
                self._view = piece
                return True
        return False


def damaged(what: str) -> Failure:
    """Return the failure for a directory that did not arrive as one can be stored."""
    return Failure(
        "integrity", f"the directory that arrived is not a possible one: it has {what}", "nothing was written"
    )


def _checked(header: bytes) -> bytes:
    told = header[148:156].strip(b" \0")
    if header[257:262] != b"ustar" or sum(header) - sum(header[148:156]) + 8 * 0x20 != _octal(told):
        raise damaged("a damaged header")
    return header


def _size(header: bytes, extended: dict[str, str]) -> int:
    told = extended.get("size")
    if told is None:
        return _octal(header[124:136].strip(b" \0"))
    if not (told.isascii() and told.isdigit() and len(told) <= SIZE_DIGITS_MAX):
        raise damaged("a size that is no number")
    return int(told)


def _octal(digits: bytes) -> int:
    if not digits:
        return 0
    if any(digit not in b"01234567" for digit in digits):
        raise damaged("a number that is none")
    return int(digits, 8)


def _path(header: bytes) -> str:
    prefix, name = _text(header[345:500]), _text(header[:100])
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    try:
        return field.partition(b"\0")[0].decode("utf-8")
    except UnicodeDecodeError:
        raise damaged("a name that is not UTF-8") from None


def _pax(data: bytes) -> dict[str, str]:
    """Return the records of an extended header, each `LENGTH NAME=VALUE` and a line feed."""
    records: dict[str, str] = {}
    while data:
        digits = data[:8].partition(b" ")[0]
        if not digits.isdigit() or len(digits) > 7:
            raise damaged("a damaged extended header")
        length = int(digits)
        record, data = data[len(digits) + 1 : length], data[length:]
        name, equals, value = record[:-1].partition(b"=")
        if len(record) != length - len(digits) - 1 or not record.endswith(b"\n") or not equals:
            raise damaged("a damaged extended header")
        try:
            records[name.decode("utf-8")] = value.decode("utf-8")
        except UnicodeDecodeError:
            raise damaged("a name that is not UTF-8") from None
    return records
