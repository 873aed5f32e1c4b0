"""The kit's own claims: each fault does what it says to two pinging hosts, and nothing stays behind."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.live.netns import Net, netns, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]
__all__ = ["netns"]

# Answers each datagram; the other asks `count` times and prints how many answers came.
ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 7777)); print("ready", flush=True)
while True:
    data, address = s.recvfrom(65536); s.sendto(data, address)
"""
ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(float(sys.argv[4])); answers = 0
for _ in range(int(sys.argv[2])):
    s.sendto(b"x" * int(sys.argv[3]), (sys.argv[1], 7777))
    try: s.recv(65536); answers += 1
    except OSError: pass
print(answers)
"""
HEAR = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 7777)); s.settimeout(1); print("up", flush=True)
print(s.recv(9))
"""
SAY = """
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hi", (sys.argv[1], 7777))
"""
LEAVE = """
import os
from tests.live.netns import Net
print(Net(1).__enter__().switch, flush=True)
os._exit(9)
"""
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}


def echo(host):
    process = host.popen([sys.executable, "-c", ECHO], **PIPES)
    assert process.stdout.readline() == "ready\n"
    return process


def answers(asker, host, count=2, size=8, wait=0.3):
    done = asker.run([sys.executable, "-c", ASK, host.address, str(count), str(size), str(wait)])
    return int(done.stdout)


def say(sender, receiver):
    sender.run([sys.executable, "-c", SAY, receiver.address])


def test_partition_cuts_the_sides_and_nobody_else(netns):
    net = netns(3)
    alice, bob, carol = net.hosts
    for host in net.hosts:
        echo(host)
    assert answers(alice, bob) == 2
    net.partition([alice], [bob])
    assert answers(alice, bob) == answers(bob, alice) == 0
    assert answers(alice, carol) == answers(bob, carol) == 2
    net.heal()
    assert answers(alice, bob) == 2


def test_a_cut_is_one_way(netns):
    net = netns(2)
    alice, bob = net.hosts
    hears = {alice: "", bob: "b'hi'\n"}
    # Both know the other's hardware address, so that what is cut is the datagram and not the asking for it.
    say(alice, bob)
    say(bob, alice)
    time.sleep(0.1)
    net.cut(bob, alice)
    for receiver, sender in ((alice, bob), (bob, alice)):
        heard = receiver.popen([sys.executable, "-c", HEAR], **PIPES)
        heard.stdout.readline()
        say(sender, receiver)
        assert heard.communicate(timeout=5)[0] == hears[receiver]


def test_an_unplugged_host_sees_its_carrier_go(netns):
    net = netns(2)
    alice, bob = net.hosts
    echo(bob)
    bob.unplug()
    assert "NO-CARRIER" in bob.run(["ip", "link", "show", "eth0"]).stdout
    assert bob.address in bob.run(["ip", "addr", "show", "eth0"]).stdout
    assert answers(alice, bob) == 0
    bob.plug()
    assert "NO-CARRIER" not in bob.run(["ip", "link", "show", "eth0"]).stdout
    assert answers(alice, bob, count=5) > 0  # the first may be lost while the hardware address is asked for


def test_loss_and_size_are_as_asked(netns):
    net = netns(2)
    alice, bob = net.hosts
    echo(bob)
    assert answers(alice, bob) == 2  # now they know each other's hardware address, whose loss costs a second
    net.loss(300)
    assert 10 < answers(alice, bob, count=60, wait=0.02) < 50  # both ways: 49 % come back, 29 of 60
    net.loss(0)
    net.largest_packet(1000)
    assert answers(alice, bob, size=1200) == 0
    assert answers(alice, bob, size=800) == 2
    net.largest_packet(None)
    assert answers(alice, bob, size=1200) == 2


def test_a_limited_host_is_slow(netns):
    net = netns(2)
    alice, bob = net.hosts
    echo(bob)
    bob.limit("1mbit")
    began = time.monotonic()
    assert answers(alice, bob, count=200, size=1200, wait=2) == 200
    assert time.monotonic() - began > 1.0  # 1.9 Mbit each way, less the burst
    bob.limit(None)
    began = time.monotonic()
    assert answers(alice, bob, count=200, size=1200, wait=2) == 200
    assert time.monotonic() - began < 1.0


def test_a_second_lan_is_apart_from_the_first(netns):
    net = netns(2)
    alice, bob = net.hosts
    lan = net.add_lan([alice])
    carol = net.add_host(lan)
    echo(carol)
    assert carol.address == carol.address_on(lan)
    assert answers(alice, carol) == 2
    assert re.search(r"eth1@.* UP ", alice.run(["ip", "-br", "addr"]).stdout)
    done = bob.run([sys.executable, "-c", ASK, carol.address, "1", "8", "0.3"], check=False)
    assert done.stdout in ("", "0\n")


def test_nothing_is_left_after_a_failure():
    try:
        with Net(2) as net:
            process = net.hosts[0].popen(["sh", "-c", "setsid sleep 100 & exec sleep 100"])
            pids = net.hosts[0].net.processes[0].pid
            names = [net.switch, *(host.namespace for host in net.hosts)]
            time.sleep(0.2)
            listing = ["ip", "netns", "pids", net.hosts[0].namespace]
            inside = [int(pid) for pid in subprocess.run(listing, capture_output=True, check=True).stdout.split()]
            assert len(inside) == 2 and pids in inside
            raise RuntimeError("a test failed")
    except RuntimeError:
        pass
    assert process.poll() is not None
    assert not any(Path("/run/netns", name).exists() for name in names)
    time.sleep(0.1)
    assert not any(
        Path("/proc", str(pid)).exists() and "Z" not in Path("/proc", str(pid), "stat").read_text().split()[2]
        for pid in inside
    )


def test_what_a_killed_run_left_is_swept():
    left = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, text=True, check=False).stdout.strip()
    assert Path("/run/netns", left).exists()
    with Net(1):
        assert not Path("/run/netns", left).exists()
