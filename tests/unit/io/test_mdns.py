"""What LAN discovery believes, how much it keeps, and when it speaks; no socket is opened."""

import asyncio
import random
from ipaddress import ip_address, ip_interface
from itertools import pairwise
from typing import ClassVar

import pytest

from peerd.ids import PeerId, peer_id_text
from peerd.io import mdns
from peerd.io.interfaces import Interface
from peerd.io.mdns import CONTRADICT_GAP_S, LanDiscovery
from peerd.io.mdns_budget import (
    LINK_BURST,
    LINK_PER_S,
    PACKET_BYTES,
    SPEAKER_BURST,
    SPEAKER_PER_S,
    SPEAKERS_MAX,
    Allowance,
    Speakers,
)
from peerd.io.mdns_gate import PACKET_MAX_BYTES, Gate
from peerd.io.mdns_hints import (
    ADDRESSES_MAX,
    HINT_LIFE_S,
    HINTS_MAX,
    NEW_BURST_MAX,
    NEW_PER_S,
    OFFER_GAP_S,
    SOURCES_MAX,
    SPEAKER_HINTS_MAX,
    SPEAKER_NEW_BURST_MAX,
    SPEAKER_NEW_PER_S,
    WORD_LIFE_S,
    Hint,
    HintTable,
    on_link,
    read_hint,
)

DIGEST = "0123456789abcdef"
ETH = Interface("eth0", 2, (ip_interface("203.0.113.5/24"), ip_interface("2001:db8:1:2::5/128")), up=True)
LO = Interface("lo", 1, (ip_interface("127.0.0.1/8"),), up=True, loopback=True)


def peer(number):
    return PeerId(number.to_bytes(32, "big"))


ALICE, BOB = peer(1), peer(2)
TXT = {b"id": peer_id_text(BOB).encode(), b"v": b"1", b"net": DIGEST.encode()}


def read(properties=TXT, addresses=("10.0.0.7",), port=7433, interface=ETH):
    return read_hint(properties, addresses, port, digest=DIGEST, interface=interface)


def test_a_good_service_is_a_hint():
    assert read() == Hint(BOB, (("10.0.0.7", 7433),))
    assert read({**TXT, b"more": b"later", b"flag": None}) == Hint(BOB, (("10.0.0.7", 7433),))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({b"net": b"fedcba9876543210"}, "mdns_network"),
        ({b"net": None}, "mdns_txt"),
        ({b"v": b"2"}, "mdns_version"),
        ({b"v": b""}, "mdns_txt"),
        ({b"id": b"\x1b[31mevil\n"}, "mdns_txt"),
        ({b"id": TXT[b"id"].upper()}, "mdns_txt"),
        ({b"id": b"\xff" * 52}, "mdns_txt"),
        ({b"id": None}, "mdns_txt"),
    ],
)
def test_a_service_of_others_or_malformed_is_refused_with_its_reason(change, reason):
    assert read({**TXT, **change}) == reason
    assert read({}) == "mdns_txt"


@pytest.mark.parametrize("port", [None, 0, -1, 65536])
def test_a_port_that_is_none_is_refused(port):
    assert read(port=port) == "mdns_port"


def test_one_peer_has_at_most_four_addresses():
    many = [f"10.0.0.{number}" for number in range(1, 200)]
    assert read(addresses=many).addresses == tuple((each, 7433) for each in many[:ADDRESSES_MAX])


def test_bad_addresses_are_left_out_and_none_good_is_refused():
    assert read(addresses=["8.8.8.8", "junk", "10.0.0.7", "fe80::1"]) == Hint(BOB, (("10.0.0.7", 7433),))
    assert read(addresses=["8.8.8.8", "junk"]) == "mdns_address"
    assert read(addresses=[]) == "mdns_address"


@pytest.mark.parametrize(
    "good", ["203.0.113.77", "10.1.2.3", "192.168.0.1", "169.254.3.4", "2001:db8:1:2::77", "fd00::1"]
)
def test_an_address_of_the_link_or_a_private_one_is_taken(good):
    assert on_link(ip_address(good), ETH)


@pytest.mark.parametrize(
    "bad",
    [
        *("8.8.8.8", "203.0.113.255", "127.0.0.1", "0.0.0.0", "224.0.0.251", "255.255.255.255", "240.0.0.1"),
        *("2606:4700::1", "::1", "::", "fe80::1", "ff02::fb", "::ffff:10.0.0.1"),
    ],
)
def test_an_address_elsewhere_or_of_everybody_or_of_this_host_is_not(bad):
    assert not on_link(ip_address(bad), ETH)


