"""Real daemons with default settings: who is thought dead when hosts stand still, die or are cut off, and who not."""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence

import pytest

from tests.live.daemons import Daemon, Daemons, meet, until
from tests.live.netns import Host, Net, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]

PAUSE_S = 5.0
CUT_S = 30.0
# The rest is the time that a loaded machine takes to show it.
DEATH_LIMIT_S = 30.0
HEALED_LIMIT_S = 15.0
MINUTE_S = 65.0
COUNTED_S = 44.0


def seen_dead(daemons: Sequence[Daemon]) -> list[tuple[str, str]]:
    return [
        (daemon.name, other)
        for daemon in daemons
        if daemon.running
        for other, state in daemon.states().items()
        if state in ("dead", "left")
    ]


def require_no_death(daemons: Sequence[Daemon], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        assert seen_dead(daemons) == []
        time.sleep(0.5)


def started(net: Net, daemons: Daemons) -> list[Daemon]:
    launched = [daemons.prepare(host).launch() for host in net.hosts]
    for daemon in launched:
        daemon.wait_ready()
    meet(launched)
    return launched


def count_datagrams(host: Host) -> None:
    """Count what comes to the overlay's port of a host, before anybody could answer it."""
    rules = (
        "add table inet seen; add counter inet seen datagrams; "
        "add chain inet seen input { type filter hook input priority -300; policy accept; }; "
        "add rule inet seen input udp dport 7433 counter name datagrams"
    )
    host.run(["nft", rules])


def datagrams(host: Host) -> int:
    told = json.loads(
        host.run(["nft", "-j", "list", "counter", "inet", "seen", "datagrams"], capture_output=True).stdout
    )
    return int(next(each["counter"]["packets"] for each in told["nftables"] if "counter" in each))


def at_rest(everybody: list[Daemon], count: Callable[[Daemon], int], least: int) -> list[int]:
    """What each counts once all have `least` together and nothing has changed for 4 s: what was put is in its place."""
    since, counts = time.monotonic(), [count(daemon) for daemon in everybody]

    def unchanged() -> bool:
        nonlocal since, counts
        now = [count(daemon) for daemon in everybody]
        if now != counts or sum(now) < least:
            since, counts = time.monotonic(), now
        return time.monotonic() - since > 4

    until(unchanged, 40)
    return counts


def test_a_daemon_that_stands_still_for_five_seconds_is_not_dead_and_nothing_is_moved() -> None:
    with Net(4) as net, Daemons() as daemons:
        everybody = started(net, daemons)
        for number in range(5):
            everybody[0].ok("put", f"k{number}", stdin=os.urandom(4096))
        held = at_rest(everybody, lambda daemon: daemon.status()["blobs"], 15)
        paused = everybody[1]
        os.kill(paused.pid, signal.SIGSTOP)
        try:
            require_no_death([daemon for daemon in everybody if daemon is not paused], PAUSE_S)
        finally:
            os.kill(paused.pid, signal.SIGCONT)
        require_no_death(everybody, PAUSE_S)
        until(lambda: all(len(daemon.alive()) == 3 for daemon in everybody), 10)
        assert [daemon.status()["blobs"] for daemon in everybody] == held


@pytest.mark.parametrize("both_ways", [False, True])
def test_a_cut_between_two_of_four_expels_nobody(both_ways: bool) -> None:
    with Net(4) as net, Daemons() as daemons:
        everybody = started(net, daemons)
        alice, bob = net.hosts[:2]
        net.cut(alice, bob)
        if both_ways:
            net.cut(bob, alice)
        require_no_death(everybody, CUT_S)
        everybody[0].ok("put", "k", "--value", "v")
        assert everybody[1].ok("get", "k") == b"v"
        net.heal()
        until(lambda: all(len(daemon.alive()) == 3 for daemon in everybody), 15, everybody[0].states)


def test_a_healed_partition_is_found_within_fifteen_seconds() -> None:
    with Net(4) as net, Daemons() as daemons:
        everybody = started(net, daemons)
        net.partition(net.hosts[:1], net.hosts[1:])
        until(lambda: everybody[0].alive() == set(), DEATH_LIMIT_S)
        until(lambda: all(len(seen_dead([daemon])) == 1 for daemon in everybody[1:]), DEATH_LIMIT_S)
        net.heal()
        took_s = meet(everybody, HEALED_LIMIT_S)
        print(f"found after {took_s:.1f} s")


@pytest.mark.timeout(240)
def test_the_dead_get_one_datagram_in_ten_seconds_after_a_minute() -> None:
    with Net(4) as net, Daemons() as daemons:
        everybody = started(net, daemons)
        everybody[3].kill()
        until(lambda: len(seen_dead(everybody)) == 3, DEATH_LIMIT_S)
        time.sleep(MINUTE_S)
        count_datagrams(net.hosts[3])
        time.sleep(COUNTED_S)
        seen = datagrams(net.hosts[3])
        print(f"{seen} datagrams in {COUNTED_S:.0f} s")
        assert 1 <= seen <= 1 + COUNTED_S / 10
        everybody[3].launch().wait_ready()
        meet(everybody)
