import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.content.cid_set import CidSet

cids = st.binary(min_size=36, max_size=36)


@given(st.lists(cids, max_size=60), st.lists(cids, max_size=5))
def test_it_is_a_set(added: list[bytes], others: list[bytes]) -> None:
    found = CidSet()
    known: dict[bytes, None] = {}
    for cid in added + added:
        assert found.add(cid) == (cid not in known)
        known[cid] = None
    assert len(found) == len(known)
    assert found.packed == b"".join(known)
    for cid in added + others:
        assert (cid in found) == (cid in known)


@pytest.mark.slow
def test_a_hundred_thousand_take_little_memory_and_none_takes_long() -> None:
    rng = random.Random(1)
    some = [rng.randbytes(36) for _ in range(100_000)]
    tracemalloc.start()
    try:
        found = CidSet()
        before = tracemalloc.get_traced_memory()[0]
        for cid in some:
            found.add(cid)
        used = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert used < 60 * len(some)
    assert all(cid in found for cid in some)
    assert rng.randbytes(36) not in found
