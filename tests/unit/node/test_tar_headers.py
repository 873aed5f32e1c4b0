"""Headers of plain files, written and read without the library: as the library would, or left to it."""

import io
import random
import tarfile

import pytest

from cli import tarout
from peerd.errors import UsageError
from peerd.node import tarring
from peerd.node.strict_tar import read_members

PLAIN = [("a", 0), ("x" * 99, 8**11 - 1), ("b/c d", 4096), ("-", 7)]
NOT_PLAIN = [("x" * 100, 1), ("é", 1), ("a", 8**11), ("dir/" * 40 + "a", 1)]
NAMES = ["a", "b/c", "x" * 99, "y" * 100, "é", "d" * 90 + "/" + "f" * 90, "dir/" * 60 + "a", " ", "a\\b", "1"]


def of_library(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def read(stream: bytes) -> list[tuple[str, bytes | None, str]]:
    found: list[tuple[str, bytes | None, str]] = []

    def note(tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        data = tar.extractfile(member) if member.isreg() else None
        found.append((member.name, data.read() if data else None, member.linkname))

    read_members(io.BytesIO(stream), note)
    return found


@pytest.mark.parametrize(("name", "size"), PLAIN)
def test_the_header_of_a_plain_file_is_the_librarys(name: str, size: int) -> None:
    assert tarring._file_header(name, size) == of_library(name, size)
    assert tarout._file_header(name, size) == of_library(name, size)


@pytest.mark.parametrize(("name", "size"), NOT_PLAIN)
def test_the_header_of_any_other_is_left_to_the_library(name: str, size: int) -> None:
    assert tarring._file_header(name, size) is None
    assert tarout._file_header(name, size) is None


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_read_as_the_library_reads_them(form: int) -> None:
    stream = io.BytesIO()
    names = [name for name in NAMES if form != tarfile.USTAR_FORMAT or len(name) < 200]
    with tarfile.open(fileobj=stream, mode="w", format=form, encoding="utf-8") as tar:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = number * 300
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "b/c"
        tar.addfile(link)
    found = read(stream.getvalue())
    assert found == [*((name, bytes([at]) * (at * 300), "") for at, name in enumerate(names)), ("link", None, "b/c")]


def test_a_header_that_was_changed_is_no_file() -> None:
    chance = random.Random(7)
    whole = of_library("some/file", 5) + b"hello".ljust(512, b"\0") + bytes(1024)
    assert read(whole) == [("some/file", b"hello", "")]
    for at in range(512):
        changed = bytearray(whole)
        changed[at] ^= chance.randrange(1, 256)
        try:
            assert read(bytes(changed)) == [("some/file", b"hello", "")], at
        except UsageError:
            continue
        assert 148 <= at < 156, "only the sum itself can be spelt otherwise"
