"""Machines that live: addresses that come late or change, a closed lid, a network in two halves, lost packets."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.live.daemons import Daemons, meet, until
from tests.live.netns import Net, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]

MEET_LIMIT_S = 15.0
LOSS_PERMILLE = 100
WRITES_UNDER_LOSS = 15


def test_an_address_that_comes_late_or_changes_needs_no_restart(tmp_path: Path) -> None:
    with Net(3) as net, Daemons() as daemons:
        mobile = net.hosts[2]
        mobile.ip("addr flush dev eth0")
        alice, bob = (daemons.start(host) for host in net.hosts[:2])
        carol = daemons.start(mobile)
        carol.ok("put", "early", "--value", "before any address")
        meet([alice, bob])
        mobile.ip("addr add 10.77.0.3/24 brd + dev eth0", "route add 224.0.0.0/4 dev eth0")
        print(f"met {meet([alice, bob, carol], MEET_LIMIT_S):.2f} s after the address came")

        mobile.ip(
            "addr del 10.77.0.3/24 dev eth0",
            "addr add 10.77.0.33/24 brd + dev eth0",
            "route replace 224.0.0.0/4 dev eth0",
        )

        def known_at_the_new_one() -> bool:
            found = {peer["id"]: peer for daemon in (alice, bob) for peer in daemon.json("peers")}[carol.id]
            return found["state"] == "alive" and found["address"] == "10.77.0.33:7433"

        took_s = until(known_at_the_new_one, MEET_LIMIT_S, lambda: alice.json("peers"))
        print(f"known at the new address {took_s:.2f} s after the change")
        content = os.urandom(2_500_000)
        assert alice.ok("get", "early") == b"before any address"
        assert set(carol.json("put", "late", "-", stdin=content)["holders"]) == {alice.id, bob.id, carol.id}
        assert alice.ok("get", "late") == content


def test_a_machine_that_slept_is_dead_meanwhile_and_knows_at_once_what_it_missed() -> None:
    with Net(3) as net, Daemons() as daemons:
        alice, bob, carol = (daemons.start(host) for host in net.hosts)
        meet([alice, bob, carol])
        alice.ok("put", "changes", "--value", "old")
        alice.ok("put", "goes", "--value", "away")
        os.kill(carol.pid, signal.SIGSTOP)
        try:
            took_s = until(lambda: alice.states()[carol.id] == bob.states()[carol.id] == "dead", 15, alice.states)
            print(f"dead {took_s:.2f} s after it was stopped")
            alice.ok("put", "changes", "--value", "new")
            alice.ok("put", "comes", "--value", "since")
            bob.ok("rm", "goes")
        finally:
            os.kill(carol.pid, signal.SIGCONT)
        assert carol.ok("get", "changes") == b"new"
        assert carol.ok("get", "comes") == b"since"
        assert carol.peer("get", "goes").require_one_line(3)
        print(f"alive to all {meet([alice, bob, carol], MEET_LIMIT_S):.2f} s after it went on")


def test_both_halves_of_a_cut_network_go_on_and_become_one_again() -> None:
    with Net(5) as net, Daemons() as daemons:
        running = [daemons.prepare(host).launch() for host in net.hosts]
        for daemon in running:
            daemon.wait_ready()
        meet(running)
        left, right = running[:2], running[2:]
        left[0].ok("put", "common", "--value", "before")
        net.partition(net.hosts[:2], net.hosts[2:])
        # From the first moment, while those beyond the cut are not even suspected.
        left[0].ok("put", "of-left", "--value", "l")
        right[0].ok("put", "of-right", "--value", "r")
        assert left[1].ok("get", "of-left") == b"l"
        assert right[2].ok("get", "of-right") == b"r"
        assert left[1].ok("get", "common") == right[1].ok("get", "common") == b"before"
        left[1].ok("put", "common", "--value", "from the left")
        assert left[0].ok("get", "common") == b"from the left"
        ids = [{daemon.id for daemon in side} for side in (left, right)]
        until(lambda: left[0].alive() == ids[0] - {left[0].id} and right[0].alive() == ids[1] - {right[0].id}, 15)
        net.heal()
        print(f"one network again {meet(running, MEET_LIMIT_S):.2f} s after the cut was mended")

        def merged() -> bool:
            wanted = {"of-left": b"l", "of-right": b"r", "common": b"from the left"}
            return all(daemon.peer("get", key).out == value for daemon in running for key, value in wanted.items())

        print(f"all read the same {until(merged, 10):.2f} s later")


def test_with_a_tenth_of_the_packets_lost_writes_have_a_majority_and_reads_are_right(rng: random.Random) -> None:
    with Net(5) as net, Daemons() as daemons:
        running = [daemons.prepare(host).launch() for host in net.hosts]
        for daemon in running:
            daemon.wait_ready()
        meet(running)
        net.loss(LOSS_PERMILLE)
        copies: Counter[int] = Counter()
        slowest_s = 0.0
        for number in range(WRITES_UNDER_LOSS):
            writer, reader = rng.sample(running, 2)
            put = writer.json("put", f"key{number}", "--value", str(number))
            copies[put["copies"]] += 1
            got = reader.peer("get", f"key{number}")
            assert (got.code, got.out) == (0, str(number).encode()), got
            slowest_s = max(slowest_s, put["elapsed_ms"] / 1000, got.took_s)
        print(f"copies acknowledged: {dict(sorted(copies.items()))}; the slowest took {slowest_s * 1000:.0f} ms")
        content = rng.randbytes(2_500_000)
        running[0].ok("put", "large", "-", stdin=content)
        assert running[1].ok("get", "large") == content
        assert running[2].peer("get", "never-put").require_one_line(3)
        assert min(copies) >= 3
        # Suspected now and then, which clears itself; never buried.
        assert not {"dead", "left"} & {state for daemon in running for state in daemon.states().values()}
        net.loss(0)
        began = time.monotonic()
        until(lambda: all(running[0].json("stat", f"key{n}")["copies"] == 5 for n in range(WRITES_UNDER_LOSS)), 20)
        print(f"all on all five {time.monotonic() - began:.1f} s after the loss ended")
