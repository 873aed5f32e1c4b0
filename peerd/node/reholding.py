"""Keeping the lists of registers' holders right: the dead and the gone are replaced, nearer peers are taken in.

The nearest living listed holder does it, the next ones only where it does not. What changes a list is a round like any
other (trust.register): without a majority of the old list nothing changes, so that two sides never both go on.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress

from loguru import logger

from peerd.errors import PeerdError, StoreError
from peerd.ids import Key, PeerId
from peerd.node.accepting import nearest_first
from peerd.node.agreeing import store_chosen_again
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.proposing import Rounds
from peerd.records.record import read_record
from peerd.trust.register import Acceptor, State, decode_acceptor, learned_again

PAGE = 64
# A peer counts as there for good after so long; who said goodbye is waited for as long as it lingers.
SETTLE_S = 5.0
# Changes of membership are gathered for so long.
GATHER_S = 1.0
PACE_S = 0.05
CHANGE_TIMEOUT_S = 10.0
CHANGE_ROUNDS_MAX = 8
LEARN_TRIES = 3
WAITED_MAX = 10_000
LEAVING_AT_ONCE = 8


class Reholding:
    """The loop of one peer that looks after the registers it holds."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._changed = asyncio.Event()
        self._waited: dict[Key, int] = {}
        """Registers that somebody nearer should look after, and for how many passes that was not done."""

    def members_changed(self) -> None:
        """Somebody came or went."""
        self._changed.set()

    async def run(self) -> None:
        """Look at all registers again and again: in each interval, and soon after somebody came or went."""
        core = self._core
        while True:
            interval_s = core.settings.repair_interval_s * core.environment.rng.uniform(0.9, 1.1)
            try:
                async with asyncio.timeout(interval_s):  # `wait_for` would swallow a cancellation now and then
                    await self._changed.wait()
            except TimeoutError:
                await self._pass_safely()
                continue
            for delay_s in (GATHER_S, SETTLE_S):  # who came is there for good a little later
                await asyncio.sleep(delay_s * core.environment.rng.uniform(1.0, 1.2))
                self._changed.clear()
                await self._pass_safely()

    async def _pass_safely(self) -> None:
        try:
            await self._pass()
        except StoreError as error:  # the disk may be well again at the next pass
            logger.warning("registers could not be looked after for now", reason=str(error))

    async def _pass(self) -> None:
        after = None
        core = self._core
        while page := await core.store.registers(after, PAGE):
            for key, raw in page:
                try:
                    await self._tend(key, decode_acceptor(raw, core.store.store_id))
                except PeerdError as error:
                    logger.debug("a register's holders were not changed", reason=str(error))
            after = page[-1][0]

    async def _tend(self, key: Key, acceptor: Acceptor) -> None:
        core, state = self._core, acceptor.state
        if acceptor.lost:
            await learn_again(core, key)
            return
        if state is None:
            return
        if not state.previous and not self._is_wrong(key, state) and await self._has_record(key, state):
            self._waited.pop(key, None)
            return
        waited = self._waited.get(key, 0)
        if waited < self._rank(key, state):
            if len(self._waited) < WAITED_MAX:
                self._waited[key] = waited + 1
            return
        self._waited.pop(key, None)
        await change_holders(core, key)
        await asyncio.sleep(PACE_S)

    def _is_wrong(self, key: Key, state: State) -> bool:
        return set(wanted_holders(self._core, key, state)) != set(state.holders)

    async def _has_record(self, key: Key, state: State) -> bool:
        """Whether what was chosen has been stored here; its writer may have ended in between."""
        if self._core.peer not in state.holders:
            return True
        raw = await self._core.store.record(key)
        present = read_record(raw) if raw is not None else None
        if present is None:
            return state.value.body.ttl_s is not None
        return present.version >= state.value.version

    def _rank(self, key: Key, state: State) -> int:
        """Return how many nearer listed holders live; nobody who is not listed comes before one that is."""
        core = self._core
        listed = nearest_first(core, key, state.peers)
        living = [peer for peer in listed if peer == core.peer or _answers(core, peer)]
        return living.index(core.peer) if core.peer in living else len(living)

    async def leave(self) -> None:
        """Before this peer goes: have others take its place in the lists, where there are others and time allows."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._core.settings.leave_timeout_s / 3):
                await self._leave_all()

    async def _leave_all(self) -> None:
        core, after = self._core, None
        while page := await core.store.registers(after, PAGE):
            states = [(key, self._state_of(raw)) for key, raw in page]
            mine = [key for key, state in states if state is not None and self._is_replaced(key, state)]
            for at in range(0, len(mine), LEAVING_AT_ONCE):
                async with asyncio.TaskGroup() as group:
                    for key in mine[at : at + LEAVING_AT_ONCE]:
                        group.create_task(self._leave_one(key))
            after = page[-1][0]

    def _state_of(self, raw: bytes) -> State | None:
        try:
            return decode_acceptor(raw, self._core.store.store_id).state
        except PeerdError:  # damaged: the others are to be handed all the same what is whole
            return None

    def _is_replaced(self, key: Key, state: State) -> bool:
        """Whether somebody can take our place in a list."""
        own = self._core.peer
        return own in state.holders and len(wanted_holders(self._core, key, state, (own,))) >= len(state.holders)

    async def _leave_one(self, key: Key) -> None:
        try:
            await change_holders(self._core, key, left_out=(self._core.peer,), replaced_only=True)
        except PeerdError as error:
            logger.debug("a register's holders were not changed", reason=str(error))


def wanted_holders(core: Core, key: Key, state: State, left_out: Collection[PeerId] = ()) -> list[PeerId]:
    """Return who should hold a register: the nearest that are there for good.

    The listed that are silent stay where nobody else is there: they count until they are forgotten. Who said goodbye
    does not.
    """
    members, limit = core.members, core.now() - SETTLE_S
    near = {core.peer: None}
    for contact in members.table.closest(key, RECORD_HOLDERS + len(left_out)):
        member = members.all.get(contact.peer)
        if contact.peer in state.holders or (member is not None and member.came_at <= limit):
            near[contact.peer] = None
    listed = [peer for peer in state.holders if not _is_gone(core, peer)]
    near.update(dict.fromkeys(peer for peer in listed if _answers(core, peer)))
    living = [peer for peer in nearest_first(core, key, near) if peer not in left_out][:RECORD_HOLDERS]
    silent = [peer for peer in nearest_first(core, key, listed) if peer not in near and peer not in left_out]
    return living + silent[: RECORD_HOLDERS - len(living)]


async def learn_again(core: Core, key: Key) -> bool:
    """Have this peer, whose store came back from a copy, be an acceptor of a register again; return whether it is.

    A store is put back by hand: no round of before that counts this peer's promise is under way any more.
    """
    rounds = Rounds(core, key, timeout_s=CHANGE_TIMEOUT_S)
    for _ in range(LEARN_TRIES):
        ballot, question = await rounds.prepare_all()
        async with core.locks.hold(b"register " + key):
            raw, acceptor = await core.registers.load(key)
            learned = learned_again(core.peer, acceptor, ballot, question) if acceptor.lost else acceptor
            if learned is not None:
                return learned is acceptor or await core.registers.keep(key, learned, over=raw)
        await rounds.pause()
    return False


async def change_holders(
    core: Core, key: Key, *, left_out: Collection[PeerId] = (), replaced_only: bool = False
) -> State | None:
    """Bring a register's list to who should hold it, and have its record stored there; return the state chosen.

    `replaced_only`: nothing where the list would become shorter. Raises TimedOutError without a majority of the old.
    """
    async with core.locks.hold(b"write " + key):
        rounds = Rounds(core, key, timeout_s=CHANGE_TIMEOUT_S)
        chosen: State | None = None
        for _ in range(CHANGE_ROUNDS_MAX):
            ballot, question = await rounds.prepare()
            base = question.base
            if base is None:
                return None
            wanted = wanted_holders(core, key, base, left_out)
            if base.previous and chosen is not None and chosen.epoch == base.epoch:
                state = base.cleared()
            elif base.previous or set(wanted) == set(base.holders):
                state = base
            elif replaced_only and len(wanted) < len(base.holders):
                return None
            else:
                state = base.joint(wanted)
            if await rounds.accept(ballot, base, state, also=question.to_ask, all_new=state is not base):
                chosen = state
                if not state.previous:
                    break
            else:
                await rounds.pause()
    if chosen is not None:
        await store_chosen_again(core, chosen.value, chosen)
    return chosen


def _answers(core: Core, peer: PeerId) -> bool:
    return peer == core.peer or (core.members.contact(peer) is not None and peer not in core.members.doubted)


def _is_gone(core: Core, peer: PeerId) -> bool:
    """Whether a peer is forgotten, or said goodbye and has not come back at once."""
    if core.members.forgotten(peer):
        return True
    member = core.members.all.get(peer)
    return member is not None and member.state == "left" and core.members.lingering(peer) is None
