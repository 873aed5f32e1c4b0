"""Five machines on one LAN, daemons without any configuration: they meet, and what one puts every other gets."""

import hashlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons, meet, until
from tests.live.netns import Net, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]

HOSTS = 5
MEET_LIMIT_S = 5.0
DEFAULT_PORTS = (7433, 7434)
FILES_IN_DIRECTORY = 2000
NEXT_LAUNCH_S = 0.2


@pytest.fixture(scope="module")
def lan() -> Iterator[list[Daemon]]:
    """Five daemons, started in random order within a second; the time they took to meet is on each."""
    seed = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"TEST_SEED={seed}")
    with Net(HOSTS) as net, Daemons() as daemons:
        order = random.Random(seed).sample(net.hosts, HOSTS)
        began = time.monotonic()
        running = []
        for turn, host in enumerate(order):
            time.sleep(max(0.0, began + turn * NEXT_LAUNCH_S - time.monotonic()))
            running.append(daemons.prepare(host).launch())
        launched_s = time.monotonic() - began
        for daemon in running:
            daemon.wait_ready()
        ready_s = time.monotonic() - began
        assert launched_s < 1.0
        meet(running)
        met_s = time.monotonic() - began
        print(f"5 launched within {launched_s:.2f} s; the last was ready after {ready_s:.2f}, all had met {met_s:.2f}")
        assert met_s - launched_s < MEET_LIMIT_S
        yield running


def same(daemon: Daemon, key: str, expected: bytes, scratch: Path) -> None:
    """Check that `key` comes out as `expected`, to a file and to standard output."""
    target = scratch / f"{daemon.name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    daemon.ok("get", key, "-o", target)
    assert target.read_bytes() == expected
    assert daemon.ok("get", key) == expected


def test_each_lists_the_other_four_by_mdns_with_default_ports_and_no_configuration(lan: list[Daemon]) -> None:
    for daemon in lan:
        assert daemon.alive() == {other.id for other in lan} - {daemon.id}
        assert daemon.listen.endswith(f":{DEFAULT_PORTS[0]}")
        assert daemon.tcp == f"127.0.0.1:{DEFAULT_PORTS[1]}"
        assert daemon.flags == []
        assert not (daemon.home / "config").exists()
        for peer in daemon.json("peers"):
            assert peer["verified"] and peer["source"] in ("mdns", "overlay"), peer


@pytest.mark.parametrize("size", [0, 1, 1024, 2**20, 2**20 + 1])
def test_a_file_put_on_one_is_got_on_every_other(lan: list[Daemon], size: int, tmp_path: Path) -> None:
    alice, *others = lan
    content = random.Random(size).randbytes(size)
    (tmp_path / "file").write_bytes(content)
    put = alice.json("put", f"file/{size}", tmp_path / "file")
    assert put["size"] == size
    assert put["copies"] == put["copies_wanted"] == len(set(put["holders"])) >= 3
    for other in others:
        same(other, f"file/{size}", content, tmp_path)
    got = others[0].json("get", put["cid"], "-o", tmp_path / "by-cid")
    assert got["cid"] == put["cid"]
    assert (tmp_path / "by-cid").read_bytes() == content


def test_standard_input_of_unknown_length_is_got_on_every_other(lan: list[Daemon], tmp_path: Path) -> None:
    bob, *others = lan[1:]
    content = random.Random(1).randbytes(5 * 2**20 + 17)
    with (tmp_path / "in").open("wb") as file:
        file.write(content)
    # Through a pipe, so that no length can be known beforehand.
    put = bob.json("put", "stream", "-", stdin=content)
    assert put["size"] == len(content)
    for other in others:
        same(other, "stream", content, tmp_path)


@pytest.mark.parametrize("value", ["hello", "", "größer: ⛵ \n zwei Zeilen", "x" * 3000])
def test_a_value_is_got_on_every_other(lan: list[Daemon], value: str, tmp_path: Path) -> None:
    carol = lan[2]
    carol.ok("put", f"value {value[:3]}", "--value", value)
    for other in lan:
        assert other.ok("get", f"value {value[:3]}") == value.encode()


def test_a_directory_of_thousands_of_files_and_links_is_got_whole(lan: list[Daemon], tmp_path: Path) -> None:
    alice, bob, *_ = lan
    source = tmp_path / "tree"
    rng = random.Random(3)
    for number in range(FILES_IN_DIRECTORY):
        folder = source / f"d{number % 20}" / ("deep/er" if number % 3 == 0 else "")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}.bin").write_bytes(rng.randbytes(rng.randrange(3000)))
    (source / "empty").mkdir()
    (source / "naïve ☃ name").write_bytes(b"snow")
    (source / "link").symlink_to("d1/f1.bin")
    (source / "dangling").symlink_to("../../etc/nowhere")
    (source / "to-folder").symlink_to("d2")
    put = alice.json("put", "tree", source)
    print(f"put of {FILES_IN_DIRECTORY} files: {put['elapsed_ms']:.0f} ms")
    target = tmp_path / "out"
    got = bob.json("get", "tree", "-o", target)
    print(f"get of {FILES_IN_DIRECTORY} files: {got['elapsed_ms']:.0f} ms to the first byte")
    assert tree(target) == tree(source)
    assert got["kind"] == "directory"
    names = {entry["name"]: entry["kind"] for entry in bob.json("ls", "tree")}
    assert names["link"] == "symlink" and names["d0"] == "directory" and names["naïve ☃ name"] == "file"
    assert set(names) == {path.name for path in source.iterdir()}


def tree(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = "directory"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_holders_are_shown_with_addresses_that_others_can_use(lan: list[Daemon]) -> None:
    lan[0].ok("put", "addresses", "--value", "x")
    for daemon in lan:
        assert daemon.host is not None
        holders = {holder["id"]: holder["address"] for holder in daemon.json("stat", "addresses")["holders"]}
        assert set(holders) == {other.id for other in lan}
        for other in lan:
            assert other.host is not None
            assert holders[other.id] in (f"{other.host.address}:7433", f"[{other.host.address6}]:7433"), holders


def test_what_one_deletes_is_not_found_by_the_others(lan: list[Daemon]) -> None:
    alice, bob, *others = lan
    alice.ok("put", "short-lived", "--value", "x")
    bob.ok("rm", "short-lived")
    for other in [alice, *others]:
        assert other.peer("get", "short-lived").require_one_line(3)
    assert alice.peer("rm", "short-lived").require_one_line(3)


def test_the_newest_of_two_writes_is_read_everywhere(lan: list[Daemon]) -> None:
    for turn in range(6):
        lan[turn % HOSTS].ok("put", "turns", "--value", str(turn))
        for reader in lan:
            assert reader.ok("get", "turns") == str(turn).encode()
    history = lan[0].json("history", "turns")
    assert [entry["deleted"] for entry in history] == [False] * 6


def test_one_that_says_goodbye_is_left_to_the_others_at_once(lan: list[Daemon]) -> None:
    *others, leaver = lan
    took_s = leaver.stop()
    print(f"SIGTERM to exit: {took_s:.2f} s")
    assert took_s < 3
    seen_s = until(lambda: all(other.states()[leaver.id] == "left" for other in others), 3)
    print(f"left was shown {seen_s:.2f} s after the exit")
    leaver.launch().wait_ready()
    back_s = meet(lan)
    print(f"back with the same identity, all alive again {back_s:.2f} s after ready")
