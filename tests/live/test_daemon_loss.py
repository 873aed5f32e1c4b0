"""Machines that die all at once: what was acknowledged is there from the first second, and exit codes are right."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons, Done, meet, until
from tests.live.netns import Net, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]

HOSTS = 5
THINGS = 20
FIRST_READ_LIMIT_S = 1.0
READ_LIMIT_S = 5.0


@pytest.fixture
def lan() -> Iterator[list[Daemon]]:
    with Net(HOSTS) as net, Daemons() as daemons:
        running = [daemons.prepare(host).launch() for host in net.hosts]
        for daemon in running:
            daemon.wait_ready()
        meet(running)
        yield running


def fill(lan: list[Daemon], rng: random.Random, scratch: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    files, values = {}, {}
    for number in range(THINGS):
        writer = lan[number % len(lan)]
        # One in four of several blocks.
        files[f"file/{number}"] = content = rng.randbytes(rng.choice((3000, 70_000, 900_000, 2_500_000)))
        (scratch / "source").write_bytes(content)
        put = writer.json("put", f"file/{number}", scratch / "source")
        assert put["copies"] >= put["copies_wanted"] == 3, put
        values[f"value/{number}"] = f"value {number} {rng.random()}".encode()
        put = writer.json("put", f"value/{number}", "--value", values[f"value/{number}"].decode())
        assert put["copies"] >= 3 and put["copies_wanted"] == len(lan), put
    return files, values


def read_all(readers: list[Daemon], expected: dict[str, bytes]) -> list[Done]:
    """Read everything from every reader, two commands at a time; check each and return them."""
    asked = [(reader, key) for key in expected for reader in readers]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda pair: pair[0].peer("get", pair[1]), asked))
    for (reader, key), each in zip(asked, done, strict=True):
        assert each.code == 0 and each.out == expected[key], (reader.name, key, each.code, len(each.out), each.err)
    return done


def summary(times: list[float]) -> str:
    ordered = sorted(times)
    return f"p50 {ordered[len(ordered) // 2] * 1000:.0f} ms, worst {ordered[-1] * 1000:.0f} ms of {len(ordered)}"


def test_two_of_five_killed_at_once_lose_nothing_and_reads_go_on_from_the_first_second(
    lan: list[Daemon], rng: random.Random, tmp_path: Path
) -> None:
    files, values = fill(lan, rng, tmp_path)
    dead = rng.sample(lan, 2)
    rest = [daemon for daemon in lan if daemon not in dead]
    print("killed:", [daemon.name for daemon in dead])
    before = [each.took_s for each in read_all(rest, values)]
    print(f"values before: {summary(before)}")
    for daemon in dead:
        daemon.kill()
    killed = time.monotonic()
    first = [reader.peer("get", key) for reader, key in zip(rest, values, strict=False)]
    first_s = time.monotonic() - killed
    for each, expected in zip(first, values.values(), strict=False):
        assert each.code == 0 and each.out == expected, each
    print(f"first value of each of the rest after the kill: {summary([each.took_s for each in first])}")
    assert max(each.took_s for each in first) < FIRST_READ_LIMIT_S, first_s
    print(f"all values: {summary([each.took_s for each in read_all(rest, values)])}")
    file_reads = read_all(rest, files)
    print(
        f"all files: {summary([each.took_s for each in file_reads])}; {time.monotonic() - killed:.1f} s since the kill"
    )
    assert max(each.took_s for each in file_reads) < READ_LIMIT_S

    # Writing goes on too, on those that are there.
    put = rest[0].json("put", "after", "--value", "the kill")
    assert put["copies"] >= 2 and set(put["holders"]) <= {daemon.id for daemon in rest}
    assert [reader.ok("get", "after") for reader in rest] == [b"the kill"] * 3
    # What is not there is said not to be there: three of five is a majority.
    missing = rest[1].peer("get", "never-put")
    assert missing.require_one_line(3) and missing.took_s < READ_LIMIT_S, missing
    until(
        lambda: all({reader.states()[daemon.id] for daemon in dead} == {"dead"} for reader in rest),
        15,
        lambda: [reader.states() for reader in rest],
    )
    print(f"dead to all the rest {time.monotonic() - killed:.1f} s after the kill")


def test_when_most_holders_are_silent_what_is_missing_is_not_known_and_what_is_here_is_read(
    lan: list[Daemon], rng: random.Random, tmp_path: Path
) -> None:
    alice, bob, *dead = lan
    alice.ok("put", "kept", "--value", "by two")
    for daemon in dead:
        daemon.kill()
    assert alice.ok("get", "kept") == b"by two"
    assert bob.ok("get", "kept") == b"by two"
    absent = bob.peer("--timeout", "5", "get", "never-put")
    print(f"3 of 5 silent: a missing key ends with {absent.code} after {absent.took_s:.2f} s: {absent.err.strip()}")
    assert absent.require_one_line(5)
    assert absent.took_s < 7
    assert bob.peer("--timeout", "5", "rm", "never-put").code == 5
    # Content that only silent peers could have: not known either.
    cid = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    assert bob.peer("--timeout", "5", "get", cid).code == 5
    # They are back, and now it is known.
    for daemon in dead:
        daemon.launch()
    for daemon in dead:
        daemon.wait_ready()
    meet(lan)
    assert bob.peer("get", "never-put").require_one_line(3)
    assert bob.peer("get", cid).require_one_line(3)
    # Those that left with a goodbye are not missed: what is there is the majority.
    for daemon in dead:
        daemon.stop()
    said = bob.peer("get", "never-put")
    print(f"3 of 5 said goodbye: a missing key ends with {said.code} after {said.took_s:.2f} s")
    assert said.code in (3, 5)
    assert bob.ok("get", "kept") == b"by two"


def test_copies_lost_with_two_dead_are_made_again_so_that_two_more_may_die(lan: list[Daemon], tmp_path: Path) -> None:
    content = random.Random(6).randbytes(1_500_000)
    (tmp_path / "source").write_bytes(content)
    holders = set(lan[0].json("put", "thing", tmp_path / "source")["holders"])
    dead = [daemon for daemon in lan if daemon.id in holders][:2]
    rest = [daemon for daemon in lan if daemon not in dead]
    for daemon in dead:
        daemon.kill()
    ids = {daemon.id for daemon in rest}

    def copies() -> int:
        return len({holder["id"] for holder in rest[0].json("stat", "thing")["holders"]} & ids)

    took_s = until(lambda: copies() == 3, 40, copies)
    print(f"three copies again {took_s:.1f} s after two holders were killed")
    for daemon in rest[:2]:
        daemon.kill()
    assert rest[2].ok("get", "thing") == content