def test_on_the_loopback_only_loopback_addresses_are_taken():
    assert on_link(ip_address("127.0.0.1"), LO)
    assert not on_link(ip_address("10.0.0.7"), LO)


def hint(number, *addresses):
    return Hint(peer(number), tuple((each, 7433) for each in addresses or ("10.0.0.7",)))


def test_a_new_peer_is_passed_on_at_once_and_again_only_after_the_gap():
    table = HintTable()
    assert table.hear("eth0", "bob", hint(2), now=100) == (("10.0.0.7", 7433),)
    assert table.hear("eth0", "bob", hint(2), now=100.5) == ()
    assert table.hear("eth0", "bob", hint(2), now=100 + OFFER_GAP_S) == (("10.0.0.7", 7433),)
    assert table.again(100 + OFFER_GAP_S + 1) == []
    assert table.again(100 + 2 * OFFER_GAP_S) == [(peer(2), (("10.0.0.7", 7433),))]


def test_a_changed_address_is_passed_on_at_once():
    table = HintTable()
    table.hear("eth0", "bob", hint(2), now=100)
    assert table.hear("eth0", "bob", hint(2, "10.0.0.8"), now=100.1) == (("10.0.0.8", 7433),)


def test_a_peer_heard_on_two_interfaces_has_the_addresses_of_both_the_last_heard_first():
    table = HintTable()
    table.hear("eth0", "bob", hint(2, "10.0.0.7", "10.0.0.8", "10.0.0.9"), now=100)
    offered = table.hear("eth1", "bob", hint(2, "10.1.0.7", "10.0.0.7"), now=100)
    assert [ip for ip, _ in offered] == ["10.1.0.7", "10.0.0.7", "10.0.0.8", "10.0.0.9"]
    table.forget("eth1")
    assert [ip for ip, _ in table.again(200)[0][1]] == ["10.0.0.7", "10.0.0.8", "10.0.0.9"]


def test_a_goodbye_forgets_the_service_on_that_interface_alone():
    table = HintTable()
    table.hear("eth0", "bob", hint(2), now=100)
    table.hear("eth1", "bob", hint(2), now=100)
    table.forget("eth0", "carol")
    table.forget("eth0", "bob")
    assert len(table) == 1
    table.forget("eth1", "bob")
    assert len(table) == 0


def test_a_full_table_forgets_the_one_not_heard_for_longest():
    table = HintTable()
    for number in range(HINTS_MAX):
        table.hear("eth0", "x", hint(number), now=1000 + number)
    assert len(table) == HINTS_MAX
    table.hear("eth0", "x", hint(0), now=1100)
    table.hear("eth0", "x", hint(999), now=1101)
    known = {int.from_bytes(each, "big") for each, _ in table.again(1200)}
    assert len(table) == HINTS_MAX
    assert 999 in known and 0 in known and 1 not in known


def test_an_inventor_of_ids_gets_a_burst_and_then_a_trickle():
    table = HintTable()
    outcomes = [table.hear("eth0", "x", hint(number), now=100) for number in range(1000)]
    assert sum(isinstance(each, tuple) for each in outcomes) == NEW_BURST_MAX
    assert outcomes[-1] == "mdns_crowd"
    later = [table.hear("eth0", "x", hint(number), now=102) for number in range(1000, 2000)]
    assert sum(isinstance(each, tuple) for each in later) == 2 * NEW_PER_S


def test_one_id_with_ever_other_addresses_gets_no_more():
    table = HintTable()
    offers = [table.hear("eth0", "x", hint(2, f"10.0.{n // 200}.{n % 200 + 1}"), now=100) for n in range(1000)]
    assert sum(bool(each) for each in offers) <= NEW_BURST_MAX


def test_a_peer_long_unheard_is_forgotten():
    table = HintTable()
    table.hear("eth0", "bob", hint(2), now=100)
    assert table.again(100 + HINT_LIFE_S) != []
    assert table.again(100 + HINT_LIFE_S + 1) == []
    assert len(table) == 0


def told(outcomes):
    return [each for each in outcomes if isinstance(each, tuple)]


