"""Machines that die for good, that leave, and that come back on other hardware: nobody else notices."""

import time
from collections.abc import Callable

import pytest

from tests.live.daemons import Daemon, Daemons, meet, until
from tests.live.losing import QUICK, Reading, fill, restored_s, told
from tests.live.netns import Net, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]

KEYS = 60
KEY_BYTES = 4096
RESTORED_LIMIT_S = 60.0
SAME_PEER_LIMIT_S = 10.0


def test_two_holders_die_for_good_and_every_key_gets_its_copies_back() -> None:
    with Net(8) as net, Daemons() as daemons:
        running = [daemons.prepare(host, env=QUICK).launch() for host in net.hosts]
        for daemon in running:
            daemon.wait_ready()
        meet(running)
        contents = fill(running, KEYS, KEY_BYTES)
        left = running[:6]
        restored_s(left, list(contents), RESTORED_LIMIT_S)
        with Reading(running[0], contents) as reading:
            time.sleep(2)
            idle = reading.take()
            for daemon in running[6:]:
                daemon.kill()
            until(lambda: all(set(each.states().values()) == {"alive", "dead"} for each in left), 20)
            took_s = restored_s(left, list(contents), RESTORED_LIMIT_S)
            during = reading.take()
        print(told(idle, during, took_s, KEYS))
        assert not during.failed


@pytest.mark.parametrize("end", [Daemon.stop, Daemon.kill])
def test_a_data_directory_on_another_host_is_the_same_peer(end: Callable[[Daemon], object]) -> None:
    with Net(5) as net, Daemons() as daemons:
        running = [daemons.prepare(host).launch() for host in net.hosts[:4]]
        for daemon in running:
            daemon.wait_ready()
        meet(running)
        contents = fill(running[:1], 20, KEY_BYTES)
        mover, who = running[3], running[3].id
        with Reading(running[0], contents) as reading:
            time.sleep(0.5)
            end(mover)
            if end is Daemon.stop:
                until(lambda: running[0].states()[who] == "left", 5)
            mover.host = net.hosts[4]
            mover.launch().wait_ready()
            assert mover.id == who

            def known_there() -> bool:
                found = {peer["id"]: peer for peer in running[0].json("peers")}[who]
                return found["state"] == "alive" and found["address"] in ("10.77.0.5:7433", "[fd77::5]:7433")

            took_s = until(known_there, SAME_PEER_LIMIT_S, lambda: running[0].json("peers"))
            time.sleep(1)
            reads = reading.take()
        print(f"the same peer elsewhere after {took_s:.2f} s; {len(reads.took_s)} gets, p99 {reads.p99_s():.4f} s")
        assert not reads.failed
        assert mover.ok("get", "key-3") == contents["key-3"]
