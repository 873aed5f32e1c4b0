"""Histories of strong operations: what is planted in the peers must be seen in them."""

import pytest

from peerd.node.peer import Peer
from peerd.node.results import GetOptions, PutOptions
from peerd.sim.acts import Acts
from peerd.sim.linear import Operation

JOIN = {"do": "join", "at_s": 0, "over_s": 1}
COUNT = {"do": "count", "at_s": 4, "over_s": 0, "writers": 20, "times": 2}
REGISTERS = {"do": "strong", "at_s": 4, "over_s": 20, "count": 80}
CUT = [{"do": "partition", "at_s": 8, "islands": [3, 2]}, {"do": "heal", "at_s": 18}]


def _told(report):
    return [violation.partition(" s: ")[2] for violation in report.violations if "linear" in violation]


@pytest.fixture
def plain(monkeypatch):
    """Peers for which a strong write is a plain one that compares nothing, and a strong read a plain one."""
    put, remove, read = Peer.put, Peer.remove, Peer.open

    async def put_plainly(self, name, body, *, form, options):
        return await put(self, name, body, form=form, options=PutOptions(timeout_s=options.timeout_s))

    async def remove_plainly(self, target, options):
        return await remove(self, target, PutOptions())

    async def read_plainly(self, target, options):
        return await read(self, target, GetOptions())

    monkeypatch.setattr(Peer, "put", put_plainly)
    monkeypatch.setattr(Peer, "remove", remove_plainly)
    monkeypatch.setattr(Peer, "open", read_plainly)


def test_doubled_increments_are_seen(simulate, plain):
    told = _told(simulate(peers=5, step=[JOIN, COUNT]))
    assert len(told) == 1
    assert "counter-0 is not linearizable" in told[0]


def test_a_register_that_both_sides_of_a_cut_write_is_seen(simulate, plain):
    assert "register-0 is not linearizable" in _told(simulate(peers=5, step=[JOIN, REGISTERS, *CUT]))[0]


def test_a_stale_read_is_seen(simulate, plain, monkeypatch):
    read = Peer.open
    first = {}

    async def stale(self, target, options):
        return first.setdefault(target, await read(self, target, options))

    monkeypatch.setattr(Peer, "open", stale)
    alone = {**REGISTERS, "count": 20}
    assert "register-0 is not linearizable" in _told(simulate(peers=1, step=[JOIN, alone], seed=1))[0]


def test_an_operation_that_failed_may_have_had_its_effect(simulate, monkeypatch):
    seen = []
    check = Acts.mend

    def look(self):
        seen.append(self.strong.histories)
        check(self)

    monkeypatch.setattr(Acts, "mend", look)
    crash = {"do": "crash", "at_s": 4.0001, "count": 1}
    simulate(peers=1, faults={"sync_ms": 100}, step=[JOIN, {**REGISTERS, "over_s": 0}, crash])
    operations: list[Operation] = seen[0]["register-0"]
    assert any(operation.returned_s is None for operation in operations if operation.kind == "write")
    assert all(operation.returned_s is not None for operation in operations if operation.kind == "read")
