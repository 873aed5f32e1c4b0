"""The rules of a holder: whatever order versions, tombstones and floors come in, all holders end with the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.ids import name_key
from peerd.io.store.interface import Floor
from peerd.io.store.memory import MemoryStore
from peerd.node import holding
from peerd.node.blocks import Intake, Room
from peerd.node.copies import Copies
from peerd.node.events import Events
from peerd.node.holding import Kept, Over, Standing
from peerd.node.keylocks import KeyLocks
from peerd.node.promising import Promises
from peerd.node.registers import Registers
from peerd.node.trusting import Trusting
from peerd.records.floor import OVER
from peerd.records.record import INLINE, TOMBSTONE, Record, RecordBody, make_record
from tests.unit.io.store.samples import QUOTA_BYTES, HandClock, entropy
from tests.vectors.cast import OPEN, identity

ALICE, BOB = identity("alice"), identity("bob")
KEY = name_key(OPEN, "a")


def record(sequence: int, kind: int, writer: int) -> Record:
    who = (ALICE, BOB)[writer]
    value = b"" if kind == TOMBSTONE else b"v"
    body = RecordBody(1, KEY, "a", None, sequence, who.peer, bytes(8), kind, value, len(value), 3, None)
    return make_record(who, body)


VERSIONS = {(s, k, w): record(s, k, w) for s in range(1, 5) for k in (INLINE, TOMBSTONE) for w in (0, 1)}
events = st.one_of(
    st.sampled_from(sorted(VERSIONS)),
    st.tuples(st.just("floor"), st.sampled_from(sorted(VERSIONS)), st.sampled_from([None, 100.0, 200.0])),
)


class Turning:
    """Nobody has a lease."""

    @asynccontextmanager
    async def turning(self, key: object, but: object = None) -> AsyncIterator[None]:
        yield


def holder() -> Any:
    clock = HandClock()
    store = MemoryStore(QUOTA_BYTES, entropy, clock)
    return SimpleNamespace(
        identity=ALICE,
        peer=ALICE.peer,
        store=store,
        locks=KeyLocks(),
        copies=Copies(),
        events=Events(),
        environment=SimpleNamespace(clock=clock),
        settings=SimpleNamespace(tombstone_grace_s=100.0),
        registers=Registers(store, clock),
        promises=Promises(ALICE, store, entropy, clock),
        room=Room(store, Intake(store, clock)),
        trust=Trusting(clock),
        cached=SimpleNamespace(held=lambda record: None),
        changes=SimpleNamespace(granting=Turning(), happened=lambda key: None),
        tasks=SimpleNamespace(spawn=lambda coroutine, _: coroutine.close()),  # what it ends elsewhere is not looked at
    )


async def arrive(core: Any, event: Any) -> None:
    """One thing comes to a holder."""
    if event[0] != "floor":
        came = VERSIONS[event]
        before = await holding.standing(core, KEY)
        outcome = await holding.keep_record(core, came, None)
        after = await holding.standing(core, KEY)
        if isinstance(outcome, Kept):
            assert after.record is not None
            assert after.record.version == came.version
        elif isinstance(outcome, Over):
            assert after == before
        return
    floor = holding.floor_of(VERSIONS[event[1]], ends=event[2])
    await holding.lay_floor(core, KEY, floor)


async def outcome_of(sequence: list[Any]) -> Standing:
    core = holder()
    for event in sequence:
        await arrive(core, event)
        here = await holding.standing(core, KEY)
        assert here.record is None or here.floor is None
    return await holding.standing(core, KEY)


@given(st.data(), st.lists(events, max_size=7))
@settings(max_examples=150, deadline=None)
def test_holders_agree_whatever_the_order(data: st.DataObject, came: list[Any]) -> None:
    # Of one version only what a writer really signed: the same sequence of one writer is one record.
    signed: dict[tuple[int, int], Any] = {}
    came = [e for e in came if e[0] == "floor" or signed.setdefault((e[0], e[2]), e) == e]
    other = data.draw(st.permutations(came))

    with asyncio.Runner() as runner:
        one, two = runner.run(outcome_of(came)), runner.run(outcome_of(list(other)))

    assert one == two
    floors = [holding.floor_of(VERSIONS[e[1]], ends=e[2]) for e in came if e[0] == "floor"]
    top: Floor | None = max(floors, key=lambda floor: floor.version, default=None)
    if top is not None:
        assert one.of(top.version) == OVER or (one.record is not None and one.record.version[:3] > top.version)
