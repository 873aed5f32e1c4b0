"""LAN discovery between hosts with interfaces, cables and filters of their own (mdns_peer runs in each)."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.live.netns import netns

pytestmark = pytest.mark.netns
__all__ = ["netns"]

AVAHI = all(shutil.which(tool) for tool in ("avahi-daemon", "avahi-browse", "dbus-daemon"))
ROOT = Path(__file__).resolve().parents[2]


class Speaker:
    """A process in a host that runs LAN discovery alone, and what it has said so far."""

    def __init__(self, host, folder, *options, number=None):
        self.number = host.index if number is None else number
        self.port = 7000 + self.number
        self._log = folder / f"{host.name}-{self.number}-{time.monotonic_ns()}"
        self.began = time.time()
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "tests.live.mdns_peer", str(self.number), str(self.port), *options]
            self.process = host.popen(command, stdout=log, cwd=ROOT)

    @property
    def events(self):
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.endswith("}")]

    def named(self, event):
        return [each for each in self.events if each["event"] == event]

    def heard(self, since=0.0):
        return {each["peer"]: each["addresses"] for each in self.named("candidate") if each["at"] >= since}

    def first(self, peer, since=0.0):
        return min(each["at"] for each in self.named("candidate") if each["peer"] == peer and each["at"] >= since)

    @property
    def state(self):
        return (self.named("state") or [{"announced": [], "problem": None, "ignored": {}}])[-1]

    @property
    def announced(self):
        return {name: [ip for ip, _ in addresses] for name, addresses in self.state["announced"]}


def until(claim, timeout_s, what=lambda: ""):
    end = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < end, what()
        time.sleep(0.05)


def all_meet(speakers, timeout_s, since=0.0):
    everybody = {speaker.number for speaker in speakers}

    def missing():
        return {each.number: everybody - {each.number} - set(each.heard(since)) for each in speakers}

    until(lambda: not any(missing().values()), timeout_s, lambda: f"not heard: {missing()}")


def started(speaker):
    until(lambda: speaker.named("started"), 10)


def test_five_hosts_started_within_a_second_all_find_each_other_in_three(netns, tmp_path):
    net = netns(5)
    order = random.Random(5).sample(net.hosts, 5)
    speakers = []
    for host in order:
        speakers.append(Speaker(host, tmp_path))
        time.sleep(0.2)
    for speaker in speakers:
        started(speaker)
    last = max(speaker.named("started")[0]["at"] for speaker in speakers)
    all_meet(speakers, 8)
    met = max(each.first(other.number) for each in speakers for other in speakers if other is not each)
    print(f"all of 5 met {met - last:.2f} s after the last had started")
    assert met - last < 3
    for speaker in speakers:
        host = net.hosts[speaker.number]
        for other in speakers:
            if other is not speaker:
                assert [host.address, speaker.port] in other.heard()[speaker.number]
                assert [host.address6, speaker.port] in other.heard()[speaker.number]


def test_two_started_while_unplugged_meet_when_the_cable_is_in(netns, tmp_path):
    net = netns(2)
    net.unplug(*net.hosts)
    speakers = [Speaker(host, tmp_path) for host in net.hosts]
    for speaker in speakers:
        started(speaker)
    time.sleep(8)
    assert not any(speaker.heard() for speaker in speakers)
    healed = time.time()
    net.plug(*net.hosts)
    all_meet(speakers, 15, since=healed)
    report("unplugged", speakers, healed)


def test_two_started_while_a_switch_between_is_cut_meet_when_it_is_back(netns, tmp_path):
    """Neither sees its carrier go: no event tells them to speak, they do because they are lonely."""
    net = netns(2)
    net.partition([net.hosts[0]], [net.hosts[1]])
    speakers = [Speaker(host, tmp_path) for host in net.hosts]
    for speaker in speakers:
        started(speaker)
    time.sleep(12)
    assert not any(speaker.heard() for speaker in speakers)
    healed = time.time()
    net.heal()
    all_meet(speakers, 15, since=healed)
    report("cut", speakers, healed)


def test_a_peer_in_company_hears_a_lonely_one_that_was_cut_off(netns, tmp_path):
    net = netns(3)
    net.partition(net.hosts[:2], [net.hosts[2]])
    company = [Speaker(host, tmp_path, "--lonely", "never") for host in net.hosts[:2]]
    lonely = Speaker(net.hosts[2], tmp_path)
    all_meet(company, 5)
    time.sleep(5)
    healed = time.time()
    net.heal()
    all_meet([*company, lonely], 15, since=0)
    assert company[0].first(2) - healed < 15


def test_a_cable_pulled_and_put_back_is_met_again_by_peers_in_company(netns, tmp_path):
    net = netns(2)
    speakers = [Speaker(host, tmp_path, "--lonely", "never") for host in net.hosts]
    all_meet(speakers, 5)
    net.hosts[1].unplug()
    until(lambda: speakers[1].announced.keys() == {"lo"}, 6)
    plugged = time.time()
    net.hosts[1].plug()
    all_meet(speakers, 8, since=plugged)
    report("pulled and put back, not lonely", speakers, plugged)


def test_each_interface_is_told_its_own_addresses_only(netns, tmp_path):
    net = netns(2)
    alice, bob = net.hosts
    lan = net.add_lan([alice])
    carol = net.add_host(lan)
    speakers = [Speaker(host, tmp_path) for host in (alice, bob, carol)]
    until(lambda: 0 in speakers[1].heard() and 0 in speakers[2].heard() and len(speakers[0].heard()) == 2, 6)
    assert {ip for ip, _ in speakers[1].heard()[0]} == {alice.address, alice.address6}
    assert {ip for ip, _ in speakers[2].heard()[0]} == {alice.address_on(lan), alice.address6_on(lan)}
    assert 1 not in speakers[2].heard() and 2 not in speakers[1].heard()


@pytest.mark.parametrize("by_name", [True, False])
def test_only_the_chosen_interface_is_spoken_and_heard_on(netns, tmp_path, by_name):
    net = netns(2)
    alice, bob = net.hosts
    lan = net.add_lan([alice])
    carol = net.add_host(lan)
    chosen = Speaker(alice, tmp_path, "--interface", "eth0" if by_name else alice.address, "--lonely", "always")
    # Another program's membership on the other interface must not open our ears there.
    listener = alice.popen([sys.executable, "-c", JOIN.format(address=alice.address_on(lan), device=f"eth{lan}")])
    others = [Speaker(host, tmp_path, "--lonely", "always") for host in (bob, carol)]
    all_meet([chosen, others[0]], 5)
    time.sleep(5)
    assert chosen.announced == {"eth0": [alice.address, alice.address6] if by_name else [alice.address]}
    assert 2 not in chosen.heard() and 0 not in others[1].heard()
    assert listener.poll() is None


JOIN = """
import socket, time
def bound(family, any_address):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind((any_address, 5353))
    return s
