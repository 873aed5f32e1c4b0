"""The node's tests run in a simulated world, on its virtual clock: nothing is waited for, no socket is opened."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from loguru import logger

from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from tests.unit.node.wires import End, Wire

if TYPE_CHECKING:
    from loguru import Message


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Virtual time, but for modules that need threads and say so."""
    if getattr(item.getparent(pytest.Module).obj, "REAL_LOOP", False):  # type: ignore[union-attr]
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualLoop}


@pytest.fixture(scope="module")
def faults() -> Iterator[list[str]]:
    """What is logged as an error while the tests of a module run; for all of them, as a sink takes long to make."""
    faults: list[str] = []

    def take(message: "Message") -> None:
        exception = message.record["exception"]
        faults.append(f"{message.record['message']}: {exception.value if exception else message.record['extra']!r}")

    logger.remove()
    sink = logger.add(take, level="ERROR", format="{message}", backtrace=False, diagnose=False)
    yield faults
    logger.remove(sink)


@pytest.fixture(autouse=True)
def faults_logged(faults: list[str]) -> Iterator[list[str]]:
    """Fail a test in which a peer logged a fault of its own; a test that means one clears the list."""
    faults.clear()
    yield faults
    if faults:
        pytest.fail(f"logged as an error: {faults[:5]}")


@pytest.fixture
def expected() -> int:
    """How many hosts a world is made for; in one of many signatures are stand-ins (a test may say so of its own)."""
    return 30


@pytest.fixture
async def world(seed: int, expected: int) -> AsyncIterator[World]:
    """An empty world without faults; whatever still runs in it when its lights are out fails the test."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    made = World(loop, seed=seed, expected=expected)
    yield made
    left = await made.lights_out()
    if left:
        pytest.fail(f"{len(left)} tasks outlive their peers: {left[:5]}")


@pytest.fixture
async def wire() -> Wire:
    """An empty wire; alice, bob and carol are on it where a test names them."""
    return Wire()


@pytest.fixture
async def alice(wire: Wire) -> End:
    return wire.add(1)


@pytest.fixture
async def bob(wire: Wire) -> End:
    return wire.add(2)


@pytest.fixture
async def carol(wire: Wire) -> End:
    return wire.add(3)
