"""Some of many hosts die for good while a user reads: how long until every key has its copies again."""

import time
from collections.abc import Sequence

from tests.live.daemons import Daemon, Daemons, meet, until
from tests.live.losing import QUICK, Reading, fill, restored_s, told
from tests.live.netns import Net

KEY_BYTES = 4096
POLL_S = 0.5
LIMIT_S = 120.0


def lose(hosts: int, keys: int, dead: int) -> str:
    """Fill, kill, wait until all is whole; return what was measured. Raises AssertionError where a read failed."""
    with Net(hosts) as net, Daemons() as daemons:
        running = [daemons.prepare(host, env=QUICK).launch() for host in net.hosts]
        for daemon in running:
            daemon.wait_ready()
        meet(running, 30)
        contents = fill(running, keys, KEY_BYTES)
        left = running[: hosts - dead]
        missing_until_none(left)
        with Reading(running[0], contents) as reading:
            time.sleep(5)
            idle = reading.take()
            began = time.monotonic()
            for daemon in running[hosts - dead :]:
                daemon.kill()
            until(lambda: paused(all(set(each.states().values()) == {"alive", "dead"} for each in left)), LIMIT_S)
            noticed_s = time.monotonic() - began
            missing_until_none(left)
            took_s = time.monotonic() - began
            during = reading.take()
        restored_s(left, list(contents), LIMIT_S + keys)
        assert not during.failed, during.failed[:5]
        return f"{dead} of {hosts} hosts dead, noticed by all after {noticed_s:.1f} s; " + told(
            idle, during, took_s, keys
        )


def missing_until_none(left: Sequence[Daemon]) -> None:
    """Wait until no daemon misses copies."""
    until(lambda: paused(not any(daemon.status()["repair"]["missing_copies"] for daemon in left)), LIMIT_S)


def paused(holds: bool) -> bool:
    """Return what was asked, slowly: asking is work for those who repair."""
    if not holds:
        time.sleep(POLL_S)
    return holds
