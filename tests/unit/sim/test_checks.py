"""Each checker is shown a fault that was put in on purpose, and must see it."""

import asyncio
from dataclasses import replace

import pytest

from peerd.io.store import bounds
from peerd.io.store.memory import MemoryStore
from peerd.node import blocks, claims
from peerd.node.peer import Peer
from peerd.node.responder import Responder
from peerd.node.returning import Returning
from peerd.sim.checks import Checks
from peerd.sim.requests import Requests
from peerd.sim.world import World

JOIN = {"do": "join", "at_s": 0, "over_s": 1}
PUT = {"do": "put", "at_s": 3, "over_s": 1, "keys": 3}
REMOVE = {"do": "remove", "at_s": 5, "keys": 3}
AGREE = {"agree": True}


def _told(report):
    return "; ".join(violation.partition(" s: ")[2] for violation in report.violations)


def test_a_world_in_which_nothing_is_wrong_is_left_alone(simulate):
    report = simulate(peers=4, settle_s=5, step=[JOIN, PUT, REMOVE], expect=AGREE)
    assert report.violations == []


def test_an_acknowledged_record_that_nobody_holds_is_seen(simulate, monkeypatch):
    keep = MemoryStore.put_record

    async def forget(self, key, record, **options):
        await keep(self, key, record, **options)
        await self.drop_record(key)
        return True

    monkeypatch.setattr(MemoryStore, "put_record", forget)
    assert "nobody holds key-0 any more: the write 1-" in _told(simulate(peers=3, step=[JOIN, PUT]))


def test_a_delete_that_nobody_remembers_is_seen(simulate, monkeypatch):
    keep = MemoryStore.put_record

    async def forget(self, key, record, *, row, **options):
        return True if row.deleted else await keep(self, key, record, row=row, **options)

    monkeypatch.setattr(MemoryStore, "put_record", forget)
    assert "the delete 2-" in _told(simulate(peers=3, step=[JOIN, PUT, REMOVE]))


def test_a_deleted_key_that_comes_back_is_seen(simulate, monkeypatch):
    """All stores go back behind the delete, and nobody says so: an old copy put in place unseen."""
    remove = Requests.remove

    async def undone(self, host, text):
        copies = {each: each.store.backup() for each in self._world.living}
        await remove(self, host, text)
        for each, kept in copies.items():
            each.store.restore(kept)

    monkeypatch.setattr(Requests, "remove", undone)
    get = {"do": "get", "at_s": 6, "over_s": 1, "count": 20, "deleted": True}
    told = _told(simulate(peers=3, step=[JOIN, PUT, REMOVE, get]))
    assert "came back older than acknowledged: sequence 1 after 2" in told


def test_what_a_store_lost_with_an_old_copy_is_no_fault(simulate):
    """One that holds everything alone goes back behind it: nobody could know."""
    old = [{"do": "backup", "at_s": 2, "count": 1}, {"do": "restore", "at_s": 6, "count": 1}]
    report = simulate(peers=1, step=[JOIN, PUT, *old], settle_s=2, expect=AGREE)
    assert report.violations == []
    assert report.check.failed == {"not_found": 3}


@pytest.mark.parametrize("counter", ["used_bytes", "records", "cache_bytes"])
def test_a_negative_counter_is_seen(simulate, monkeypatch, counter):
    usage = MemoryStore.usage

    async def negative(self):
        return replace(await usage(self), **{counter: -1})

    monkeypatch.setattr(MemoryStore, "usage", negative)
    assert f"{counter} of peer 0 is negative: -1" in _told(simulate(peers=1, step=[JOIN, PUT]))


def test_a_quota_that_is_not_kept_is_seen(simulate, monkeypatch):
    for module in (bounds, blocks):
        monkeypatch.setattr(module, "limit_bytes", lambda *_, **__: 2**40)
    report = simulate(peers=1, settings={"quota_bytes": 2**20}, step=[JOIN, {**PUT, "value_bytes": 500_000}])
    assert "bytes of 1048576" in _told(report)


def test_holders_that_differ_in_the_end_are_seen(simulate, monkeypatch):
    settled = Checks.settled

    async def lose(self):
        store = self._world.hosts[1].store
        store._records.clear()
        store._keys.clear()
        await settled(self)

    monkeypatch.setattr(Checks, "settled", lose)
    report = simulate(peers=3, settle_s=1, step=[JOIN, PUT], expect=AGREE)
    assert "the holders of key-" in _told(report)
    assert "1: nothing" in _told(report)


