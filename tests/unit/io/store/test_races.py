"""Garbage and a concurrent put never race: what a put under way counts on stays, in both stores alike."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peerd.io.store.interface import Store
from peerd.io.store.memory import MemoryStore
from peerd.io.store.sqlite import SqliteStore
from tests.unit.io.store.samples import QUOTA_BYTES, HandClock, block, entropy, raws, root

# Where there is such a place, syncs take no time; what they are worth is tested elsewhere.
MEMORY = "/dev/shm"
BLOCKS, ROOTS = 10, 5
SIZES = [1_000, 40_000]
numbers = st.integers(0, BLOCKS - 1)
some_roots = st.integers(0, ROOTS - 1)


@dataclass
class _Put:
    """A put under way: its blocks so far, all of them to be linked to its root at its end."""

    since: float
    root: int
    blocks: set[int] = field(default_factory=set)


class Races(RuleBasedStateMachine):
    """Puts, ends of claims and collections in any order; each call is made of both stores, and answered alike."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY if Path(MEMORY).is_dir() else None)
        self.clock = HandClock()
        self.under_way: list[_Put] = []
        self.claimed: dict[int, set[int]] = {}
        """What each root with a claim must have."""
        self.stores: list[Store] = [MemoryStore(QUOTA_BYTES, entropy, self.clock), self.runner.run(self._open())]

    async def _open(self) -> Store:
        return await SqliteStore.open(Path(self.folder.name) / "store", QUOTA_BYTES, entropy, self.clock)

    def teardown(self) -> None:
        self.runner.run(self.stores[1].close())
        self.runner.close()
        self.folder.cleanup()

    def both(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        self.clock.now += 0.25

        async def asked(store: Store) -> Any:
            return await call(store)

        answers = [self.runner.run(asked(store)) for store in self.stores]
        assert answers[0] == answers[1]
        return answers[0]

    def since(self) -> float:
        return min((put.since for put in self.under_way), default=self.clock.now)

    def spared(self) -> list[bytes]:
        return [root(put.root).cid for put in self.under_way]

    @rule(number=some_roots)
    def begin(self, number: int) -> None:
        self.under_way.append(_Put(self.clock.now, number))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 100), chosen=st.lists(numbers, min_size=1, max_size=4, unique=True))
    def put(self, which: int, chosen: list[int]) -> None:
        put = self.under_way[which % len(self.under_way)]
        blocks = [block(number, SIZES[number % 2]) for number in chosen]
        self.both(lambda store: store.put_blocks(blocks))
        put.blocks |= set(chosen)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 100))
    def finish(self, which: int) -> None:
        put = self.under_way.pop(which % len(self.under_way))
        cid = root(put.root).cid
        linked = raws(*(block(number, SIZES[number % 2]) for number in sorted(put.blocks)))
        self.both(lambda store: store.link_blocks(cid, linked))
        self.both(lambda store: store.add_claim(cid, b"claim"))
        self.both(lambda store: store.put_root(root(put.root, "own")))
        self.claimed[put.root] = self.claimed.get(put.root, set()) | put.blocks

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 100))
    def fail(self, which: int) -> None:
        self.under_way.pop(which % len(self.under_way))

    @rule(number=some_roots, used_at=st.integers(0, 9), copies=st.sampled_from([0, 3]))
    def lapse(self, number: int, used_at: int, copies: int) -> None:
        if self.claimed.pop(number, None) is not None:
            self.both(lambda store: store.remove_claim(root(number).cid, b"claim"))
            cached = root(number, "cache", used_at=float(used_at), copies=copies)
            self.both(lambda store: store.put_root(cached))

    @rule()
    def collect(self) -> None:
        since = self.since()
        self.both(lambda store: store.drop_unlinked(0.0, since=since))

    @rule(number=some_roots)
    def let_go(self, number: int) -> None:
        since, cid = self.since(), root(number).cid
        if cid not in self.spared():
            self.both(lambda store: store.release_unclaimed(cid, since=since))

    @rule(wanted=st.sampled_from([1, 30_000, QUOTA_BYTES]))
    def evict(self, wanted: int) -> None:
        since, spared = self.since(), self.spared()
        self.both(lambda store: store.evict_cache(wanted, spared, since=since))

    @invariant()
    def what_is_counted_on_is_there(self) -> None:
        wanted = set[int]().union(*(put.blocks for put in self.under_way), *self.claimed.values())
        cids = [block(number, SIZES[number % 2]).cid for number in range(BLOCKS)]
        there = self.both(lambda store: store.has_blocks(cids))
        lost = [number for number in wanted if not there[number]]
        assert not lost
        usage = self.both(lambda store: store.usage())
        assert usage.used_bytes >= 0 and usage.cache_bytes >= 0


Races.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRaces = pytest.mark.slow(Races.TestCase)