def test_an_inventor_at_one_address_leaves_room_for_the_others():
    table = HintTable()
    flood = [table.hear("eth0", "x", hint(number), now=100, speaker="10.0.0.66") for number in range(500)]
    assert len(told(flood)) == SPEAKER_NEW_BURST_MAX
    later = [table.hear("eth0", "x", hint(number), now=102, speaker="10.0.0.66") for number in range(500, 1000)]
    assert len(told(later)) == 2 * SPEAKER_NEW_PER_S
    honest = [table.hear("eth0", "y", hint(2000 + n), now=102, speaker=f"10.0.0.{n + 1}") for n in range(40)]
    assert len(told(honest)) == 40


def test_who_tells_of_ever_more_peers_pushes_out_its_own_and_nobody_elses():
    table = HintTable()
    table.hear("eth0", "bob", hint(2), now=99, speaker="10.0.0.7")
    for number in range(300):
        table.hear("eth0", "x", hint(1000 + number), now=100 + number, speaker="10.0.0.66")
    assert len(table) == 1 + SPEAKER_HINTS_MAX
    assert BOB in {found for found, _ in table.again(400)}


def test_a_peer_that_was_met_before_is_heard_in_the_midst_of_a_flood():
    table = HintTable()
    for number in range(1000):
        table.hear("eth0", "x", hint(1000 + number), now=100, speaker=f"10.0.{number % 250}.66")
    assert table.hear("eth0", "carol", hint(3), now=100, speaker="10.0.0.8") == "mdns_crowd"
    assert table.hear("eth0", "bob", hint(2), now=100, speaker="10.0.0.7", free=True) == (("10.0.0.7", 7433),)


def test_who_speaks_falsely_of_a_peer_does_not_unsay_what_it_said_itself():
    table = HintTable()
    table.hear("eth0", "bob", hint(2, "10.0.0.7"), now=100, speaker="10.0.0.7")
    lies = [hint(2, f"10.9.0.{n}", f"10.9.1.{n}", f"10.9.2.{n}", f"10.9.3.{n}") for n in range(1, 3)]
    for n, lie in enumerate(lies):
        table.hear("eth0", "bob", lie, now=100.1 + n / 10, speaker=f"10.0.0.{66 + n}")
    assert table.again(200) == [(BOB, (("10.0.0.7", 7433), *lies[-1].addresses[:3]))]


def test_a_peer_that_moved_is_at_its_new_place_only():
    table = HintTable()
    table.hear("eth0", "bob", hint(2, "10.0.0.7"), now=100, speaker="10.0.0.7")
    table.hear("eth1", "bob", hint(2, "10.1.0.7"), now=100, speaker="10.1.0.7")
    moved = table.hear("eth0", "bob", hint(2, "10.0.0.8"), now=101 + WORD_LIFE_S, speaker="10.0.0.8")
    assert moved == (("10.0.0.8", 7433), ("10.1.0.7", 7433))


def test_what_is_remembered_of_one_peer_is_bounded_whoever_speaks_of_it():
    table = HintTable()
    for n in range(100):
        table.hear("eth0", "bob", hint(2, f"10.9.{n}.1"), now=100 + n / 100, speaker=f"10.8.{n}.1")
    assert len(table._known[BOB].said) == SOURCES_MAX


def test_a_goodbye_of_another_forgets_nothing():
    table = HintTable()
    table.hear("eth0", "bob", hint(2), now=100, speaker="10.0.0.7")
    table.forget("eth0", "bob", "10.0.0.66")
    assert len(table) == 1
    table.forget("eth0", "bob", "10.0.0.7")
    assert len(table) == 0


def test_speakers_beyond_the_bound_are_forgotten():
    speakers = Speakers(2, 1)
    for number in range(10 * SPEAKERS_MAX):
        assert speakers.spend(f"10.0.{number // 250}.{number % 250}", 100)
    assert len(speakers) == SPEAKERS_MAX


