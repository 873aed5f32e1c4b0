"""A few seconds of what `make fuzz` does for as long as it is let; the decoders by themselves are in tests/unit."""

import asyncio

import pytest
from loguru import logger

from peerd.wire import envelope
from tests.fuzz.api import fuzz_api
from tests.fuzz.datagrams import fuzz_datagrams
from tests.fuzz.judge import HELD_MAX_S, Judge

DATAGRAMS = 20_000
REQUESTS = 3_000
FOUND_WITHIN = 3_000

# Reasons that only bytes reach which passed all the cheap checks: sealed, decoded, signed.
DEEP = {"signature", "record_key", "record_value", "news_kind", "floor", "peer_list", "contact list", "not_canonical"}


@pytest.fixture(autouse=True)
def quiet() -> None:
    logger.remove()


def test_mutated_datagrams_neither_stop_nor_hold_a_peer(seed: int) -> None:
    with Judge() as judge:
        rejected = fuzz_datagrams(judge, seed=seed, count=DATAGRAMS)
    assert judge.faults == []
    assert judge.tries == DATAGRAMS
    assert rejected.keys() >= DEEP, "what is inside sealed datagrams was not reached"


def test_mutated_requests_are_answered_as_the_description_tells(seed: int) -> None:
    with Judge() as judge:
        answered = fuzz_api(judge, seed=seed, count=REQUESTS)
    assert judge.faults == []
    assert answered["200"] > REQUESTS / 20, "hardly any was in order"
    assert answered["400"] > REQUESTS / 20, "hardly any was wrong"
    assert answered["401"] < REQUESTS / 20, "on TCP hardly any had the token"


def test_an_exception_within_the_peer_is_found(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = envelope.parse_hello
    monkeypatch.setattr(envelope, "parse_hello", lambda data: parse(data) if data[-1] & 7 else data[5000])
    with Judge() as judge:
        fuzz_datagrams(judge, seed=seed, count=FOUND_WITHIN)
    assert any("IndexError" in fault for fault in judge.faults)


@pytest.mark.may_block
async def test_a_callback_that_holds_the_loop_is_found() -> None:
    loop = asyncio.get_running_loop()
    with Judge() as judge:
        loop.call_soon(sum, range(int(2e7)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert judge.held_s > HELD_MAX_S
    assert any("the loop was held" in fault for fault in judge.faults)


def test_memory_that_grows_is_found() -> None:
    judge = Judge()
    for number in range(8):
        judge.tries = number * 25_000
        judge.mark(resident=60_000_000 + number * 1_000_000)
    judge.check_growth()
    assert any("memory grows" in fault for fault in judge.faults)