group = socket.inet_aton("224.0.0.251")
s4, s6 = bound(socket.AF_INET, ""), bound(socket.AF_INET6, "::")
s4.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + socket.inet_aton("{address}"))
index = socket.if_nametoindex("{device}").to_bytes(4, "little")
s6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, "ff02::fb") + index)
time.sleep(60)
"""


def test_bridges_of_containers_and_tunnels_are_not_announced_unless_asked_for(netns, tmp_path):
    net = netns(2)
    alice, bob = net.hosts
    for index, name in enumerate(["docker0", "br-0123456789ab", "wg0", "tailscale0"]):
        alice.ip(
            f"link add {name} type veth peer name other{index}",
            f"link set {name} up",
            f"link set other{index} up",
            f"addr add 10.88.{index}.1/24 dev {name}",
        )
    speakers = [Speaker(alice, tmp_path), Speaker(bob, tmp_path)]
    all_meet(speakers, 5)
    assert speakers[0].announced == {"eth0": [alice.address, alice.address6]}
    assert {ip for ip, _ in speakers[1].heard()[0]} == {alice.address, alice.address6}
    asked = Speaker(alice, tmp_path, "--interface", "docker0", "--interface", "10.88.2.1", number=7)
    until(lambda: asked.announced == {"docker0": ["10.88.0.1"], "wg0": ["10.88.2.1"]}, 5)


def test_a_changed_address_is_announced_without_a_restart(netns, tmp_path):
    net = netns(2)
    alice = net.hosts[0]
    speakers = [Speaker(host, tmp_path, "--lonely", "never") for host in net.hosts]
    all_meet(speakers, 5)
    changed = time.time()
    alice.ip("addr del 10.77.0.1/24 dev eth0", "addr add 10.77.0.99/24 dev eth0", "route add 224.0.0.0/4 dev eth0")
    until(lambda: ["10.77.0.99", 7000] in speakers[1].heard(changed).get(0, []), 8)
    until(lambda: ["10.77.0.1", 7000] not in speakers[1].heard(changed)[0], 8)
    assert speakers[0].announced == {"eth0": ["10.77.0.99", alice.address6]}


def test_an_interface_that_comes_later_is_used(netns, tmp_path):
    net = netns(0)
    alice, bob = net.add_host(), net.add_host()
    speakers = [Speaker(host, tmp_path) for host in (alice, bob)]
    until(lambda: all(speaker.announced.keys() == {"lo"} for speaker in speakers), 5)
    plugged = time.time()
    lan = net.add_lan([alice, bob])
    all_meet(speakers, 8, since=plugged)
    assert speakers[0].heard()[1] == [[bob.address_on(lan), 7001], [bob.address6, 7001]]


def test_peers_of_one_host_without_a_network_meet_on_the_loopback(netns, tmp_path):
    net = netns(0)
    host = net.add_host()
    speakers = [Speaker(host, tmp_path, number=number) for number in range(3)]
    all_meet(speakers, 5)


def test_peers_of_one_host_meet_on_its_lan_too(netns, tmp_path):
    net = netns(2)
    speakers = [Speaker(net.hosts[0], tmp_path, number=number) for number in (0, 10, 11)]
    speakers.append(Speaker(net.hosts[1], tmp_path))
    all_meet(speakers, 5)


def test_peers_of_another_network_are_counted_and_ignored(netns, tmp_path):
    net = netns(3)
    speakers = [Speaker(host, tmp_path) for host in net.hosts[:2]]
    stranger = Speaker(net.hosts[2], tmp_path, "--network", "fedcba9876543210")
    all_meet(speakers, 5)
    until(lambda: speakers[0].state["ignored"].get("mdns_network", 0) > 0, 5)
    assert 2 not in speakers[0].heard() and not stranger.heard()


def test_a_filter_on_this_host_is_a_problem_told_and_is_gone_with_it(netns, tmp_path):
    net = netns(2)
    alice = net.hosts[0]
    alice.run(["nft", "add table inet filter"])
    alice.run(["nft", "add chain inet filter input { type filter hook input priority 0; }"])
    alice.run(["nft", "add rule inet filter input udp dport 5353 drop"])
    speakers = [Speaker(host, tmp_path) for host in net.hosts]
    until(lambda: "do not come back" in (speakers[0].state["problem"] or ""), 10)
    assert 0 in speakers[1].heard()  # what we say may still be heard
    alice.run(["nft", "flush ruleset"])
    until(lambda: speakers[0].state["problem"] is None, 10)
    all_meet(speakers, 10)


def test_a_port_held_by_another_program_is_told_and_tried_again(netns, tmp_path):
    net = netns(2)
    alice = net.hosts[0]
    hold = "import socket,time; s=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM); s.bind(('::',5353)); time.sleep(6)"
    holder = alice.popen([sys.executable, "-c", hold])
    until(lambda: ":5353" in alice.run(["ss", "-lun"]).stdout, 5)
    speakers = [Speaker(host, tmp_path) for host in net.hosts]
    until(lambda: "in use" in (speakers[0].state["problem"] or ""), 5)
    holder.wait(10)
    all_meet(speakers, 15)
    until(lambda: speakers[0].state["problem"] is None, 5)


def test_no_route_for_multicast_is_no_hindrance(netns, tmp_path):
    net = netns(2)
    for host in net.hosts:
        host.ip("route del 224.0.0.0/4 dev eth0")
    all_meet([Speaker(host, tmp_path) for host in net.hosts], 5)


def test_mdns_blocked_in_the_network_is_silence_and_no_failure(netns, tmp_path):
    net = netns(2)
    net.block_mdns()
    speakers = [Speaker(host, tmp_path) for host in net.hosts]
    time.sleep(6)
    assert not any(speaker.heard() for speaker in speakers)
    allowed = time.time()
    net.allow_mdns()
    all_meet(speakers, 15, since=allowed)


def test_a_lossy_lan_is_enough(netns, tmp_path):
    net = netns(4)
    net.loss(300)
    all_meet([Speaker(host, tmp_path, "--lonely", "always") for host in net.hosts], 15)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_goodbye_is_sent_and_no_thread_is_left(netns, tmp_path, loop):
    net = netns(2)
    options = ["--uvloop"] if loop == "uvloop" else []
    speakers = [Speaker(host, tmp_path, "--lonely", "always", *options) for host in net.hosts]
    all_meet(speakers, 5)
    speakers[0].process.terminate()
    until(lambda: speakers[0].named("stopped"), 5)
    said = time.time()
    assert speakers[0].process.wait(5) == 0
    assert speakers[0].named("stopped")[0]["threads"] == 1
    time.sleep(6)
    assert not speakers[1].heard(said + 0.5)


def test_it_costs_little_memory_and_processor(netns, tmp_path):
    net = netns(5)
    speakers = [Speaker(host, tmp_path, "--lonely", "always", "--uvloop") for host in net.hosts]
    all_meet(speakers, 5)
    time.sleep(10)
    for speaker in speakers:
        speaker.process.terminate()
    for speaker in speakers:
        assert speaker.process.wait(5) == 0
    costs = [speaker.named("started")[0]["cost_kib"] for speaker in speakers]
    ends = [speaker.named("stopped")[0] for speaker in speakers]
    begins = [speaker.named("started")[0]["rss_kib"] for speaker in speakers]
    print(
        f"zeroconf in KiB: {costs}; later {[end['rss_kib'] - begin for end, begin in zip(ends, begins, strict=True)]}"
    )
    print(f"processor in s, start of Python included: {[end['cpu_s'] for end in ends]}")
    assert max(costs) < 10_000


def report(what, speakers, since):
    met = max(each.first(other.number, since) for each in speakers for other in speakers if other is not each)
    print(f"{what}: met {met - since:.2f} s after")


def test_it_is_seen_by_other_dns_sd_programs(netns, tmp_path):
    net = netns(2)
    speaker = Speaker(net.hosts[0], tmp_path)
    started(speaker)
    found = net.hosts[1].run([sys.executable, "-c", BROWSE], timeout=10).stdout
    service = json.loads(found)
    assert service["port"] == 7000 and service["addresses"][0] == net.hosts[0].address
    assert (
        service["txt"]["v"] == "1" and service["txt"]["net"] == "0123456789abcdef" and len(service["txt"]["id"]) == 52
    )
    assert service["name"] == f"{service['txt']['id']}-01234567._peerd._udp.local."


BROWSE = """
import json, queue, sys
from zeroconf import ServiceBrowser, Zeroconf
names = queue.Queue()
class Listener:
    def add_service(self, zc, type_, name): names.put(name)
    def update_service(self, *_): pass
    def remove_service(self, *_): pass
