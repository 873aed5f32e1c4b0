"""Tar streams of others, read by the library with bounds that it has not.

`tarfile` takes extension headers of any size whole into memory, goes a level deeper for each that follows another,
remembers all members, and takes a stream that breaks off between two for whole. Not here: what becomes of the members
(ingest).
"""

import tarfile
from collections.abc import Callable
from typing import IO, Any, Self, cast

from peerd.errors import UsageError

EXTENSION_BYTES_MAX = 256 * 1024
"""A long name, or the extended attributes of a file."""

BLOCKSIZE = tarfile.BLOCKSIZE

EXTENSIONS_MAX = 16
"""In a row, for one member: those who write tars need three."""

GLOBAL_EXTENSIONS_MAX = 64
"""In all: what each of them says is remembered to the end."""

_EXTENSIONS = frozenset(
    {
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.XGLTYPE,
    }
)


class _Tar(tarfile.TarFile):
    in_a_row = 0
    global_count = 0


class _Member(tarfile.TarInfo):
    """A member; its end mark alone is the end: else a tar that breaks off would look whole."""

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Self:
        try:
            header = tarfile.fileobj.read(BLOCKSIZE)
            member = _plain_file(header)
            if member is None:
                member = cls.frombuf(header, tarfile.encoding, tarfile.errors)
            member.offset = tarfile.fileobj.tell() - BLOCKSIZE
            return cast("Self", member._proc_member(tarfile))
        except (_HEADER_ERROR, ValueError, OverflowError) as error:
            if type(error).__name__ == "EOFHeaderError":
                raise
            raise UsageError(f"not a whole tar stream: {error}") from error

    def _proc_member(self, tar: _Tar) -> tarfile.TarInfo:
        """Refuse what is too large or too deep before it is read; the library calls this with each header."""
        if self.type not in _EXTENSIONS:
            tar.in_a_row = 0
        else:
            tar.in_a_row += 1
            tar.global_count += self.type == tarfile.XGLTYPE
            too_large = self.size > EXTENSION_BYTES_MAX or tar.global_count > GLOBAL_EXTENSIONS_MAX
            if too_large or tar.in_a_row > EXTENSIONS_MAX:
                raise UsageError("a tar stream with extension headers that are too large or too many")
        found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return found


def _plain_file(header: bytes) -> "_Member | None":
    """Return the member of a header that is a file's and has nothing odd about it; None of all others.

    Nearly all are: the library takes longer for each than what it holds takes to be hashed.
    """
    sum_, size = header[148:156].strip(b" \0"), header[124:136].strip(b" \0")
    if len(header) != BLOCKSIZE or header[156:157] != tarfile.REGTYPE or header[257:262] != b"ustar":
        return None
    if not (_OCTAL.issuperset(sum_) and sum_ and _OCTAL.issuperset(size) and size):
        return None
    if int(sum_, 8) != sum(header) - sum(header[148:156]) + 8 * 0x20:
        return None
    prefix, name = _text(header[345:500]), _text(header[:100])
    if header[257:265] != tarfile.POSIX_MAGIC and prefix:
        return None
    member = _Member(f"{prefix}/{name}" if prefix else name)
    member.size = int(size, 8)
    return member


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


_OCTAL = frozenset(b"01234567")
_HEADER_ERROR: type[Exception] = tarfile.HeaderError


def read_members(source: IO[bytes], each: Callable[[tarfile.TarFile, tarfile.TarInfo], None]) -> None:
    """Call `each` with every member and the tar whose `extractfile` reads it then; raises UsageError."""
    try:
        with _Tar.open(fileobj=source, mode="r|", encoding="utf-8", tarinfo=_Member) as tar:
            for member in tar:
                each(tar, member)
                tar.members.clear()  # type: ignore[attr-defined]
    except tarfile.TarError as error:
        raise UsageError(f"not a whole tar stream: {error}") from error
