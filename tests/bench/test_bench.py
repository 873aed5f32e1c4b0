"""The benchmark itself: that it computes what it says, asks what it says, and delays what it says."""

import asyncio
import random
import socket
import time
from collections.abc import Iterable, Mapping

import pytest

from tests.bench import machine, one_to_one, report
from tests.bench.flash_crowd import Outcome, bound_s, crowd_row
from tests.bench.plan import QUICK, Plan
from tests.bench.relay import Relay
from tests.bench.rows import Goal, command_row, memory_row, network_row
from tests.bench.stats import median_spread, percentile, pooled
from tests.bench.subject import LOOPBACK, Answer, BlackHoles, Publisher, Subject
from tests.bench.workload import Workload

SMALL = Plan(
    peers=10,
    warm_up_puts=1,
    puts=60,
    warm_up_gets=5,
    gets=20,
    flood_gets=40,
    in_flight=4,
    kill_gets=20,
    kill_gets_per_s=2000,
    get_limit_s=0.5,
)


class FakeNetwork(Subject):
    """Keeps each key at two peers; a get of a key whose two holders are dead finds nothing."""

    modes = ("one", "quorum")

    def __init__(self) -> None:
        self.held: dict[str, tuple[set[int], bytes]] = {}
        self.dead: set[int] = set()
        self.asked: list[tuple[int, str]] = []
        self.in_flight = 0
        self.in_flight_max = 0
        self._chance = random.Random(1)

    @property
    def version(self) -> str:
        return "1"

    async def start(self, count: int, publisher: Publisher, seed: int) -> None:
        pass

    async def put(self, peer: int, key: str, value: bytes) -> Answer:
        self.held[key] = (set(self._chance.sample(range(SMALL.peers), 2)), value)
        return Answer(value, 0.002)

    async def get(self, peer: int, key: str, mode: str) -> Answer:
        self.asked.append((peer, key))
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight, self.in_flight_max)
        await asyncio.sleep(0)
        self.in_flight -= 1
        holders, value = self.held[key]
        return Answer(value if holders - self.dead else None, 0.001)

    def has(self, peer: int, key: str) -> bool:
        return peer in self.held[key][0]

    async def settle(self) -> None:
        pass

    async def kill(self, peers: Iterable[int]) -> None:
        self.dead |= set(peers)

    async def stop(self) -> None:
        pass


@pytest.fixture
async def measured() -> tuple[FakeNetwork, Workload]:
    network = FakeNetwork()
    workload = Workload(network, SMALL)
    await workload.run(["get", "put", "flood", "kill"])
    return network, workload


def test_no_peer_is_asked_for_a_key_twice(measured: tuple[FakeNetwork, Workload]) -> None:
    network, _ = measured
    assert len(network.asked) == len(set(network.asked))


def test_no_peer_is_asked_for_a_key_that_it_holds(measured: tuple[FakeNetwork, Workload]) -> None:
    network, _ = measured
    assert not [pair for pair in network.asked if network.has(*pair)]


def test_the_flood_has_as_many_gets_in_flight_as_the_plan_says() -> None:
    network = FakeNetwork()
    asyncio.run(Workload(network, SMALL).run(["flood"]))
    assert network.in_flight_max == SMALL.in_flight


def test_after_the_kill_only_keys_with_a_living_holder_are_asked_of_living_peers(
    measured: tuple[FakeNetwork, Workload],
) -> None:
    network, workload = measured
    asked = network.asked[-2 * SMALL.kill_gets :]
    assert len(network.dead) == 3
    assert not [peer for peer, _ in asked if peer in network.dead]
    for mode in network.modes:
        noted = workload.measures[f"kill {mode}"]
        assert noted["correct"] == noted["count"] == SMALL.kill_gets


def test_the_same_seed_asks_the_same_questions() -> None:
    first, second = FakeNetwork(), FakeNetwork()
    for network in (first, second):
        asyncio.run(Workload(network, SMALL).run(["get"]))
    assert first.asked == second.asked


def test_a_wrong_answer_counts_against_the_subject_and_not_as_a_quick_one() -> None:
    class Liar(FakeNetwork):
        async def get(self, peer: int, key: str, mode: str) -> Answer:
            return Answer(b"not it", 0.0)

    workload = Workload(Liar(), SMALL)
    asyncio.run(workload.run(["get"]))
    assert workload.measures["get one"]["correct"] == 0
    assert workload.measures["get one"]["samples_ms"] == []


