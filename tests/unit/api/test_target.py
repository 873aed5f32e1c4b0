"""Percent-encoding is undone exactly once, for any text."""

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.api.routes import ROUTES, Table
from peerd.api.target import decode, decode_query, split_target
from peerd.errors import UsageError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TABLE = Table(ROUTES)


@given(TEXT)
def test_any_text_survives_the_path(text: str) -> None:
    assert decode(quote(text, safe=""), "it") == text


@given(TEXT.filter(bool))
def test_any_key_finds_its_own_route_and_no_sub_resource(key: str) -> None:
    path, query = split_target("/v1/kv/" + quote(key, safe=""))

    for suffix in ("", "/stat", "/history"):
        route, argument = TABLE.find("GET", path + suffix)
        assert (route.path, argument, query) == ("/v1/kv/{key}" + suffix, key, "")


@given(st.lists(st.tuples(TEXT, TEXT)))
def test_any_pairs_survive_the_query(pairs: list[tuple[str, str]]) -> None:
    assert decode_query(urlencode(pairs)) == pairs


@pytest.mark.slow
@given(st.text())
def test_any_target_is_a_path_or_a_usage_error(raw: str) -> None:
    try:
        path, query = split_target(raw)
        decode_query(query)
        TABLE.find("GET", path)
    except UsageError:
        pass


@pytest.mark.parametrize("raw", ["*", "", "v1/id", "http://x/v1/id", "/v1/id#x"])
def test_what_is_no_path_is_refused(raw: str) -> None:
    with pytest.raises(UsageError):
        split_target(raw)