def test_a_flood_of_one_speaker_or_of_all_is_cut_to_what_it_may_cost():
    allowance = Allowance()
    assert sum(allowance.admits(PACKET_BYTES, "10.0.0.66", 100) for _ in range(5000)) == SPEAKER_BURST / 2
    assert sum(allowance.admits(PACKET_BYTES, "10.0.0.66", 110) for _ in range(5000)) == 10 * SPEAKER_PER_S / 2 // 1.25
    assert allowance.admits(PACKET_BYTES, "10.0.0.7", 110)
    forged = (allowance.admits(PACKET_BYTES, f"10.1.{n // 250}.{n % 250}", 200) for n in range(5000))
    assert sum(forged) == LINK_BURST / 2
    assert not allowance.admits(PACKET_BYTES, "10.0.0.8", 200)
    allowance.friends = frozenset({"10.0.0.7"})
    assert allowance.admits(PACKET_BYTES, "10.0.0.7", 200), "where a member lives a flood of others changes nothing"
    again = (allowance.admits(PACKET_BYTES, f"10.2.{n // 250}.{n % 250}", 201) for n in range(5000))
    assert sum(again) == LINK_PER_S / 2


class Behind:
    """Stands for zeroconf's listener: keeps what reaches it."""

    def __init__(self):
        self.packets = []

    def datagram_received(self, data, addr):
        self.packets.append(data)


def gate(allowance=None):
    behind, refused, spoke = Behind(), [], []
    allowance = allowance or Allowance()
    gate = Gate(
        behind,
        allowance,
        speaking=lambda who, size: spoke.append((who, size)),
        refused=lambda: refused.append(1),
        now=lambda: 100.0,
    )
    return gate, behind, refused, spoke


QUERY, ANSWER = bytes(12), bytes(2) + b"\x84" + bytes(9)
OURS = b"\x04name\x06_pEErd\x04_udp\x05local\0"


def test_answers_that_are_not_about_our_service_never_reach_the_parser():
    passed, behind, refused, spoke = gate()
    for data in (ANSWER + b"\x04_ipp\x04_tcp\x05local\0", ANSWER, b"", b"\x00", QUERY[:11], b"\x84" * 11):
        passed.datagram_received(data, ("10.0.0.66", 5353))
    passed.datagram_received(ANSWER + OURS + bytes(PACKET_MAX_BYTES), ("10.0.0.66", 5353))
    assert behind.packets == [] and refused == []
    passed.datagram_received(ANSWER + OURS, ("10.0.0.7", 5353))
    passed.datagram_received(QUERY + b"\x04_ipp\x04_tcp\x05local\0", ("fe80::7", 5353, 0, 2))
    assert len(behind.packets) == 2
    assert spoke[0] == ("10.0.0.7", len(ANSWER + OURS)) and spoke[1][0] == "fe80::7"


def test_a_flood_is_counted_and_never_reaches_the_parser():
    passed, behind, refused, _ = gate()
    for _ in range(1000):
        passed.datagram_received(ANSWER + OURS, ("10.0.0.66", 5353))
    assert len(behind.packets) <= SPEAKER_BURST
    assert len(refused) == 1000 - len(behind.packets)


class FakeLink:
    """Stands for mdns_link.Link: writes down what it is told."""

    all_opened: ClassVar[list["FakeLink"]] = []
    failure: ClassVar[OSError | None] = None

    def __init__(self, interface, service, *, heard, gone, flooded, impostor):
        self.interface, self.service, self.heard, self.gone = interface, service, heard, gone
        self.flooded, self.impostor = flooded, impostor
        self.allowance = Allowance()
        self.said, self.closed, self.silent = [], None, False

    async def open(self):
        if FakeLink.failure is not None:
            raise FakeLink.failure
        FakeLink.all_opened.append(self)

    def announce(self):
        self.said.append(("announce", mdns._now()))

    def ask(self, *, everybody):
        self.said.append(("ask", mdns._now(), everybody))

    async def close(self, *, goodbye):
        self.closed = goodbye


class Lab:
    """A discovery whose clock and interfaces the test moves."""

    def __init__(self, monkeypatch):
        import peerd.io.mdns_link

        self.now = 1000.0
        self.interfaces = [ETH]
        self.lonely = True
        self.candidates, self.rejected = [], []
        FakeLink.all_opened, FakeLink.failure = [], None
        monkeypatch.setattr(peerd.io.mdns_link, "Link", FakeLink)
        monkeypatch.setattr(mdns, "_now", lambda: self.now)
        self.discovery = LanDiscovery(
            ALICE,
            DIGEST,
            7433,
            on_candidate=lambda found, addresses: self.candidates.append((found, addresses)),
            lonely=lambda: self.lonely,
            rejected=self.rejected.append,
            rng=random.Random(1),
            hints_max=4 * HINTS_MAX,
            read=self.read,
        )

    def read(self):
        if isinstance(self.interfaces, OSError):
            raise self.interfaces
        return self.interfaces

    async def run(self, seconds):
        end = self.now + seconds
        while self.now < end:
            await self.discovery._tick()
            self.now = min(end, self.now + self.discovery._pause())

    @property
    def link(self):
        return FakeLink.all_opened[-1]

    def spoken(self, since=0.0):
        return [said[1] for said in self.link.said if said[0] == "announce" and said[1] >= since]


