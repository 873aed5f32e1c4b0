"""What puts and gets cost, in round trips and requests: counted on a virtual clock, where no busy machine hides it."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from peerd.ids import PeerId
from peerd.node.core import RECORD_HOLDERS
from peerd.sim.faults import Faults
from peerd.sim.host import Host
from peerd.trust.quorum import majority
from peerd.wire.messages import FindValue, Request, Store
from tests.unit.node.hosts import Answer, World, answering, by_distance, get, joined, key_of, put

ROUND_TRIP_S = 0.02
MORE_S = 0.0005
"""What a virtual clock adds: the order of events at one instant."""


@pytest.fixture
async def far(world: World) -> list[Host]:
    """Fourteen hosts, each as far from every other."""
    world.network.faults = Faults(latency_ms=1000 * ROUND_TRIP_S / 2, spread=0, jitter_ms=0)
    return await joined(world, 14)


def counting(hosts: Sequence[Host]) -> Counter[str]:
    """The requests about records that these get from now on."""
    found: Counter[str] = Counter()

    def count(host: Host) -> None:
        def answer(_peer: PeerId, request: Request, honest: object) -> Answer:
            if isinstance(request, FindValue | Store):
                found[type(request).__name__] += 1
            assert callable(honest)
            return honest()  # type: ignore[no-any-return]

        answering(host, answer)

    for host in hosts:
        count(host)
    return found


async def test_a_put_asks_the_holders_and_stores_on_them_and_nothing_else(far: list[Host]) -> None:
    nearest = by_distance(far, key_of(far[0], "a"))
    requests, loop = counting(far), asyncio.get_running_loop()
    for writer, holders in ((nearest[-1], RECORD_HOLDERS), (nearest[0], RECORD_HOLDERS - 1)):
        for value in (b"first", b"second"):
            requests.clear()
            began = loop.time()
            await put(writer, "a", value)
            assert loop.time() - began == pytest.approx(2 * ROUND_TRIP_S, abs=MORE_S)
            assert requests == {"FindValue": holders, "Store": holders}
            await asyncio.sleep(1)
            assert sum(requests.values()) == 2 * holders


async def test_a_get_is_one_round_trip_to_one_holder_or_to_a_majority(far: list[Host]) -> None:
    nearest = by_distance(far, key_of(far[0], "a"))
    await put(nearest[-1], "a", b"value")
    requests, loop = counting(far), asyncio.get_running_loop()
    for consistency, asked in (("one", 1), ("quorum", majority(RECORD_HOLDERS))):
        requests.clear()
        began = loop.time()
        assert await get(nearest[-2], "a", consistency=consistency) == b"value"
        assert loop.time() - began == pytest.approx(ROUND_TRIP_S, abs=MORE_S)
        await asyncio.sleep(1)
        assert requests == {"FindValue": asked}


async def test_who_holds_a_key_answers_for_it_without_asking_unless_a_majority_is_wanted(far: list[Host]) -> None:
    nearest = by_distance(far, key_of(far[0], "a"))
    await put(nearest[-1], "a", b"value")
    requests = counting(far)
    assert await get(nearest[0], "a", consistency="one") == b"value"
    assert not requests
    assert await get(nearest[0], "a") == b"value"
    await asyncio.sleep(1)
    assert requests == {"FindValue": majority(RECORD_HOLDERS) - 1}
