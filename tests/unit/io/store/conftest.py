"""The stores under test: every test that takes `store` runs over both implementations."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peerd.io.store.interface import Store
from peerd.io.store.memory import MemoryStore
from peerd.io.store.sqlite import SqliteStore
from tests.unit.io.store import samples


@pytest.fixture
def clock() -> samples.HandClock:
    return samples.HandClock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: samples.HandClock) -> AsyncIterator[Store]:
    if request.param == "memory":
        made: Store = MemoryStore(samples.QUOTA_BYTES, samples.entropy, clock)
    else:
        made = await SqliteStore.open(tmp_path / "store", samples.QUOTA_BYTES, samples.entropy, clock)
    yield made
    await made.close()


@pytest.fixture
async def disk_store(tmp_path: Path, clock: samples.HandClock) -> AsyncIterator[SqliteStore]:
    made = await SqliteStore.open(tmp_path / "store", samples.QUOTA_BYTES, samples.entropy, clock)
    yield made
    await made.close()
