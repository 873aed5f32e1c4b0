"""A stranger on the LAN of three real daemons says by mDNS whatever hurts (tests.hostile.mdns), hundreds of packets a
second: nobody is lost, whoever comes is found, and what is said ends nowhere.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerd.ids import network_digest, network_id
from tests.live.daemons import Daemon, Daemons, meet, until
from tests.live.netns import Net, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]

ROOT = Path(__file__).parents[2]
DAEMONS = 3
ATTACK_S = 14.0
FOUND_LIMIT_S = 10.0
GROWTH_MAX_KB = 16 * 1024
# Hellos at the places that were invented: of some forty peers that one speaker may name in that time, each daemon says
# eight to each.
CAME_MAX = 4 * 48 * 8

# All that a terminal acts on, but for the end of a line: C0, DEL, C1, and what changes the direction of text.
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069]")


class Scene:
    """The daemons, one more host for who comes later, and the attack while it goes on."""

    def __init__(self, net: Net, daemons: Daemons) -> None:
        self.net = net
        self.daemons = daemons
        self.all = [daemons.prepare(host, "--log-level", "debug") for host in net.hosts[:DAEMONS]]

    def attack(self, seconds: float) -> "subprocess.Popen[bytes]":
        host = self.net.hosts[-1]
        victims = [word for each in self.all if each.id for word in ("--victim", each.id)]
        own = ["--own", host.address, "--network", network_digest(network_id("default"))]
        command = [sys.executable, "-m", "tests.hostile.mdns", *own, "--seconds", str(seconds), *victims]
        return host.popen(command, cwd=ROOT, stdout=subprocess.PIPE)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Net(DAEMONS + 2) as net, Daemons() as daemons:
        yield Scene(net, daemons)


def rss_kb(daemons: list[Daemon]) -> list[int]:
    return [each.memory_kb()["VmRSS"] for each in daemons]


def test_a_hostile_speaker_costs_no_peer_and_hides_none(scene: Scene) -> None:
    for each in scene.all:
        each.launch()
    for each in scene.all:
        each.wait_ready()
    meet(scene.all)
    everybody = {each.id for each in scene.all}
    before = rss_kb(scene.all)
    attack = scene.attack(ATTACK_S)
    late: Daemon | None = None
    found_s = 0.0
    began = time.monotonic()
    while attack.poll() is None:
        for each in scene.all:
            lost = everybody - {each.id} - each.alive()
            assert not lost, f"{each.name} lost {lost} after {time.monotonic() - began:.1f} s: {each.log[-3000:]}"
        if late is None and time.monotonic() - began > 3:
            late = scene.daemons.start(scene.net.hosts[DAEMONS])
            found_s = meet([*scene.all, late], FOUND_LIMIT_S)
    assert late is not None
    done = json.loads(attack.stdout.read()) if attack.stdout is not None else {}
    grown = [after - was for after, was in zip(rss_kb(scene.all), before, strict=True)]
    print(f"{done}, found after {found_s:.1f} s, memory +{max(grown)} KiB")
    assert done["sent"] > 100 * ATTACK_S, "hardly anything was sent"
    assert 0 < done["came"] < CAME_MAX, "so many greeted what was invented"
    assert max(grown) <= GROWTH_MAX_KB
    scene.all.append(late)
    for each in scene.all[:DAEMONS]:
        rejected = each.status()["rejected"]
        assert rejected["mdns_flood"] > 0 and rejected["mdns_crowd"] > 0 and rejected["mdns_impostor"] > 0, rejected
        shown = each.log + each.ok("peers").decode() + each.ok("status").decode() + each.ok("--json", "peers").decode()
        assert not CONTROL.search(shown), repr(CONTROL.findall(shown)[:5])
        assert "Traceback" not in each.log and " ERROR " not in each.log, each.log[-5000:]
    scene.all[0].ok("put", "afterwards", "--value", "sound")
    assert late.ok("get", "afterwards") == b"sound"


def test_daemons_that_start_in_the_midst_of_it_find_each_other(scene: Scene) -> None:
    attack = scene.attack(FOUND_LIMIT_S + 4)
    for each in scene.all:
        each.launch()
    for each in scene.all:
        each.wait_ready()
    found_s = meet(scene.all, FOUND_LIMIT_S)
    print(f"found after {found_s:.1f} s")
    until(lambda: all("mdns_crowd" in each.status()["rejected"] for each in scene.all), FOUND_LIMIT_S)
    assert attack.poll() is None, "it was over before"