zc = Zeroconf(); ServiceBrowser(zc, "_peerd._udp.local.", Listener())
info = zc.get_service_info("_peerd._udp.local.", names.get(timeout=6))
said = {"name": info.name, "port": info.port, "addresses": info.parsed_addresses(), "txt": info.decoded_properties}
print(json.dumps(said))
zc.close()
"""


@pytest.mark.skipif(not AVAHI, reason="not installed: avahi-daemon, avahi-utils, dbus-daemon")
def test_avahi_shows_it_and_lives_beside_it_on_one_host(netns, tmp_path):
    net = netns(2)
    bob = net.hosts[1]
    with tempfile.TemporaryDirectory() as folder:  # short: a socket's path has 107 bytes at most
        browser = avahi(bob, Path(folder))
        speakers = [Speaker(host, tmp_path, "--lonely", "always") for host in net.hosts]
        all_meet(speakers, 8)
        log = Path(folder, "log")
        until(lambda: "startup complete" in log.read_text(), 5, log.read_text)
        shown = bob.run(["avahi-browse", "--resolve", "--terminate", "--parsable", "_peerd._udp"], env=browser).stdout
    lines = [line.split(";") for line in shown.splitlines() if line.startswith("=;eth0;")]
    by_port = {line[8]: line for line in lines}
    assert by_port.keys() == {"7000", "7001"}, shown
    for host in net.hosts:
        line = by_port[str(7000 + host.index)]
        assert line[7] in (host.address, host.address6)
        assert '"v=1"' in line[9] and '"net=0123456789abcdef"' in line[9] and '"id=' in line[9]


BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={folder}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/><allow user="*"/></policy></busconfig>
"""


