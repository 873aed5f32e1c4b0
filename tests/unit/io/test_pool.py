"""Memory that is used again, and never while somebody has a view of it."""

import asyncio

import pytest

from peerd.io import pool
from peerd.io.pool import PIECE_BYTES, PIECES_MAX, Pool


async def test_a_piece_is_used_again_when_nobody_has_a_view_of_it() -> None:
    made = Pool()
    view = made.take(300_000)
    view[:5] = b"first"
    part = view[:5]
    del view
    other = made.take(300_000)
    other[:5] = b"other"
    assert bytes(part) == b"first", "a part of it is still looked at"
    del part
    again = made.take(300_000)
    again[:5] = b"again"
    assert bytes(other[:5]) == b"other"
    assert len(made._pieces) == 2


async def test_no_more_than_so_many_are_kept_and_large_reads_have_their_own() -> None:
    made = Pool()
    views = [made.take(PIECE_BYTES) for _ in range(PIECES_MAX + 3)]
    assert len(made._pieces) == PIECES_MAX
    assert len({id(view.obj) for view in views}) == len(views)
    assert len(made.take(PIECE_BYTES + 1)) == PIECE_BYTES + 1


async def test_it_is_given_back_when_nothing_was_read_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEPT_S", 0.02)
    made = Pool()
    kept = made.take(10)
    kept[:3] = b"abc"
    while made._pieces:
        await asyncio.sleep(0.005)
    assert bytes(kept[:3]) == b"abc"
    made.take(10)
    assert len(made._pieces) == 1
    made._pieces.clear()
