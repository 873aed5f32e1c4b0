"""Taking content in: what becomes of every size, of every kind of tar, and of a put that ends in the middle."""

import asyncio
import io
import random
import tarfile
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from peerd.content.cid import Cid
from peerd.content.read import DirectoryReader, decode
from peerd.errors import PeerdError, UsageError
from peerd.ids import PeerId
from peerd.io.store.memory import MemoryStore
from peerd.io.system import SystemClock, ThreadOffload, system_entropy
from peerd.node.blocks import Intake, Room
from peerd.node.core import Core
from peerd.node.ingest import INLINE_MAX_BYTES, Ingested, ingest, keep_blocks, store_small

from .hosts import blocks_of, once

REAL_LOOP = True  # a tar is read in a thread
CHUNK = 2**20


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    offload = ThreadOffload()
    store = MemoryStore(2**28, system_entropy, SystemClock())
    room = Room(store, Intake(store, SystemClock()))
    environment, settings = SimpleNamespace(offload=offload), SimpleNamespace(digest_max_bytes=2**40)
    yield cast(
        Core,
        SimpleNamespace(store=store, room=room, environment=environment, settings=settings, peer=PeerId(bytes(32))),
    )
    offload.close()


async def file(core: Core, data: bytes, *, piece: int = 100_000) -> Ingested:
    return await ingest(core, once(*(data[at : at + piece] for at in range(0, len(data), piece))), "file")


SIZES = [
    0,
    1,
    INLINE_MAX_BYTES - 1,
    INLINE_MAX_BYTES,
    INLINE_MAX_BYTES + 1,
    65536,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    3 * CHUNK,
    3 * CHUNK + 7,
]


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_has_the_cid_of_its_bytes_however_they_come(core: Core, size: int) -> None:
    data = random.Random(size).randbytes(size)
    *_, root = blocks_of(data)
    for piece in (1000, 65536, 5 * CHUNK):
        ingested = await file(core, data, piece=piece)
        assert (ingested.node.cid, ingested.node.size) == (root, size)


@pytest.mark.parametrize("size", SIZES)
async def test_up_to_the_inline_limit_nothing_is_written_and_beyond_it_everything(core: Core, size: int) -> None:
    data = random.Random(size).randbytes(size)
    ingested = await file(core, data)
    blocks = blocks_of(data)
    small = size <= INLINE_MAX_BYTES
    assert ingested.small == (data if small else None)
    assert await core.store.has_blocks(list(blocks)) == [not small] * len(blocks)
    assert {ingested.cids[at : at + 36] for at in range(0, len(ingested.cids), 36)} == {
        cid.to_bytes() for cid in blocks
    }
    if small:
        await store_small(core, ingested)
        assert all(await core.store.has_blocks(list(blocks)))


async def test_empty_pieces_change_nothing(core: Core) -> None:
    ingested = await ingest(core, once(b"", b"hel", b"", b"lo", b""), "file")
    assert ingested.small == b"hello"


async def test_what_is_linked_stays_and_what_is_not_goes(core: Core) -> None:
    kept, left = random.Random(1).randbytes(3 * CHUNK), random.Random(2).randbytes(3 * CHUNK)
    await keep_blocks(core, await file(core, kept))
    await file(core, left)
    await core.store.drop_unlinked(0.0)
    assert all(await core.store.has_blocks(list(blocks_of(kept))))
    assert not any(await core.store.has_blocks(list(blocks_of(left))))


# Tars.