def test_a_get_without_an_answer_ends_at_its_limit() -> None:
    class Silent(FakeNetwork):
        async def get(self, peer: int, key: str, mode: str) -> Answer:
            await asyncio.sleep(60)
            raise AssertionError

    plan = Plan(peers=10, warm_up_puts=0, puts=20, warm_up_gets=0, gets=1, flood_gets=4, in_flight=4, get_limit_s=0.01)
    workload = Workload(Silent(), plan)
    asyncio.run(workload.run(["flood"]))
    assert workload.measures["flood one"]["samples_ms"] == [10.0] * 4


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)])
def test_percentiles_are_nearest_rank(share: float, wanted: float) -> None:
    samples = [float(number) for number in range(1, 101)]
    random.Random(3).shuffle(samples)
    assert percentile(samples, share) == wanted


def test_a_disturbed_run_moves_the_spread_and_not_the_middle() -> None:
    runs = [[1.0, 1.0], [1.2, 1.2], [9.0, 9.0]]
    found = median_spread(runs)
    assert (found.middle, found.low, found.high) == (1.2, 1.0, 9.0)
    assert pooled(runs, 1.0) == 9.0


def _run(ms: float, **more: object) -> list[dict[str, object]]:
    return [{"samples_ms": [ms] * 4, "count": 4, "correct": 4, "cpu_ms_each": ms, "gets_per_s": 1000 / ms} | more]


def _noted(row: str, peerd: str, ms: Mapping[str, float]) -> dict[str, dict[str, list[dict[str, object]]]]:
    noted = {name: {row: _run(each)} for name, each in ms.items()}
    noted["peerd"] = {peerd: noted["peerd"].pop(row)}
    return noted


def test_the_goal_of_a_get_is_the_faster_kademlia_of_the_same_run() -> None:
    row = network_row(
        "get", "", _noted("get", "get one", {"peerd": 0.5, "kademlia k=8": 0.6, "kademlia k=20": 0.4}), QUICK
    )
    line = next(line for line in row.lines if line.subject == "peerd one")
    assert line.against == "kademlia k=20"
    assert line.ratio == pytest.approx(1.25)
    assert [(goal.limit, goal.met) for goal in line.goals] == [(0.4, False), (0.4, False)]


def test_the_goal_of_a_flood_is_the_kademlia_with_more_gets_a_second() -> None:
    row = network_row(
        "flood", "", _noted("flood", "flood one", {"peerd": 0.5, "kademlia k=8": 0.6, "kademlia k=20": 0.4}), QUICK
    )
    line = next(line for line in row.lines if line.subject == "peerd one")
    assert [(round(goal.limit), goal.met) for goal in line.goals] == [(2500, False)]


def test_a_subject_without_any_right_answer_is_named_and_not_shown_as_a_number() -> None:
    noted = _noted("get", "get one", {"peerd": 0.5, "kademlia k=8": 0.6})
    noted["kademlia k=8"]["get"][0] |= {"samples_ms": [], "correct": 0}
    row = network_row("get", "", noted, QUICK)
    assert [line.subject for line in row.lines] == ["peerd one"]
    assert row.absent == {"kademlia k=8": "no right answer in any run"}


def test_round_trips_are_the_time_over_the_plans_round_trip() -> None:
    row = network_row("delay put", "", _noted("delay put", "delay put", {"peerd": 41.0, "kademlia k=8": 82.0}), QUICK)
    line = next(line for line in row.lines if line.subject == "peerd")
    assert line.main.middle == pytest.approx(2.05)
    assert [goal.met for goal in line.goals] == [True]


def test_a_missed_goal_says_by_how_much() -> None:
    assert Goal("p50 ms", 6.0, 4.0).text == "p50 ms at most 4: MISSED, 6, 1.5 times"


def test_what_is_absent_stands_in_the_report_with_its_reason() -> None:
    rows = [
        command_row({"python -c pass": [10.0, 11.0], "redis-cli": "not installed"}),
        memory_row(
            {"python": {"rss_mb": [9.0], "pss_mb": [5.0]}, "peerd, 5 peers": {"rss_mb": [70.0], "pss_mb": [50]}}
        ),
    ]
    described: dict[str, object] = dict.fromkeys(
        ("cores", "processor", "memory_gib", "system", "python", "load_before"), "x"
    )
    text = report.text(rows, described, {"kademlia": "2.2.3"}, QUICK)
    assert "redis-cli: not measured: not installed" in text
    assert "missed: memory, peerd, 5 peers: RSS MB of the largest at most 60: MISSED, 70" in text
    shown = report.as_json(rows, described, {}, QUICK)
    assert isinstance(shown["rows"], list)
    assert [row["row"] for row in shown["rows"]] == ["command", "memory"]


