"""Real daemons that come back: after an absence, from an old copy of their data directory, after a cut."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live.daemons import Daemon, Daemons, meet, until
from tests.live.netns import Net, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]

KEYS = 20
HEAL_LIMIT_S = 15.0


@pytest.fixture
def lan() -> Iterator[tuple[Net, list[Daemon]]]:
    with Net(4) as net, Daemons() as daemons:
        running = [daemons.start(host) for host in net.hosts]
        meet(running)
        yield net, running


def each(daemon: Daemon, *commands: list[str]) -> None:
    """Run commands, a few at a time."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda words: daemon.ok(*words), commands))


def before(daemon: Daemon) -> None:
    each(daemon, *(["put", f"{kind}/{n}", "--value", "old"] for kind in ("updated", "deleted") for n in range(KEYS)))


def after(daemon: Daemon) -> None:
    each(
        daemon,
        *(["put", f"updated/{n}", "--value", "new"] for n in range(KEYS)),
        *(["rm", f"deleted/{n}"] for n in range(KEYS)),
        *(["put", f"added/{n}", "--value", "new"] for n in range(KEYS)),
    )


def require_nothing_old(daemon: Daemon) -> None:
    for number in range(KEYS):
        consistency = ("one", "quorum")[number % 2]
        for kind in ("updated", "added"):
            assert daemon.ok("get", f"{kind}/{number}", "--consistency", consistency) == b"new"
        daemon.peer("get", f"deleted/{number}", "--consistency", consistency).require_one_line(3)


@pytest.mark.parametrize("restored", [False, True])
def test_one_that_was_away_serves_nothing_old(lan: tuple[Net, list[Daemon]], restored: bool) -> None:
    _, (alice, bob, carol, dave) = lan
    before(alice)
    if restored:
        dave.stop()
        backup = dave.home / "backup"
        shutil.copytree(dave.data, backup, ignore=shutil.ignore_patterns("*.sock"))
        dave.launch().wait_ready()
        meet([alice, bob, carol, dave])
        after(bob)
        dave.kill()
        shutil.rmtree(dave.data)
        backup.rename(dave.data)
    else:
        dave.kill()
        after(bob)
    dave.launch().wait_ready()
    require_nothing_old(dave)
    require_nothing_old(carol)
    for daemon in (alice, bob, carol):
        daemon.kill()
    until(lambda: dave.alive() == set(), 20)
    require_nothing_old_alone(dave)


def require_nothing_old_alone(daemon: Daemon) -> None:
    """What it has itself, when nobody else is left to ask."""
    for number in range(KEYS):
        assert daemon.ok("get", f"updated/{number}", "--consistency", "one") == b"new"
        assert daemon.ok("get", f"added/{number}", "--consistency", "one") == b"new"
        assert daemon.peer("get", f"deleted/{number}", "--consistency", "one").code != 0


def test_two_sides_of_a_cut_become_one_and_the_same(lan: tuple[Net, list[Daemon]]) -> None:
    net, (alice, bob, carol, dave) = lan
    before(alice)
    net.partition([net.hosts[0], net.hosts[1]], [net.hosts[2], net.hosts[3]])
    until(lambda: len(alice.alive()) == 1 and len(carol.alive()) == 1, 20)
    after(bob)
    each(carol, *(["put", f"there/{n}", "--value", "new"] for n in range(KEYS)))
    net.heal()
    meet([alice, bob, carol, dave], HEAL_LIMIT_S)
    healed = time.monotonic()
    until(
        lambda: all(found["divergent"] == 0 for found in (alice.json("audit"), dave.json("audit"))),
        30,
        lambda: [each for each in alice.json("audit")["keys"] if each["missing"] or each["differing"]][:3],
    )
    print(f"the same everywhere {time.monotonic() - healed:.1f} s after they met")
    require_nothing_old(dave)
    for number in range(KEYS):
        assert alice.ok("get", f"there/{number}") == b"new"