def tar_of(*members: tuple[str, Any], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of (name, bytes of a file | {"type": …})."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size = len(what)
                tar.addfile(info, io.BytesIO(what))
            else:
                for key, value in what.items():
                    setattr(info, key, value)
                tar.addfile(info)
    return out.getvalue()


async def directory(core: Core, data: bytes, *, piece: int = 10_000) -> Ingested:
    return await ingest(core, once(*(data[at : at + piece] for at in range(0, len(data), piece))), "tar")


async def tree(core: Core, root: Cid) -> dict[str, str | Cid]:
    """The paths below a directory: a CID of a file, `dir`, or `-> target`."""
    found: dict[str, str | Cid] = {}
    waiting = [("", root)]
    while waiting:
        above, cid = waiting.pop()
        reader = DirectoryReader(cid)
        while not reader.done:
            for wanted in reader.wants(8):
                for entry in reader.give(wanted, await _block(core, wanted)):
                    node = decode(entry.cid, await _block(core, entry.cid))
                    path = f"{above}{entry.name}"
                    if node.kind in ("directory", "hamt"):
                        found[path] = "dir"
                        waiting.append((path + "/", entry.cid))
                    elif node.kind == "symlink":
                        found[path] = f"-> {node.data.decode()}"
                    else:
                        found[path] = entry.cid
    return found


async def _block(core: Core, cid: Cid) -> bytes:
    data = await core.store.block(cid)
    assert data is not None
    return data


def cid_of(data: bytes) -> Cid:
    *_, root = blocks_of(data)
    return root


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
async def test_a_tar_becomes_the_directory_that_it_says(core: Core, form: int) -> None:
    big = random.Random(3).randbytes(2 * CHUNK + 5)
    data = tar_of(
        ("./", {"type": tarfile.DIRTYPE}),
        ("./a", b"hello"),
        ("sub/", {"type": tarfile.DIRTYPE}),
        ("sub/deep/b", b""),
        ("sub/big", big),
        ("empty", {"type": tarfile.DIRTYPE}),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "../../outside"}),
        ("ñandú", b"x"),
        form=form,
    )
    ingested = await directory(core, data)
    assert ingested.node.kind == "directory"
    assert await tree(core, ingested.node.cid) == {
        "a": cid_of(b"hello"),
        "sub": "dir",
        "sub/deep": "dir",
        "sub/deep/b": cid_of(b""),
        "sub/big": cid_of(big),
        "empty": "dir",
        "link": "-> ../../outside",
        "ñandú": cid_of(b"x"),
    }


async def test_the_order_of_a_tar_changes_nothing(core: Core) -> None:
    members = [(f"d{number % 3}/f{number}", bytes([number])) for number in range(30)]
    one = await directory(core, tar_of(*members))
    other = await directory(core, tar_of(*reversed(members)), piece=512)
    assert one.node.cid == other.node.cid


async def test_an_empty_tar_is_an_empty_directory(core: Core) -> None:
    ingested = await directory(core, tar_of())
    assert await tree(core, ingested.node.cid) == {}


@pytest.mark.slow
async def test_a_directory_of_thousands_is_sharded_and_whole(core: Core) -> None:
    members = [(f"a-rather-long-name-of-a-file-{number:06}", b"x") for number in range(6000)]
    ingested = await directory(core, tar_of(*members), piece=10**6)
    assert len(await tree(core, ingested.node.cid)) == 6000


BAD_MEMBERS = {
    "hard link": ("h", {"type": tarfile.LNKTYPE, "linkname": "a"}),
    "character device": ("c", {"type": tarfile.CHRTYPE}),
    "block device": ("b", {"type": tarfile.BLKTYPE}),
    "fifo": ("f", {"type": tarfile.FIFOTYPE}),
    "parent": ("../a", b"x"),
    "parent within": ("sub/../../a", b"x"),
    "absolute parent": ("/../a", b"x"),
    "dot within": ("sub/./a", b"x"),
    "empty part": ("sub//a", b"x"),
    "nul": ("a\x00b/c", b"x"),
    "long part": ("y" * 256, b"x"),
    "symlink at the root": ("", {"type": tarfile.SYMTYPE, "linkname": "x"}),
    "twice": ("a", b"another"),
    "below a file": ("a/b", b"x"),
    "below a link": ("link/b", b"x"),
}