def test_a_copy_that_outlives_its_record_is_seen(simulate, monkeypatch):
    async def deaf(*_):
        return None

    monkeypatch.setattr(claims, "drop_claims", deaf)
    report = simulate(peers=2, step=[JOIN, {**PUT, "value_bytes": 5000}, REMOVE], expect=AGREE)
    assert "keeps content for key-0, which was deleted" in _told(report)


@pytest.mark.slow
def test_a_request_that_hangs_is_seen(simulate, monkeypatch):
    async def hang(*_):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Peer, "open", hang)
    told = _told(simulate(peers=1, step=[JOIN, PUT, {"do": "get", "at_s": 5, "count": 1}]))
    assert "on peer 0 hangs at " in told
    assert "test_checks.py" in told


def test_an_error_that_a_peer_logs_is_seen_unless_its_disk_was_told_to_fail(simulate, monkeypatch):
    sick = {"do": "sick", "at_s": 2, "count": 1, "fault": "failing", "for_s": 10}
    report = simulate(peers=1, step=[JOIN, sick, PUT], expect={"puts_ok": 0})
    assert report.put.ok < 3
    assert report.violations == []

    def broken(*_):
        raise ValueError("planted")

    monkeypatch.setattr(Responder, "_store", broken)
    assert "ValueError('planted')" in _told(simulate(peers=2, step=[JOIN, PUT], expect={"puts_ok": 0}))


@pytest.mark.parametrize("full", [True, False])
def test_who_lacks_what_has_no_room_there_is_no_fault(simulate, monkeypatch, full):
    settled = Checks.settled

    async def lose(self):
        store = self._world.hosts[1].store
        store._records.clear()
        store._keys.clear()
        for root in await store.roots(None, 100):
            await store.delete_root(root.cid)
        if full:
            store.quota_bytes = (await store.usage()).used_bytes
        await settled(self)

    monkeypatch.setattr(Checks, "settled", lose)
    told = _told(simulate(peers=3, settle_s=1, step=[JOIN, {**PUT, "value_bytes": 5000}], expect=AGREE))
    assert ("the holders of key-" in told, "too few copies" in told) == (not full, not full)


def test_a_copy_that_nobody_has_is_seen_also_where_all_are_full(simulate, monkeypatch):
    settled = Checks.settled

    async def lose(self):
        for host in self._world.hosts:
            for root in await host.store.roots(None, 100):
                await host.store.delete_root(root.cid)
            host.store.quota_bytes = (await host.store.usage()).used_bytes
        await settled(self)

    monkeypatch.setattr(Checks, "settled", lose)
    report = simulate(peers=3, settle_s=1, step=[JOIN, {**PUT, "value_bytes": 5000}], expect=AGREE)
    assert "too few copies of the content of key-0: on []" in _told(report)


@pytest.mark.parametrize("met", [True, False])
def test_who_has_met_nobody_yet_may_know_nothing(simulate, monkeypatch, met):
    if met:
        monkeypatch.setattr(Requests, "_has_met", _yes)
    crash, restart = {"do": "crash", "at_s": 5, "count": 3}, {"do": "restart", "at_s": 9, "count": 3}
    get = {"do": "get", "at_s": 9, "count": 60}  # before a message of those that are back can have come to the newcomer
    newcomer = {"do": "join", "at_s": 6, "count": 1}
    report = simulate(peers=3, step=[JOIN, PUT, crash, newcomer, restart, get], settle_s=20)
    assert ("is denied though its write was acknowledged" in _told(report)) == met


async def _yes(self, host):
    return True


@pytest.mark.parametrize(("gap_s", "planted"), [(0.1, True), (3, False)])
def test_what_one_that_is_back_has_is_older_only_where_who_signed_came_after_it(run, monkeypatch, gap_s, planted):
    """Bob misses what alice alone signs, and both come back: who answers before it was told is seen."""
    if planted:
        monkeypatch.setattr(Returning, "confirmed", lambda *_: True)

    async def work(loop):
        world = World(loop, seed=1, expected=3, signed=False)
        alice, bob, carol = [await world.join() for _ in range(3)]
        await asyncio.sleep(2)
        requests, name = Requests(world), "a"
        await requests.put(alice, name, 100, "quorum")
        for host in (bob, carol):
            await host.crash(power=False)
        await requests.put(alice, name, 100, "quorum")
        await alice.crash(power=False)
        for host in (carol, bob):
            await host.start()
        await asyncio.sleep(gap_s)
        await alice.start()
        newest = requests.ledger.name(name)
        await requests.get(bob, newest, "one")
        await world.lights_out()
        assert newest.newest.holders == (alice.id_text,)
        return requests

    requests = run(work)
    assert requests.tallies["get"].ok == 1
    assert ["came back older than acknowledged" in each for each in requests.violations] == [True] * (gap_s < 1)
