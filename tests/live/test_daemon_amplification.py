"""Nobody is flooded through a daemon: to an address that was not proven it sends no more bytes than came from there."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.hostile.flood import FORGED_KINDS
from tests.live.daemons import Daemons, until
from tests.live.netns import Host, Net, why_not

COUNT = 400
TESTS = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.netns,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or ""),
]


def count_between(net: Net, ways: dict[str, tuple[Host, Host]]) -> None:
    """Count the UDP bytes that pass the switch on each of these ways, under the name given."""
    rules = "".join(
        f'iifname "{source.ports[0]}" oifname "{target.ports[0]}" ip protocol udp counter name {name}\n'
        for name, (source, target) in ways.items()
    )
    counters = "".join(f"counter {name} {{ }}\n" for name in ways)
    net.nft(f"table bridge counted {{\n{counters}chain passing {{ type filter hook forward priority 0;\n{rules}}}\n}}")


def counted(net: Net, name: str) -> tuple[int, int]:
    """Return the packets and bytes counted so far."""
    found = re.search(r"packets (\d+) bytes (\d+)", net.nft(f"list counter bridge counted {name}"))
    assert found is not None
    return int(found[1]), int(found[2])


def test_a_forged_sender_gets_no_more_bytes_than_were_sent_in_its_name() -> None:
    with Net(3) as net, Daemons() as daemons:
        victim, mallory, carol = net.hosts
        alice = daemons.start(victim, "--no-mdns")
        count_between(net, {"asked": (mallory, victim), "reflected": (victim, carol)})
        target, source = f"{victim.address}:7433", f"{carol.address}:4000"
        for kind in FORGED_KINDS:
            before = counted(net, "asked"), counted(net, "reflected")
            forger = [sys.executable, "-m", "tests.hostile.flood", "forged", target, "--source", source]
            done = mallory.run([*forger, "--kind", kind, "--count", str(COUNT)], cwd=TESTS)
            assert json.loads(done.stdout.splitlines()[-1])["sent"] == COUNT
            alice.status()  # it has read what was sent before it answers
            answered = kind in ("hello", "unknown_session")
            if answered:
                until(lambda: counted(net, "reflected")[0] - before[1][0] >= COUNT * 0.9, 5)  # noqa: B023
            asked = counted(net, "asked")[1] - before[0][1]
            reflected = counted(net, "reflected")[1] - before[1][1]
            print(f"{kind}: {asked} B asked, {reflected} B reflected: {reflected / asked:.2f}")
            assert asked >= COUNT * 28
            assert reflected <= asked
            assert answered or reflected == 0