def test_reasons_name_no_folders_of_the_machine() -> None:
    text = "cannot import name 'x' from 'peerd' (/home/alice/peerd/__init__.py), 3/4 done"
    assert machine.without_paths(text) == "cannot import name 'x' from 'peerd' (__init__.py), 3/4 done"


def test_a_page_keeps_all_but_its_block_of_results() -> None:
    page = (
        "# A\n\n<!-- results: written by `python -m tests.bench --page` -->\n```text\nold\n```\nB\n```text\nmore\n```\n"
    )
    assert report.on_page(page, "new") == page.replace("old", "new")
    with pytest.raises(ValueError, match="no block"):
        report.on_page("# A\n", "new")


def _bound() -> socket.socket:
    fresh = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fresh.bind((LOOPBACK, 0))
    fresh.settimeout(5)
    return fresh


async def test_the_relay_holds_a_datagram_and_hides_the_senders_own_port() -> None:
    with _bound() as alice, _bound() as bob:
        async with Relay(0.02) as relay:
            alice_public = await relay.publish(alice.getsockname()[1])
            bob_public = await relay.publish(bob.getsockname()[1])
            began = time.perf_counter()
            alice.sendto(b"hello", (LOOPBACK, bob_public))
            data, sender = await asyncio.to_thread(bob.recvfrom, 100)
            took_s = time.perf_counter() - began
    assert (data, sender) == (b"hello", (LOOPBACK, alice_public))
    assert took_s >= 0.02


async def test_what_is_sent_to_a_black_hole_is_not_answered_by_icmp() -> None:
    with _bound() as alice, _bound() as bob:
        address = bob.getsockname()
        bob.close()
        holes = BlackHoles()
        await holes.put_at(address[1])
        alice.connect(address)
        alice.settimeout(0.05)
        try:
            for _ in range(2):
                alice.send(b"hello")
                with pytest.raises(TimeoutError):
                    alice.recv(100)
        finally:
            holes.close()


def test_one_to_one_is_held_against_its_rivals() -> None:
    ours = one_to_one.Outcome(1024, 4.0, 3.5, asked_s=[0.002] * 99 + [0.2], small_s=[0.01, 0.012, 0.5])
    outcomes = {"peerd": [ours], "libtorrent": [one_to_one.Outcome(1024, 8.0, 7.0, small_s=[0.5])]}
    outcomes["plain HTTP with SHA-256"] = [one_to_one.Outcome(1024, 2.0, 2.0, small_s=[0.02])]
    line = one_to_one.large_row(outcomes, {}).lines[0]
    assert (line.main.middle, line.ratio) == (pytest.approx(268.4, abs=0.1), pytest.approx(2.0))
    assert [goal.met for goal in line.goals] == [True, False, True, True]
    small = one_to_one.small_row(outcomes, {}).lines[0]
    assert (small.main.middle, small.goals[0].met) == (12.0, True)


def test_a_crowd_is_held_against_the_bound_and_its_rivals() -> None:
    mib = 2**20
    assert bound_s(12, 64 * mib, 100) == pytest.approx(5.37, abs=0.01)
    assert bound_s(2, 64 * mib, 100) == bound_s(12, 64 * mib, 100), "one link is the least for two too"
    bound = bound_s(12, 64 * mib, 100)
    ours, rival = Outcome(bound, [6.0, 7.0], 9.0, [64 * mib, 32 * mib]), Outcome(bound, [14.0], 20.0)
    row = crowd_row(12, 64, {"peerd": [ours], "libtorrent": [rival], "one HTTP server": [Outcome(bound, [63.0])]}, {})
    line = row.lines[0]
    assert (line.main.middle, line.ratio) == (7.0 / bound, 0.5)
    assert line.others["origin sent"] == 1.0
    assert [(goal.what, goal.met) for goal in line.goals] == [
        ("of the bound", False),
        ("of libtorrent's time", True),
        ("times as fast as HTTP", True),
    ]
