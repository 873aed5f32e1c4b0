import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.config import format_size, parse_size
from peerd.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 2**20),
        ("1B", 1),
        ("20GB", 20 * 10**9),
        ("20 gb", 20 * 10**9),
        ("20G", 20 * 10**9),
        ("512MiB", 512 * 2**20),
        ("512mi", 512 * 2**20),
        ("1.5TiB", 3 * 2**39),
        ("1.1GB", 1_100_000_000),
        ("2PB", 2 * 10**15),
    ],
)
def test_sizes_are_read_exactly(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-1", "+1", "1e9", "1,5GB", "20XB", "1iB", "1 G B", "٣", "0x10", "1" * 20, "9999PB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


@given(st.integers(0, 2**62))
def test_a_printed_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(("size", "text"), [(0, "0"), (1, "1"), (1500, "1500"), (2**30, "1GiB"), (5 * 10**9, "5GB")])
def test_a_size_is_printed_in_the_largest_whole_unit(size: int, text: str) -> None:
    assert format_size(size) == text
