"""Room on real daemons: the quota holds on the disk, caches go first, promises stay, a full peer says so."""

import os
from pathlib import Path

from tests.live.daemons import Daemon, Daemons, meet
from tests.soak.writers import Connection

QUOTA = "20MB"
QUOTA_BYTES = 20_000_000
# How much more than its quota a store may take of the disk.
SLACK = 1.05
OVERWRITES = 240
LOOKED_AT_EVERY = 20
CONTENT_BYTES = 100_000
LARGE_BYTES = 1_500_000
INSUFFICIENT_STORAGE = 507


def on_disk(daemon: Daemon) -> int:
    """Return what a daemon's data directory takes, as du counts: whole blocks of the disk."""
    total = 0
    for folder, _, files in os.walk(daemon.data):
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            try:
                total += path.stat().st_blocks * 512
            except FileNotFoundError:
                continue  # gone meanwhile
    return total


def content(number: int, size: int) -> bytes:
    return (b"%d " % number * size)[:size]


def put(connection: Connection, key: str, body: bytes) -> int:
    connection.request("PUT", f"/v1/kv/{key}", body=body)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def storage(daemon: Daemon) -> dict[str, int]:
    found: dict[str, int] = daemon.status()["storage"]
    return found


def test_a_name_overwritten_hundreds_of_times_does_not_fill_the_disk_and_gc_frees() -> None:
    with Daemons() as daemons:
        alone = daemons.start(None, "--quota", QUOTA)
        most = 0
        connection = Connection(alone.socket)
        for number in range(OVERWRITES):
            assert put(connection, "name", content(number, CONTENT_BYTES)) in (200, 201), number
            if number % LOOKED_AT_EVERY == 0:
                most = max(most, on_disk(alone))
        connection.close()
        used = storage(alone)
        most = max(most, on_disk(alone))
        print(f"at most {most} bytes of disk, {used}")
        assert most <= QUOTA_BYTES * SLACK
        assert used["used_bytes"] <= QUOTA_BYTES
        assert used["replica_bytes"] < 2 * CONTENT_BYTES + 10_000
        assert alone.ok("get", "name") == content(OVERWRITES - 1, CONTENT_BYTES)

        freed = alone.json("gc")
        assert freed["freed_bytes"] > QUOTA_BYTES / 4
        after = storage(alone)
        assert after["cache_bytes"] == 0
        assert after["used_bytes"] < used["used_bytes"] - freed["freed_bytes"] / 2
        assert alone.ok("get", "name") == content(OVERWRITES - 1, CONTENT_BYTES)


def test_of_two_names_with_the_same_bytes_removing_one_leaves_the_other_whole() -> None:
    with Daemons() as daemons:
        alice, bob = daemons.loopback(2)
        same = content(1, LARGE_BYTES)
        alice.ok("put", "one", "-", stdin=same)
        bob.ok("put", "other", "-", stdin=same)
        alice.ok("rm", "one")
        for daemon in (alice, bob):
            daemon.json("gc")
            assert daemon.ok("get", "other") == same
        bob.ok("rm", "other")
        for daemon in daemons.all:
            assert daemon.peer("get", "other").require_one_line(3)


def test_a_full_peer_says_so_reads_go_on_caches_went_first_and_others_take_its_share() -> None:
    with Daemons() as daemons:
        alone = daemons.start(None, "--quota", QUOTA)
        bob = daemons.start(None, "--bootstrap", alone.listen, "--copies", "1")
        meet([alone, bob])
        cached = [f"cached/{number}" for number in range(4)]
        for number, key in enumerate(cached):
            bob.ok("put", key, "-", stdin=content(number, LARGE_BYTES))
            assert alone.ok("get", key) == content(number, LARGE_BYTES)
        before = storage(alone)
        assert before["cache_bytes"] + before["replica_bytes"] >= 4 * LARGE_BYTES
        bob.stop()

        # Alone it fills: each is put here and nowhere else.
        kept, status, connection = [], 0, Connection(alone.socket)
        for number in range(10, 40):
            status = put(connection, f"own/{number}", content(number, LARGE_BYTES))
            if status == INSUFFICIENT_STORAGE:
                break
            assert status in (200, 201)
            kept.append(number)
        connection.close()
        assert status == INSUFFICIENT_STORAGE and len(kept) >= 5
        used = storage(alone)
        print(f"{on_disk(alone)} bytes of disk, {used}")
        assert on_disk(alone) <= QUOTA_BYTES * SLACK
        assert used["cache_bytes"] < LARGE_BYTES
        assert "quota" in alone.peer("put", "more", "-", stdin=content(50, 4 * LARGE_BYTES)).require_one_line(9)
        for number in kept:
            assert alone.ok("get", f"own/{number}") == content(number, LARGE_BYTES)

        others = [daemons.start(None, "--bootstrap", alone.listen) for _ in range(3)]
        meet([alone, *others])
        for number in range(60, 63):
            stored = others[0].json("put", f"of others/{number}", "-", stdin=content(number, 4 * LARGE_BYTES))
            assert stored["copies"] == 3
            assert alone.ok("get", f"of others/{number}") == content(number, 4 * LARGE_BYTES)
        assert on_disk(alone) <= QUOTA_BYTES * SLACK
