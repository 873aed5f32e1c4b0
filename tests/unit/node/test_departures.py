"""Leave notices that others bring: old ones send nobody away, true ones reach those whom the goodbye did not."""

import asyncio

from peerd.ids import PeerId
from peerd.node.gossip import LEFT
from peerd.records.life import lives
from peerd.records.notice import leave_notices
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire.messages import Leave, Tell
from tests.unit.node.hosts import contact_of, core, joined, meshed, mute, until


def state(host: Host, other: Host) -> str:
    return core(host).members.all[other.identity.peer].state


def departures(host: Host) -> list[PeerId]:
    """Who leaves in the eyes of a host, from now on."""
    left: list[PeerId] = []
    gossip = core(host).gossip
    honest = gossip._gone

    def gone(peer: PeerId) -> None:
        left.append(peer)
        honest(peer)

    gossip._gone = gone
    return left


async def old_notice(hosts: list[Host]) -> bytes:
    """The leave notice of an earlier life of the last host, which is back; the first was started again and forgot."""
    bob = hosts[-1]
    await bob.stop()
    await until(lambda: state(hosts[1], bob) == "left")
    notice = core(hosts[1]).members.all[bob.identity.peer].farewell
    await bob.start()
    await meshed(hosts)
    await hosts[0].crash(power=True)
    await hosts[0].start()
    await meshed(hosts)
    return notice


async def tell(teller: Host, hearer: Host, item: bytes) -> None:
    await core(teller).endpoint.ask(contact_of(hearer), Tell, (item,))


async def test_an_old_leave_notice_replayed_to_one_that_restarted_sends_nobody_away(world: World) -> None:
    hosts = await joined(world, 4)
    alice, mallory, _, bob = hosts
    notice = await old_notice(hosts)
    left = departures(alice)

    for _ in range(20):
        await tell(mallory, alice, bytes([LEFT]) + notice)
        await core(mallory).endpoint.ask(contact_of(alice), Leave, notice)
        await asyncio.sleep(0.2)

    assert state(alice, bob) == "alive"
    assert left == []


async def test_an_old_leave_notice_costs_one_question_however_often_it_is_told(world: World) -> None:
    hosts = await joined(world, 4)
    alice, mallory, _, bob = hosts
    notice = await old_notice(hosts)
    before = core(alice).endpoint.counts.sent_kinds["Vouch"]

    for _ in range(50):
        await tell(mallory, alice, bytes([LEFT]) + notice)

    assert 0 < core(alice).endpoint.counts.sent_kinds["Vouch"] - before < 200
    assert core(alice).members.detector.standings[bob.identity.peer].stamp > leave_notices.read(notice).stamp


async def test_a_leave_notice_of_one_that_does_not_answer_is_believed_from_others(world: World) -> None:
    hosts = await joined(world, 4)
    alice, carol, _, bob = hosts
    notice = await core(bob).gossip.farewell()
    mute(bob)

    await tell(carol, alice, bytes([LEFT]) + notice)

    await until(lambda: state(alice, bob) == "left", within_s=3)


async def test_who_is_leaving_does_not_refute_its_own_notice(world: World) -> None:
    hosts = await joined(world, 3)
    alice, carol, bob = hosts
    notice = await core(bob).gossip.farewell()

    await tell(carol, alice, bytes([LEFT]) + notice)

    await until(lambda: state(alice, bob) == "left", within_s=3)
    life = lives.read(await core(bob).gossip.life())
    assert life.stamp < leave_notices.read(notice).stamp
