"""Every reader over everything in tests/hostile/dags.py: values or an integrity error, in bounded time and memory."""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from peerd.content.limits import NODES_AHEAD_MAX
from peerd.content.read import DagWalk, DirectoryReader, FileReader, Listing
from peerd.errors import IntegrityError
from tests.hostile.dags import DAGS, HUGE, Dag

CPU_LIMIT_S = 10.0
MEMORY_LIMIT_BYTES = 64 * 2**20
READ_BYTES = 64 * 2**20
WALKED_BLOCKS = 40_000


def listed(dag: Dag) -> Listing:
    reader, listing = DirectoryReader(dag.root), Listing()
    while not reader.done:
        for cid in reader.wants(1):
            listing.add(reader.give(cid, dag.blocks[cid.to_bytes()]))
    listing.sort()
    return listing


def read(dag: Dag) -> None:
    reader, size = FileReader(dag.root), 0
    while not reader.done and size < READ_BYTES:
        for cid in reader.wants(12):
            size += sum(len(piece) for piece in reader.give(cid, dag.blocks[cid.to_bytes()]))


def walked(dag: Dag) -> None:
    walk = DagWalk(dag.root)
    while not walk.done and walk.seen_count < WALKED_BLOCKS:
        for cid in walk.fitting(256, 12 * 2**20)[: NODES_AHEAD_MAX + 1]:
            walk.give(cid, dag.blocks[cid.to_bytes()])


READERS: list[Callable[[Dag], object]] = [listed, read, walked]

# What one reader takes although another refuses it: what it looks at is sound.
DEEPER = {"depth_directories", "repeats", "link to nothing", "link with NUL", "link of 5,000 bytes"}
SOUND = {
    listed: DEEPER | {"casefold", "nasty", "wrong_tsize"},
    read: {"duplicate_links"},
    walked: {*DAGS, *HUGE}
    - {"size 2^60", "size 2^64", "million_entries_flat", "depth_directories", "depth_files", "depth_hamt"}
    - {"wrong_tsize", "cut", "no_unixfs", "endless_number", "sizes_without_links", "entry of 2^60"},
}


@contextmanager
def bounded() -> Iterator[None]:
    started = time.process_time()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        used = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert used < MEMORY_LIMIT_BYTES, f"{used / 2**20:.0f} MiB"
    assert time.process_time() - started < CPU_LIMIT_S


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "wide")) for name in DAGS])
def test_hostile_content_is_refused_in_bounded_time_and_memory(reader: Callable[[Dag], object], name: str) -> None:
    dag = DAGS[name]()
    with bounded():
        if name in SOUND[reader]:
            reader(dag)
        else:
            with pytest.raises(IntegrityError):
                reader(dag)


@pytest.mark.slow
def test_a_directory_of_too_many_entries_to_be_held_is_refused_in_bounded_time() -> None:
    dag = HUGE["million_entries_hamt"]()
    started = time.process_time()
    with pytest.raises(IntegrityError, match="too many"):
        listed(dag)
    assert time.process_time() - started < CPU_LIMIT_S
