import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from peerd.content.cid import DAG_PB, RAW, Cid
from peerd.content.limits import SIZE_MAX
from peerd.content.listing import Entry, Listing, packed_bytes

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20)
entries = st.builds(
    Entry,
    names,
    st.builds(Cid, st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32)),
    st.integers(0, SIZE_MAX),
)


@given(st.lists(entries, unique_by=lambda entry: entry.name, max_size=40), st.integers(1, 50))
def test_entries_come_back_sorted_and_are_let_go_one_by_one(some: list[Entry], count: int) -> None:
    listing = Listing()
    listing.add(some)
    listing.sort()
    expected = sorted(some, key=lambda entry: entry.name)
    assert list(listing) == expected
    assert list(listing.ahead(count)) == expected[:count]
    assert listing.size_bytes == sum(packed_bytes(entry.name) for entry in some)
    assert [listing.take() for _ in some] == expected
    assert (len(listing), listing.size_bytes) == (0, 0)


def test_what_a_listing_takes_is_what_it_says() -> None:
    some = [Entry(f"{number:016}", Cid(RAW, bytes(32)), number) for number in range(20_000)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        listing = Listing()
        listing.add(some)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.9 < used / listing.size_bytes < 1.1
