"""Memory that is used again, and never while somebody has a view of it."""

import time

from peerd.io.pool import KEPT_S, PIECE_BYTES, PIECES_MAX, Pool


def test_a_piece_is_used_again_when_nobody_has_a_view_of_it() -> None:
    made = Pool(time.monotonic)
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


def test_no_more_than_so_many_are_kept_and_large_reads_have_their_own() -> None:
    made = Pool(time.monotonic)
    views = [made.take(PIECE_BYTES) for _ in range(PIECES_MAX + 3)]
    assert len(made._pieces) == PIECES_MAX
    assert len({id(view.obj) for view in views}) == len(views)
    assert len(made.take(PIECE_BYTES + 1)) == PIECE_BYTES + 1


def test_it_is_given_back_when_nothing_was_read_for_a_while() -> None:
    now = [100.0]
    made = Pool(lambda: now[0])
    kept = made.take(10)
    kept[:3] = b"abc"
    now[0] += KEPT_S / 2
    assert made.trim() == KEPT_S / 2
    now[0] += KEPT_S
    assert made.trim() is None
    assert made._pieces == []
    assert bytes(kept[:3]) == b"abc", "what is looked at stays"
