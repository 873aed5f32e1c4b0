"""What was deleted stays deleted on real daemons and disks, also when an old copy of a store is put back."""

import shutil
import sqlite3
from contextlib import closing

from tests.live.daemons import Daemon, Daemons, until

KEYS = [f"key-{number}" for number in range(12)]
ENV = {"PEERD_TOMBSTONE_GRACE_S": "3", "PEERD_REPAIR_INTERVAL_S": "1"}
LIMIT_S = 60.0


def rows(daemon: Daemon) -> tuple[int, int]:
    """How many records and floors its store holds."""
    path = daemon.data / "store" / "store.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
        return tuple(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("records", "floors"))  # type: ignore[return-value]


def test_tombstones_become_floors_and_an_old_copy_of_a_store_brings_nothing_back() -> None:
    with Daemons() as daemons:
        alice = daemons.start(env=ENV)
        bob, carol = (daemons.start(None, "--bootstrap", alice.listen, env=ENV) for _ in range(2))
        everybody = [alice, bob, carol]
        until(lambda: all(len(each.alive()) == 2 for each in everybody), LIMIT_S, alice.states)
        for key in KEYS:
            alice.ok("put", key, "--value", "old")
        carol.kill()
        backup = carol.home / "backup"
        shutil.copytree(carol.data, backup)
        carol.launch().wait_ready()
        until(lambda: all(len(each.alive()) == 2 for each in everybody), LIMIT_S, alice.states)

        for key in KEYS:
            bob.ok("rm", key)
        wanted = (0, len(KEYS))
        took_s = until(lambda: all(rows(each) == wanted for each in everybody), LIMIT_S, lambda: map(rows, everybody))
        print(f"all tombstones were floors {took_s:.1f} s after the last was written")
        carol.kill()
        shutil.rmtree(carol.data)
        shutil.copytree(backup, carol.data)
        carol.launch().wait_ready()
        assert rows(carol)[0] == len(KEYS)
        until(lambda: all(len(each.alive()) == 2 for each in everybody), LIMIT_S, alice.states)

        for key in KEYS:
            for each in everybody:
                assert each.peer("get", key).code in (3, 5), (each.name, key)
        until(lambda: rows(carol) == wanted, LIMIT_S, lambda: rows(carol))
        assert {each.peer("get", key).code for key in KEYS for each in everybody} == {3}
        alice.ok("put", KEYS[0], "--value", "new")
        assert carol.ok("get", KEYS[0]) == b"new"
