"""Simulated worlds for tests: a scenario as a table, and coroutines on a virtual clock."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from loguru import logger

from peerd.sim.loop import VirtualLoop
from peerd.sim.play import play
from peerd.sim.report import Report
from peerd.sim.scenario import check


@pytest.fixture(autouse=True)
def quiet():
    """No logs: the simulator sees to errors itself."""
    logger.remove()


@pytest.fixture
def simulate(seed: int) -> Callable[..., Report]:
    """Play a scenario given as a table."""

    def simulate(**scenario: Any) -> Report:
        return play(check(scenario), scenario.get("seed", seed))

    return simulate


@pytest.fixture
def run() -> Callable[[Callable[[VirtualLoop], Coroutine[Any, Any, Any]]], Any]:
    """Run a coroutine function, which is given the loop, on a virtual clock."""

    def run(work):
        loop = VirtualLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(work(loop))

    return run
