"""A process that changes a store and says what was acknowledged, for tests that kill it or fail its disk.

    python -m tests.live.store_writer DIRECTORY FIRST

puts record, blocks and a linked root number FIRST, FIRST + 1, … and prints each number when all of it is acknowledged;
an error is printed as its class and ends nothing.
"""

import asyncio
import hashlib
import os
import sys
import time
from pathlib import Path

from peerd.content.block import Block, raw_block
from peerd.errors import LocalError
from peerd.ids import Key
from peerd.io.store.interface import RecordRow, Root
from peerd.io.store.sqlite import SqliteStore

QUOTA_BYTES = 1 << 30
LARGE_BYTES = 40_000
SMALL_BYTES = 1_000
AT_ONCE = 4


class SystemClock:
    """The machine's time."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def boot(self) -> tuple[str, float]:
        return "", time.monotonic()


def key(number: int) -> Key:
    return Key(hashlib.sha256(b"key %d" % number).digest())


def record(number: int) -> bytes:
    return b"record %d " % number + bytes(200)


def blocks(number: int) -> list[Block]:
    seed = hashlib.sha256(b"block %d" % number).digest()
    return [raw_block((seed * (size // 32 + 1))[:size]) for size in (LARGE_BYTES, SMALL_BYTES)]


def root(number: int) -> Root:
    cid = blocks(number)[0].cid.to_bytes()
    return Root(cid, "file", LARGE_BYTES, LARGE_BYTES, "own", f"{number}", 3, True, 0.0, 0.0)


async def put(store: SqliteStore, number: int) -> None:
    """Put everything of one number."""
    row = RecordRow(f"{number}", None, 1, b"w", b"n", None, 3, False, None, 0.0)
    made = blocks(number)
    await store.put_blocks(made)
    await store.link_blocks(root(number).cid, [one.cid.to_bytes() for one in made])
    await asyncio.gather(store.put_root(root(number)), store.put_record(key(number), record(number), row=row))


async def _put_on(store: SqliteStore, first: int) -> None:
    number = first
    while True:
        try:
            await put(store, number)
            print(number, flush=True)
        except LocalError as error:
            print(type(error).__name__, flush=True)
            await asyncio.sleep(0.01)
        if number % 7 == 0:
            await store.release_root(root(number).cid)
            print(-number, flush=True)
        number += AT_ONCE


async def main() -> None:
    """Put until killed."""
    store = await SqliteStore.open(Path(sys.argv[1]), QUOTA_BYTES, os.urandom, SystemClock())
    print("open", flush=True)
    await asyncio.gather(*(_put_on(store, int(sys.argv[2]) + lane) for lane in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main())