@pytest.mark.parametrize("bad", BAD_MEMBERS)
async def test_what_no_directory_can_hold_is_refused_as_a_wrong_use(core: Core, bad: str) -> None:
    good = [("a", b"hello"), ("link", {"type": tarfile.SYMTYPE, "linkname": "a"})]
    if bad in ("nul", "empty part", "dot within"):
        data = tar_of(*good, BAD_MEMBERS[bad])
        try:
            ingested = await directory(core, data)
        except UsageError:
            return
        for path in await tree(core, ingested.node.cid):
            assert all(part not in ("", ".", "..") and "\x00" not in part for part in path.split("/"))
        return
    with pytest.raises(UsageError):
        await directory(core, tar_of(*good, BAD_MEMBERS[bad]))


WHOLE = tar_of(("a", b"hello" * 1000), ("b", b"world" * 1000))
FIRST_MEMBER_END = 512 + 5120


@pytest.mark.parametrize(
    "length", [1, 100, 511, 512, 513, 3000, FIRST_MEMBER_END, FIRST_MEMBER_END + 100, FIRST_MEMBER_END + 512]
)
async def test_a_tar_that_ends_in_the_middle_is_refused(core: Core, length: int) -> None:
    with pytest.raises(UsageError):
        await directory(core, WHOLE[:length])


def header(kind: bytes, size: int) -> bytes:
    """An extension header that says to have so many bytes."""
    made = tarfile.TarInfo("x")
    made.type, made.size = kind, size
    return made.tobuf(tarfile.GNU_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


HOSTILE_TARS = {
    "a name without end": [header(b"L", 2**33 - 1), b"A" * 12 * 2**20],
    "an attribute without end": [header(b"x", 12 * 2**20), b"A" * 12 * 2**20],
    "a name after a name": [(header(b"L", 20) + padded(b"a" * 20)) * 3000],
    "global headers without end": [(header(b"g", 20) + padded(b"20 foo=bbbbbbbbbbbb\n")) * 3000],
    "global headers between files": [
        (header(b"g", 20) + padded(b"20 foo=bbbbbbbbbbbb\n") + tar_of((f"f{n}", b""))[:512]) for n in range(100)
    ],
    "a length of 6,000 digits": [header(b"x", 6010), padded(b"9" * 6000 + b" path=b\n")],
    "a size of 5,000 digits": [header(b"x", 5013), padded(b"5013 size=" + b"9" * 5002 + b"\n")],
}


@pytest.fixture(params=HOSTILE_TARS)
def hostile_tar(request: pytest.FixtureRequest) -> list[bytes]:
    data = b"".join(HOSTILE_TARS[request.param])
    return [data[at : at + 65536] for at in range(0, len(data), 65536)]


async def test_a_hostile_tar_is_refused_before_it_is_in_memory(core: Core, hostile_tar: list[bytes]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UsageError):
            await ingest(core, once(*hostile_tar), "tar")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 8 * 2**20


@pytest.mark.parametrize("data", [b"", b"\x00", b"x" * 512, b"x" * 5000, random.Random(4).randbytes(20_000)])
async def test_what_is_no_tar_is_refused(core: Core, data: bytes) -> None:
    with pytest.raises(UsageError):
        await directory(core, data)


async def test_a_broken_body_ends_the_ingest_with_its_own_error(core: Core) -> None:
    class CutOffError(PeerdError):
        pass

    async def body() -> AsyncIterator[bytes]:
        yield WHOLE[:3000]
        raise CutOffError("cut off")

    for form in ("file", "tar"):
        with pytest.raises(CutOffError):
            await ingest(core, body(), form)


@pytest.mark.parametrize("form", ["file", "tar"])
async def test_a_cancelled_ingest_ends_and_leaves_no_thread_at_work(core: Core, form: str) -> None:
    begun = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield WHOLE[:3000]
        begun.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(ingest(core, body(), form))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # The pool's threads are free again: as many jobs at once as it has can run.
    async with asyncio.timeout(40):
        await asyncio.gather(*(core.environment.offload(int) for _ in range(8)))


def test_the_tar_that_is_cut_is_cut_where_we_think() -> None:
    assert Path("b").name.encode() in WHOLE[FIRST_MEMBER_END : FIRST_MEMBER_END + 512]