@pytest.fixture
def lab(monkeypatch):
    return Lab(monkeypatch)


def gaps(times):
    return [later - earlier for earlier, later in pairwise(times)]


async def test_it_speaks_in_a_burst_and_then_each_two_to_five_seconds_while_lonely(lab):
    await lab.run(300)
    first, *_ = times = lab.spoken()
    assert [round(each - first, 2) for each in times[:4]] == [0.0, 0.3, 1.0, 2.0]
    assert all(1.9 < gap < 5.1 for gap in gaps(times[3:]))
    assert len({round(gap, 3) for gap in gaps(times[3:])}) > 20  # jittered
    assert {said[2] for said in lab.link.said if said[0] == "ask"} == {True}


@pytest.mark.parametrize(("count", "mean_s"), [(1, 10), (4, 15), (16, 60)])
async def test_in_company_it_speaks_as_often_as_a_lan_of_that_size_bears_and_asks_only_the_unknown(lab, count, mean_s):
    lab.lonely = False
    await lab.run(5)
    for number in range(2, 2 + count):
        lab.link.heard(ETH, f"n{number}", {**TXT, b"id": peer_id_text(peer(number)).encode()}, ["10.0.0.7"], 7433)
    await lab.run(HINT_LIFE_S - 10)
    quiet = gaps(lab.spoken()[4:])
    assert all(0.5 * mean_s < gap < 1.5 * mean_s for gap in quiet)
    assert 0.75 * mean_s < sum(quiet) / len(quiet) < 1.25 * mean_s
    assert {said[2] for said in lab.link.said if said[0] == "ask"} == {False}


async def test_a_peer_that_gets_lonely_speaks_within_a_second_or_two_or_has_just_spoken(lab):
    lab.lonely = False
    await lab.run(30)
    lab.lonely, since = True, lab.now
    await lab.run(2)
    assert len(lab.spoken(since - 3)) >= 1
    await lab.run(4)
    assert len(lab.spoken(since)) >= 1


async def test_on_a_crowded_lan_it_speaks_more_rarely_and_asks_nothing(lab):
    lab.lonely = False
    await lab.run(5)
    for number in range(2, 2 + HINTS_MAX):
        txt = {**TXT, b"id": peer_id_text(peer(number)).encode()}
        lab.link.heard(ETH, f"n{number}", txt, ["10.0.0.7"], 7433, speaker=f"10.0.0.{number}")
    since = lab.now
    await lab.run(500)
    assert [gap for gap in gaps(lab.spoken(since)) if gap < 120] == []
    assert [said for said in lab.link.said if said[0] == "ask" and said[1] > since] == []


async def test_known_peers_are_passed_on_again_whenever_it_speaks(lab):
    await lab.run(5)
    lab.link.heard(ETH, "bob", TXT, ["10.0.0.7"], 7433)
    assert lab.candidates == [(BOB, [("10.0.0.7", 7433)])]
    await lab.run(20)
    assert 3 <= len(lab.candidates) <= 11


async def test_itself_and_other_networks_are_never_passed_on(lab):
    await lab.run(1)
    lab.link.heard(ETH, "alice", {**TXT, b"id": peer_id_text(ALICE).encode()}, [str(ETH.addresses[0].ip)], 7433)
    lab.link.heard(ETH, "x", {**TXT, b"net": b"other"}, ["10.0.0.7"], 7433)
    lab.link.heard(ETH, "x", {**TXT, b"net": b"other"}, ["10.0.0.7"], 7433)
    assert lab.candidates == []
    assert lab.discovery.ignored == {"mdns_network": 2}
    assert lab.rejected == []


async def test_where_another_has_our_id_is_passed_on_at_the_pace_of_any_other(lab):
    await lab.run(1)
    properties = {**TXT, b"id": peer_id_text(ALICE).encode()}
    for _ in range(100):
        lab.link.heard(ETH, "alice", properties, [str(ETH.addresses[0].ip), "10.0.0.7"], 7433)
    assert lab.candidates == [(ALICE, [("10.0.0.7", 7433)])]


