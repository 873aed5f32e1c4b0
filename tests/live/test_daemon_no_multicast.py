"""Where multicast does not help: peers meet by --bootstrap, by memory, by asking again; and what they announce."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons, meet, until
from tests.live.netns import Host, Net, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]

MEET_AGAIN_LIMIT_S = 15.0
CUT_S = 8.0


@contextlib.contextmanager
def host_names(host: Host, names: dict[str, str]) -> Iterator[None]:
    """Give commands in `host` an /etc/hosts of their own: `ip netns exec` binds the file over it."""
    folder = Path("/etc/netns") / host.namespace
    made_parent = not folder.parent.exists()
    folder.mkdir(parents=True)
    try:
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in names.items())]
        (folder / "hosts").write_text("\n".join(lines) + "\n")
        yield
    finally:
        (folder / "hosts").unlink()
        folder.rmdir()
        if made_parent:
            folder.parent.rmdir()


def test_bootstrap_by_address_and_by_name_joins_and_is_remembered_across_a_restart_of_all(tmp_path: Path) -> None:
    with Net(3) as net, Daemons() as daemons:
        net.block_mdns()
        first, second, third = net.hosts
        alice = daemons.start(first)
        with host_names(third, {"alice.lab": first.address}):
            bob = daemons.start(second, "--bootstrap", f"{first.address}:7433")
            carol = daemons.start(third, "--bootstrap", "alice.lab:7433")
            everybody = [alice, bob, carol]
            print(f"met by --bootstrap {meet(everybody, 5):.2f} s after the last was ready")
        alice.ok("put", "kept", "--value", "through restarts")
        assert carol.ok("get", "kept") == b"through restarts"
        sources = {peer["id"]: peer["source"] for peer in bob.json("peers")}
        assert sources[alice.id] == "bootstrap" and sources[carol.id] == "overlay"

        ids = [daemon.id for daemon in everybody]
        for daemon in everybody:
            daemon.stop()
            daemon.flags = []
        # Nobody names anybody now, and multicast is dropped: all they have is their memory.
        for daemon in everybody:
            daemon.launch()
        for daemon in everybody:
            daemon.wait_ready()
        assert [daemon.id for daemon in everybody] == ids
        print(f"met by memory {meet(everybody, 10):.2f} s after the last was ready")
        assert {peer["source"] for daemon in everybody for peer in daemon.json("peers")} <= {"remembered", "overlay"}
        assert bob.ok("get", "kept") == b"through restarts"

        # The same after a power cut: nobody could say goodbye or write anything down.
        for daemon in everybody:
            daemon.kill()
        for daemon in everybody:
            daemon.launch()
        for daemon in everybody:
            daemon.wait_ready()
        print(f"met by memory after kill -9 of all {meet(everybody, 15):.2f} s after the last was ready")
        assert carol.ok("get", "kept") == b"through restarts"


def test_a_bootstrap_that_comes_later_is_found_and_one_that_is_wrong_stops_nothing(tmp_path: Path) -> None:
    with Net(2) as net, Daemons() as daemons:
        net.block_mdns()
        first, second = net.hosts
        flags = ["--bootstrap", f"{first.address}:7433", "--bootstrap", "no-such-host.invalid:7433"]
        bob = daemons.start(second, *flags)
        bob.ok("put", "early", "--value", "bird")
        alice = daemons.start(first)
        print(f"met {meet([alice, bob], MEET_AGAIN_LIMIT_S):.2f} s after the named one was ready")
        assert alice.ok("get", "early") == b"bird"


@pytest.mark.parametrize("cable", ["unplugged", "switch cut"])
def test_two_started_while_cut_from_each_other_meet_when_the_link_is_back(cable: str) -> None:
    with Net(2) as net, Daemons() as daemons:
        first, second = net.hosts
        if cable == "unplugged":
            net.unplug(first, second)
        else:
            net.partition([first], [second])
        alice, bob = daemons.start(first), daemons.start(second)
        alice.ok("put", "mine", "--value", "a")
        bob.ok("put", "yours", "--value", "b")
        alice.ok("put", "both", "--value", "from alice")
        bob.ok("put", "both", "--value", "from bob")
        assert bob.peer("get", "mine").require_one_line(3)
        if cable == "switch cut":
            # Neither sees its carrier go. By now a browser that backs off would ask no more for a minute.
            time.sleep(CUT_S)
        assert not alice.alive() and not bob.alive()
        if cable == "unplugged":
            net.plug(first, second)
        else:
            net.heal()
        took_s = meet([alice, bob], MEET_AGAIN_LIMIT_S)
        print(f"{cable}: met {took_s:.2f} s after the link was back")
        assert bob.ok("get", "mine") == b"a"
        assert alice.ok("get", "yours") == b"b"
        # Two histories of one name: the same winner everywhere, and what lost is kept as a conflict.
        until(lambda: alice.ok("get", "both") == bob.ok("get", "both"), 5)
        winner = alice.ok("get", "both")
        assert winner in (b"from alice", b"from bob")
        for each in (alice, bob):
            until(
                lambda each=each: len(each.json("stat", "both")["conflicts"]) == 1, 5, lambda: bob.json("stat", "both")
            )


def announced(daemon: Daemon, host: Host) -> set[str]:
    """Return the addresses that others hear for `daemon`: what zeroconf resolves in another host."""
    script = (
        "import json, socket, time\n"
        "from zeroconf import IPVersion, ServiceBrowser, ServiceListener, Zeroconf\n"
        "class Hear(ServiceListener):\n"
        "    def add_service(self, zc, kind, name): names.add(name)\n"
        "    def update_service(self, zc, kind, name): names.add(name)\n"
        "    def remove_service(self, zc, kind, name): names.discard(name)\n"
        "names = set(); zc = Zeroconf(); ServiceBrowser(zc, '_peerd._udp.local.', Hear()); found = {}\n"
        "end = time.monotonic() + 4\n"
        "while time.monotonic() < end and not found:\n"
        "    time.sleep(0.05)\n"
        "    for name in list(names):\n"
        "        info = zc.get_service_info('_peerd._udp.local.', name, 2000)\n"
        f"        if info and info.properties.get(b'id') == {daemon.id.encode()!r}:\n"
        "            found = {'addresses': info.parsed_addresses(IPVersion.All),\n"
        "                     'txt': {k.decode(): v.decode() for k, v in info.properties.items()}}\n"
        "zc.close(); print(json.dumps(found))\n"
    )
    found = json.loads(host.run([sys.executable, "-c", script]).stdout)
    assert not found or set(found["txt"]) >= {"id", "v", "net"}, found
    return set(found.get("addresses", []))


def test_containers_and_tunnels_are_not_announced_and_interfaces_can_be_chosen() -> None:
    with Net(2) as net, Daemons() as daemons:
        first, second = net.hosts
        other_lan = net.add_lan([first, second])
        first.ip(
            "link add docker0 type bridge",
            "addr add 172.17.0.1/16 dev docker0",
            "link set docker0 up",
            "tuntap add dev tun0 mode tun",
            "addr add 10.8.0.6/24 dev tun0",
            "link set tun0 up",
        )
        alice = daemons.start(first)
        heard = announced(alice, second)
        lan_addresses = {first.address, first.address6, first.address_on(other_lan), first.address6_on(other_lan)}
        assert first.address in heard and first.address_on(other_lan) in heard
        assert not heard - lan_addresses - {address for address in heard if address.startswith("fe80")}, heard
        alice.stop()

        bob = daemons.start(first, name="bob", env={"PEERD_INTERFACES": f"eth{other_lan}"})
        heard = announced(bob, second)
        assert first.address_on(other_lan) in heard and first.address not in heard, heard
        bob.stop()

        carol = daemons.start(first, "--no-mdns", name="carol")
        assert announced(carol, second) == set()


def test_peers_on_two_lans_meet_through_the_one_that_is_on_both(tmp_path: Path) -> None:
    with Net(2) as net, Daemons() as daemons:
        alice_host, bob_host = net.hosts
        lan = net.add_lan([bob_host])
        carol_host = net.add_host(lan)
        alice, bob, carol = (daemons.start(host) for host in (alice_host, bob_host, carol_host))
        until(lambda: bob.alive() >= {alice.id, carol.id} and bob.id in alice.alive() & carol.alive(), 10)
        (tmp_path / "file").write_bytes(b"x" * 100_000)
        alice.ok("put", "across", tmp_path / "file")
        assert bob.ok("get", "across") == b"x" * 100_000
        alice.ok("put", "short", "--value", "v")
        # Carol cannot reach alice, who wrote it: bob has it too.
        assert carol.ok("get", "short") == b"v"
