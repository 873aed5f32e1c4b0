"""A lone peer is whole by itself, and what it had is the others' too once it is plugged in, without a restart."""

import random
from pathlib import Path

import pytest

from tests.live.daemons import Daemons, meet, until
from tests.live.netns import Net, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]

COPIES_LIMIT_S = 20.0


def test_a_lone_peer_stores_lists_deletes_and_when_plugged_in_its_things_get_their_copies(tmp_path: Path) -> None:
    content = random.Random(2).randbytes(3 * 2**20)
    (tmp_path / "file").write_bytes(content)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(content[:70_000])
    (folder / "b").symlink_to("a")
    with Net(4) as net, Daemons() as daemons:
        loner, *rest = net.hosts
        loner.unplug()
        alice = daemons.start(loner)

        said = alice.peer("put", "file", tmp_path / "file")
        assert said.code == 0 and "1 copy" in said.err, said
        assert "1 copy" in alice.peer("put", "folder", folder).err
        assert "1 copy" in alice.peer("put", "value", "--value", "hello").err
        assert "1 copy" in alice.peer("put", "gone", "--value", "soon").err
        added = alice.json("add", "-", stdin=content[:200_000])
        assert (added["copies"], added["copies_wanted"], added["holders"]) == (1, 1, [alice.id])
        assert alice.ok("get", "file") == content
        assert alice.ok("get", "value") == b"hello"
        assert alice.json("get", "file", "-o", tmp_path / "again")["source"] == "local"
        assert {entry["name"] for entry in alice.json("ls")} == {"file", "folder", "value", "gone", ""}
        assert {entry["name"] for entry in alice.json("ls", "folder")} == {"a", "b"}
        stat = alice.json("stat", "file")
        assert (stat["copies"], stat["copies_wanted"], stat["size"]) == (1, 1, len(content))
        assert "1 copy" in alice.peer("rm", "gone").err
        assert alice.peer("get", "gone").require_one_line(3)
        assert alice.peer("get", "never").require_one_line(3)
        assert alice.peer("put", "two", "--value", "x", "--require", "2").require_one_line(6)
        assert alice.json("peers") == []

        others = [daemons.start(host) for host in rest]
        meet(others)
        pid = alice.pid
        loner.plug()
        met_s = meet([alice, *others], 15)
        print(f"all listed each other {met_s:.2f} s after the cable was in")
        bob, carol, dave = others
        got = {bob: ("file", content), carol: ("value", b"hello"), dave: (added["cid"], content[:200_000])}
        found_s = until(lambda: all(reader.peer("get", key).code == 0 for reader, (key, _) in got.items()), 5)
        print(f"what it had was found {met_s + found_s:.2f} s after the cable was in")
        for reader, (key, expected) in got.items():
            assert reader.ok("get", key) == expected
        assert dave.peer("get", "gone").require_one_line(3)
        bob.ok("get", "folder", "-o", tmp_path / "fetched")
        assert (tmp_path / "fetched" / "b").read_bytes() == content[:70_000]

        def copies() -> dict[str, int]:
            # Copies that are promised: what was fetched just now is cache, and may go.
            return {
                key: sum(holder["kind"] == "replica" for holder in alice.json("stat", key)["holders"])
                for key in ("file", "folder", added["cid"])
            } | {"value": alice.json("stat", "value")["copies"]}

        copied_s = until(
            lambda: all(count >= (4 if key == "value" else 3) for key, count in copies().items()),
            COPIES_LIMIT_S,
            copies,
        )
        print(f"all had their copies {met_s + copied_s:.2f} s after the cable was in")
        assert alice.pid == pid and alice.running
        alice.kill()
        for reader in others:
            assert reader.ok("get", "file") == content
            assert reader.ok("get", "value") == b"hello"
            assert reader.ok("get", added["cid"]) == content[:200_000]
