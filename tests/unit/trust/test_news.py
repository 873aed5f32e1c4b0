"""What is told in passing, and how often (peerd.trust.news)."""

from random import Random

import pytest

from peerd.trust.news import ITEMS_MAX, TELLINGS_MORE, News


def test_an_item_is_told_log_n_times_and_then_no_more() -> None:
    news = News()
    news.add("a", b"item")
    told = [news.take(100, 8, 50) for _ in range(20)]
    assert sum(map(len, told)) == (50).bit_length() + TELLINGS_MORE
    assert len(news) == 0


def test_the_least_told_and_newest_go_first() -> None:
    news = News()
    news.add("old", b"1")
    news.take(100, 8, 50)
    news.add("new", b"2")
    news.add("newer", b"3")
    assert news.take(100, 3, 50) == [b"3", b"2", b"1"]


def test_a_newer_item_about_the_same_takes_the_place_of_the_older() -> None:
    news = News()
    news.add("a", b"1")
    news.add("a", b"2")
    assert news.take(100, 8, 50) == [b"2"]


def test_what_is_dropped_is_told_no_more() -> None:
    news = News()
    news.add("a", b"1")
    assert "a" in news
    news.drop("a")
    assert news.take(100, 8, 50) == []


def test_items_keep_to_the_room_and_number_of_a_datagram() -> None:
    news = News()
    for number in range(20):
        news.add(number, bytes(30))
    assert len(news.take(100, 8, 50)) == 3
    assert len(news.take(10_000, 8, 50)) == 8


def test_items_are_bounded_and_those_told_most_go() -> None:
    news = News()
    news.add("told", b"x")
    news.take(100, 8, 50)
    for number in range(ITEMS_MAX):
        news.add(number, b"y")
    assert len(news) == ITEMS_MAX
    assert "told" not in news


@pytest.mark.parametrize("count", [2, 5, 50, pytest.param(256, marks=pytest.mark.slow)])
def test_news_reaches_nearly_everybody(count: int, rng: Random) -> None:
    # Of many items: of five peers one misses one item in a hundred, so that a single one says nothing.
    items = 50
    assert sum(_reached(count, rng) for _ in range(items)) >= 0.97 * count * items


def _reached(count: int, rng: Random) -> int:
    news = [News() for _ in range(count)]
    heard = {0}
    news[0].add("a", b"item")
    while any(map(len, news)):
        for teller in range(count):
            for item in news[teller].take(100, 8, count):
                other = rng.choice([each for each in range(count) if each != teller])
                if other not in heard:
                    heard.add(other)
                    news[other].add("a", item)
    return len(heard)