def avahi(host, folder):
    """Run an avahi-daemon in a host, on a bus of its own; return the environment of its clients."""
    (folder / "bus.conf").write_text(BUS.format(folder=folder))
    (folder / "avahi.conf").write_text("[server]\nallow-interfaces=eth0\n[publish]\npublish-workstation=no\n")
    env = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder}/bus"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    host.popen(["dbus-daemon", "--config-file", folder / "bus.conf", "--nofork"], **quiet)
    until((folder / "bus").exists, 5)
    # Its socket has a fixed place; a command in a host has mounts of its own, so the machine's is not touched.
    private = "mount -t tmpfs none /run && mkdir /run/avahi-daemon"
    start = "exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f"
    with (folder / "log").open("wb") as log:
        host.popen(["sh", "-c", f"{private} && {start} {folder}/avahi.conf"], env=env, stdout=log, stderr=log)
    return env


def test_hosts_with_nothing_but_ipv6_meet_and_wait_until_an_address_is_proven_theirs(netns, tmp_path):
    net = netns(2)
    for host in net.hosts:
        host.ip("addr flush dev eth0", f"addr add {host.address6}/64 dev eth0")
    speakers = [Speaker(host, tmp_path) for host in net.hosts]
    all_meet(speakers, 10)
    assert speakers[0].heard()[1] == [[net.hosts[1].address6, 7001]]
    assert not [state for state in speakers[0].named("state") if "eth0" in (state["problem"] or "")]