async def test_who_speaks_in_our_name_is_counted_and_contradicted_at_most_once_a_second(lab):
    lab.lonely = False
    await lab.run(9)
    since = lab.now
    for _ in range(50):
        lab.link.impostor(ETH)
        lab.now += CONTRADICT_GAP_S / 10
    assert lab.discovery.ignored["mdns_impostor"] == 50
    assert len(lab.spoken(since)) == 5


async def test_where_members_live_a_flood_by_others_is_no_hindrance(lab):
    lab.discovery._knows = {BOB}.__contains__
    await lab.run(1)
    lab.link.heard(ETH, "bob", TXT, ["10.0.0.7"], 7433, speaker="10.0.0.7")
    lab.link.heard(ETH, "x", {**TXT, b"id": peer_id_text(peer(9)).encode()}, ["10.0.0.9"], 7433, speaker="10.0.0.9")
    await lab.run(2)
    assert lab.link.allowance.friends == {"10.0.0.7"}
    for _ in range(30):
        lab.link.flooded()
    assert lab.discovery.ignored["mdns_flood"] == 30
    assert lab.rejected == ["mdns_flood"] * 30


async def test_a_changed_interface_is_opened_anew_and_burst_on(lab):
    await lab.run(30)
    old = lab.link
    lab.interfaces = [Interface("eth0", 2, (ip_interface("10.0.0.9/24"),), up=True)]
    since = lab.now
    await lab.run(3)
    assert old.closed is False and lab.link is not old
    assert len(lab.spoken(since)) >= 2
    assert lab.discovery.announced == [("eth0", [("10.0.0.9", 7433)])]


async def test_an_interface_that_went_takes_its_hints_with_it(lab):
    await lab.run(5)
    lab.link.heard(ETH, "bob", TXT, ["10.0.0.7"], 7433)
    lab.interfaces = [LO]
    await lab.run(4)
    lab.candidates.clear()
    await lab.run(20)
    assert lab.candidates == [] and lab.discovery.announced == [("lo", [("127.0.0.1", 7433)])]


async def test_a_failure_is_told_once_and_tried_again_ever_more_rarely(lab):
    FakeLink.failure = OSError(98, "Address already in use")
    tried = []

    class Counting(FakeLink):
        async def open(self):
            tried.append(lab.now)
            await super().open()

    import peerd.io.mdns_link

    peerd.io.mdns_link.Link = Counting
    await lab.run(600)
    assert lab.discovery.problem == "eth0: Address already in use"
    assert 10 < len(tried) < 20 and max(gaps(tried)) <= mdns.RETRY_MAX_S + mdns.RESCAN_INTERVAL_S
    FakeLink.failure = None
    await lab.run(70)
    assert lab.discovery.problem is None and lab.discovery.announced


async def test_a_silent_link_is_told_spoken_on_often_and_opened_anew(lab):
    lab.lonely = False
    await lab.run(10)
    silent = lab.link
    silent.silent, since = True, lab.now
    await lab.run(20)
    assert "do not come back" in lab.discovery.problem
    assert len(lab.spoken(since)) >= 3
    await lab.run(60)
    assert silent.closed is False and lab.discovery.problem is None


async def test_no_interface_and_no_answer_of_the_system_are_problems_and_no_failures(lab):
    lab.interfaces = []
    await lab.run(1)
    assert lab.discovery.problem == "no interface is up and has an address"
    lab.interfaces = OSError(12, "Cannot allocate memory")
    await lab.run(3)
    assert lab.discovery.problem == "the interfaces cannot be read: Cannot allocate memory"
    lab.interfaces = [ETH]
    await lab.run(3)
    assert lab.discovery.problem is None


async def test_stopping_says_goodbye(lab):
    await lab.discovery.start()
    await asyncio.sleep(0)
    await lab.discovery.stop()
    assert lab.link.closed is True and lab.discovery.announced == []


async def test_the_service_names_its_peer_network_and_version_and_its_name_is_the_peers_own(lab):
    await lab.run(1)
    text = peer_id_text(ALICE)
    assert lab.link.service.name == f"{text}-01234567" and len(lab.link.service.name) <= 63
    assert lab.link.service.properties == {"id": text, "v": "1", "net": DIGEST}
    assert lab.link.service.port == 7433
