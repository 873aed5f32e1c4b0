"""What a person sees of how safe things are: audits, health, verify after bit rot, gc, events; on real daemons."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons, meet, until

SETTLED_LIMIT_S = 60.0
BLOCK_BYTES = 900_000


@pytest.fixture
def four() -> Iterator[list[Daemon]]:
    with Daemons() as daemons:
        started = daemons.loopback(4)
        meet(started)
        yield started


def damage(daemon: Daemon) -> None:
    """Turn bytes in one of its large block files."""
    path = next(
        path
        for path in sorted((daemon.data / "store" / "blocks").rglob("*"))
        if path.is_file() and path.stat().st_size > BLOCK_BYTES
    )
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"rot")


def test_an_audit_tells_who_has_what_and_that_all_agree_again_after_an_absence(four: list[Daemon]) -> None:
    alice, bob, _, dave = four
    for number in range(20):
        alice.ok("put", f"k{number}", "--value", "first")
    told = alice.json("audit", "k0")
    assert told["divergent"] == 0
    assert told["keys"][0]["holders"] == sorted(daemon.id for daemon in four)
    dave.kill()
    until(lambda: dave.id not in alice.alive(), SETTLED_LIMIT_S, alice.states)
    second = bob.json("put", "k0", "--value", "second")
    [key] = alice.json("audit", "k0")["keys"]
    assert (key["version"], key["silent"]) == (second["version"], [dave.id])
    assert alice.peer("audit", "nothing").require_one_line(3) == "not found: nothing"  # three of four say so
    dave.launch().wait_ready()
    meet(four)

    def agree() -> bool:
        keys = alice.json("audit")["keys"]
        return len(keys) == 20 and all(len(key["holders"]) == 4 and key["silent"] == [] for key in keys)

    until(agree, SETTLED_LIMIT_S, lambda: alice.ok("audit"))
    assert alice.json("audit")["divergent"] == 0


def test_bit_rot_is_found_and_mended_from_others_and_told_where_nobody_else_has_it(
    four: list[Daemon], tmp_path: Path
) -> None:
    content = os.urandom(2_000_000)
    (tmp_path / "source").write_bytes(content)
    stored = four[0].json("put", "content", tmp_path / "source")
    holder = next(daemon for daemon in four if daemon.id in stored["holders"])
    damage(holder)
    found = holder.json("verify")
    assert (found["damaged"], found["mended"], found["lost"]) == (1, 1, 0)
    assert holder.json("verify")["damaged"] == 0
    assert holder.ok("get", "content") == content
    with Daemons() as others:
        alone = others.start()
        alone.ok("put", "content", tmp_path / "source")
        damage(alone)
        done = alone.peer("verify", "--json")
        assert done.code == 8
        told = json.loads(done.out)
        assert (told["error"]["code"], told["damaged"], told["lost"]) == ("integrity", 1, 1)


def test_health_says_how_many_machines_may_fail(four: list[Daemon], tmp_path: Path) -> None:
    alice = four[0]
    assert alice.status()["health"] == "well, with 3 other peers; nothing is kept here yet"
    alice.ok("put", "k", "--value", "v")

    def says(text: str) -> bool:
        return bool(alice.status()["health"] == text)

    until(lambda: says("all keys safe, 3 machines may fail"), SETTLED_LIMIT_S, alice.status)
    four[3].kill()
    until(lambda: says("all keys safe, 2 machines may fail"), SETTLED_LIMIT_S, alice.status)
    assert alice.status()["repair"]["may_fail"] == 2
    assert b"peerd_machines_may_fail 2.0" in alice.curl("/metrics").out


def test_gc_frees_what_was_only_cached_and_nothing_that_is_kept(four: list[Daemon], tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(os.urandom(1_000_000))
    stored = four[0].json("put", "content", tmp_path / "source")
    guest = next(daemon for daemon in four if daemon.id not in stored["holders"])
    guest.ok("get", "content", "-o", tmp_path / "got")
    # The last bytes are out before the cached copy is whole on disk.
    until(lambda: guest.status()["storage"]["cache_bytes"] >= 1_000_000, SETTLED_LIMIT_S, guest.status)
    assert guest.json("gc")["freed_bytes"] >= 1_000_000
    assert guest.status()["storage"]["cache_bytes"] == 0
    holder = next(daemon for daemon in four if daemon.id in stored["holders"])
    holder.ok("gc")
    assert holder.status()["storage"]["replica_bytes"] >= 1_000_000
    assert guest.json("stat", "content")["copies"] == 3


def test_a_tie_of_two_halves_is_an_event_and_stays_in_the_history(four: list[Daemon]) -> None:
    alice, bob, carol, dave = four
    heard = subprocess.Popen(
        ["curl", "-sN", "--max-time", "60", "--unix-socket", alice.socket, "http://localhost/v1/events"],
        stdout=subprocess.PIPE,
    )
    try:
        for half, others in (((alice, bob), (carol, dave)), ((carol, dave), (alice, bob))):
            for daemon in half:
                drop = json.dumps({"drop": [other.listen for other in others]})
                assert daemon.curl("/v1/lab/drop", "-X", "PUT", "-d", drop).code == 0
        until(lambda: alice.alive() == {bob.id} and dave.alive() == {carol.id}, SETTLED_LIMIT_S, alice.states)
        versions = {alice.json("put", "k", "--value", "one")["version"]}
        versions.add(dave.json("put", "k", "--value", "other")["version"])
        for daemon in four:
            assert daemon.curl("/v1/lab/drop", "-X", "PUT", "-d", '{"drop": []}').code == 0
        meet(four, SETTLED_LIMIT_S)
        until(lambda: {row["version"] for row in alice.json("history", "k")} == versions, SETTLED_LIMIT_S, alice.status)
        newest, lost = alice.json("history", "k")
        assert (newest["conflict"], lost["conflict"]) == (False, True)
        until(lambda: alice.json("stat", "k")["copies"] == 4, SETTLED_LIMIT_S, lambda: alice.json("stat", "k"))
        assert [each["version"] for each in bob.json("stat", "k")["conflicts"]] == [lost["version"]]
        assert alice.ok("get", "k") == dave.ok("get", "k")
    finally:
        heard.terminate()
        out, _ = heard.communicate(timeout=10)
    assert b'"kind":"record"' in out
