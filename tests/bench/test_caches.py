"""The rows of caches compute what they say, and a delayed LAN delays."""

import subprocess
import sys
from collections import Counter

import pytest

from tests.bench.delayed_lan import delayed_lan
from tests.bench.hot_key import READS, Outcome
from tests.bench.zipf import Reads
from tests.live import netns

ECHO = """
import socket
bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bound.bind(("0.0.0.0", 9))
print("ready", flush=True)
while True:
    bound.sendto(*bound.recvfrom(2000))
"""
ASK = """
import socket, sys, time
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(5)
for _ in range(3):
    began = time.perf_counter()
    asking.sendto(bytes(1000), (sys.argv[1], 9))
    asking.recv(2000)
print(time.perf_counter() - began)
"""


def test_the_mean_of_hops_is_over_all_reads() -> None:
    reads = Reads()
    reads.hops = Counter({0: 6, 1: 3, 2: 1})
    assert reads.mean == 0.5


def test_the_busiest_is_told_by_the_reads_that_its_copy_served() -> None:
    outcome = Outcome(copies=[4, 0, 0])
    assert outcome.busiest == pytest.approx(READS * 3 / (2 * READS + 4))


def test_on_a_delayed_lan_every_frame_takes_its_time_and_is_counted() -> None:
    if (reason := netns.why_not()) is not None:
        pytest.skip(reason)
    with delayed_lan(2, 0.02) as lan:
        alice, bob = lan.hosts
        echo = bob.popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True)
        assert echo.stdout is not None
        assert echo.stdout.readline() == "ready\n"
        took_s = float(alice.run([sys.executable, "-c", ASK, bob.address]).stdout)
        sent = lan.sent_bytes()
        echo.kill()
        echo.wait()
        echo.stdout.close()
    assert 0.04 <= took_s < 0.2
    assert all(3 * 1000 < each < 20_000 for each in sent)
