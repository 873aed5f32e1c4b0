"""Keys, files, targets and disks that are not as one would wish: what comes out is what went in, or one clear line."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import PEER, Daemon, Daemons, inside, meet, small_disk, until

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
MIB = 2**20
BIG_BYTES = 128 * MIB

RAW_CID = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
CID_V0 = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Daemon]]:
    with Daemons() as daemons:
        yield daemons.loopback(2)


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    with Daemons() as group:
        yield group


@pytest.mark.parametrize(
    "key",
    [
        "..",
        ".",
        "../../etc/passwd",
        "a/../b",
        "a/./b",
        "/absolute",
        "trailing/",
        "//",
        "%2F",
        "a%2Fb",
        "%",
        "%00",
        "%2e%2e",
        "new\nline",
        "tab\tand\rreturn",
        "\x1b[31mred",
        " ",
        "?x=1&y=2",
        "#fragment",
        "x/stat",
        "x/history",
        "stat",
        "-dash",
        "ключ",
        "鍵",
        "مفتاح",
        "🔑",
        "e\u0301",
        "é",
        "\u202eright to left",
        "k" * 255,
        "ü" * 127,
        "Qm is no CID",
        "bafy",
        "name:with:colons",
        '"quoted" \\ and $HOME `x`',
    ],
)
def test_a_key_of_any_text_is_a_name_like_others(pair: list[Daemon], key: str) -> None:
    alice, bob = pair
    value = f"value of {key!r}"
    alice.ok("put", "--value", value, "--", key)
    assert bob.ok("get", "--", key) == value.encode()
    assert bob.json("stat", "--", key)["key"] == key
    assert key in {entry["name"] for entry in bob.json("ls")}
    assert bob.json("history", "--", key)[0]["size"] == len(value.encode())
    bob.ok("rm", "--", key)
    assert alice.peer("get", "--", key).require_one_line(3)


def test_keys_that_differ_do_not_meet(pair: list[Daemon]) -> None:
    alice, bob = pair
    keys = ["a/b", "a%2Fb", "a//b", "a/b/", "A/b", "e\u0301/x", "é/x"]
    for number, key in enumerate(keys):
        alice.ok("put", key, "--value", str(number))
    assert [bob.ok("get", key) for key in keys] == [str(number).encode() for number in range(len(keys))]


@pytest.mark.parametrize(
    "key", ["", "k" * 256, "ü" * 128, b"\xff\xfe", b"half \xc3", RAW_CID, CID_V0, "sha256:abc", "@alice/x"]
)
def test_a_key_that_cannot_be_is_refused_with_two(pair: list[Daemon], key: str | bytes) -> None:
    assert pair[0].peer("put", "--value", "x", "--", os.fsdecode(key)).require_one_line(2)


def test_a_key_under_another_peers_id_is_refused_with_two(pair: list[Daemon]) -> None:
    alice, bob = pair
    assert alice.peer("put", f"{bob.id}/name", "--value", "x").require_one_line(2)


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("%00", True),
        ("a%00b", True),
        ("%2E%2E", True),
        ("..", True),
        ("%FF%FE", False),
        ("%E0%80%80", False),
        ("%zz", False),
        ("%2", False),
        ("", False),
        ("k" * 256, False),
        (RAW_CID, False),
    ],
)
def test_the_api_takes_a_key_or_says_400(pair: list[Daemon], path: str, taken: bool, tcp: bool) -> None:
    alice, bob = pair
    value = f"{path} {tcp}"
    written = ["-o", "/dev/null", "-w", "%{http_code}"]
    token = ["-H", f"Authorization: Bearer {alice.token}"] if tcp else []
    put = alice.curl(f"/v1/kv/{path}", *token, "-X", "PUT", "--data-binary", value, *written, tcp=tcp)
    assert put.out in ((b"200", b"201") if taken else (b"400",)), put
    if taken:
        assert bob.curl(f"/v1/kv/{path}").out == value.encode()
    assert alice.running


def big(path: Path, size: int = BIG_BYTES) -> Path:
    """Write a file that takes a while, of blocks that all differ."""
    block = random.Random(size).randbytes(MIB)
    with path.open("wb") as file:
        for number in range(size // MIB):
            file.write(number.to_bytes(8, "big") + block[8:])
    return path


def test_a_missing_or_special_or_unreadable_source_is_told(pair: list[Daemon], tmp_path: Path) -> None:
    alice = pair[0]
    assert "absent" in alice.peer("put", "k", tmp_path / "absent").require_one_line(2)
    os.mkfifo(tmp_path / "fifo")
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    assert "fifo" in alice.peer("put", "special", folder).error
    assert alice.peer("put", "special", folder).code in (1, 2)
    assert alice.peer("get", "special").require_one_line(3)


@pytest.mark.parametrize("change", ["shrinks", "grows"])
def test_a_file_that_changes_while_it_is_put_is_whole_or_not_there(
    pair: list[Daemon], tmp_path: Path, change: str
) -> None:
    alice, bob = pair
    source = big(tmp_path / "source")
    process = alice.popen("put", change, source)
    try:
        until(lambda: _read_bytes(process.pid) > 8 * MIB or process.poll() is not None, 10)
        assert process.poll() is None, "too fast: nothing was changed under it"
        if change == "shrinks":
            os.truncate(source, 4 * MIB)
        else:
            with source.open("ab") as file:
                file.write(b"more" * MIB)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    print(f"{change}: {process.returncode} {errors.decode()}")
    if change == "shrinks":
        assert process.returncode != 0
        lines = errors.decode().splitlines()
        assert lines[0].startswith("peer: ") and len(lines) <= 2 and "source" in lines[0], lines
        assert bob.peer("get", change).require_one_line(3)
        assert change not in {entry["name"] for entry in alice.json("ls")}
    elif process.returncode == 0:
        assert bob.json("stat", change)["size"] in (BIG_BYTES, BIG_BYTES + 4 * MIB)
    else:
        assert bob.peer("get", change).require_one_line(3)


def test_a_file_that_vanishes_while_its_directory_is_put_leaves_nothing(pair: list[Daemon], tmp_path: Path) -> None:
    alice, bob = pair
    folder = tmp_path / "folder"
    folder.mkdir()
    big(folder / "a-large-one")
    (folder / "z-last").write_bytes(b"soon gone")
    process = alice.popen("put", "vanishing", folder)
    try:
        until(lambda: _read_bytes(process.pid) > 8 * MIB or process.poll() is not None, 10)
        assert process.poll() is None
        (folder / "z-last").unlink()
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    lines = errors.decode().splitlines()
    assert process.returncode in (1, 2), (process.returncode, lines)
    assert lines[0].startswith("peer: ") and "z-last" in lines[0] and len(lines) <= 2, lines
    assert bob.peer("get", "vanishing").require_one_line(3)


def _read_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return int(lines[0].partition(":")[2])


def test_a_target_that_exists_is_replaced_if_a_file_and_refused_if_a_full_directory(
    pair: list[Daemon], tmp_path: Path
) -> None:
    alice, bob = pair
    alice.ok("put", "a-file", "-", stdin=b"new" * 1000)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "inner").write_bytes(b"inner")
    alice.ok("put", "a-folder", folder)

    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "old").chmod(0o640)
    bob.ok("get", "a-file", "-o", tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"new" * 1000
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o640

    full = tmp_path / "full"
    full.mkdir()
    (full / "keep").write_bytes(b"keep")
    for key in ("a-file", "a-folder"):
        assert bob.peer("get", key, "-o", full).require_one_line(2)
        assert bob.peer("get", key, "-o", tmp_path / "no" / "such" / "place").require_one_line(2)
    assert bob.peer("get", "a-folder", "-o", tmp_path / "old").require_one_line(2)
    empty = tmp_path / "empty"
    empty.mkdir()
    bob.ok("get", "a-folder", "-o", empty)
    assert (empty / "inner").read_bytes() == b"inner"
    assert bob.peer("get", "never-put", "-o", tmp_path / "fresh").require_one_line(3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "folder", "full", "old"]
    assert [path.name for path in full.iterdir()] == ["keep"]


def test_a_reader_that_goes_away_ends_the_get_quietly(pair: list[Daemon], tmp_path: Path) -> None:
    alice, bob = pair
    alice.ok("put", "long", big(tmp_path / "long", 16 * MIB))
    done = subprocess.run(
        ["sh", "-c", f"{PEER} get long | head -c 100000 | wc -c"], env=bob.env, capture_output=True, check=True
    )
    assert done.stdout.strip() == b"100000" and b"Traceback" not in done.stderr, done


@ROOT_ONLY
def test_a_disk_that_fills_while_getting_is_told_with_nine_and_nothing_is_left(
    pair: list[Daemon], tmp_path: Path
) -> None:
    alice, bob = pair
    alice.ok("put", "too-large", big(tmp_path / "source", 16 * MIB))
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"{PEER} get too-large -o {disk}/out; code=$?; ls -A {disk} >&3; exit $code"
    left = tmp_path / "left"
    with left.open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        done = subprocess.run(
            [*small_disk(disk, "4m"), "bash", "-c", script.replace(">&3", f">&{file.fileno()}")],
            env=bob.env,
            capture_output=True,
            pass_fds=[file.fileno()],
            check=False,
        )
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 9 and lines[0].startswith("peer: ") and len(lines) <= 2, done
    assert left.read_bytes() == b""
    with Path("/dev/full").open("wb") as device:
        full = subprocess.run(
            [PEER, "get", "too-large"], env=bob.env, stdout=device, stderr=subprocess.PIPE, check=False
        )
    assert full.returncode == 9 and full.stderr.decode().startswith("peer: "), full


@ROOT_ONLY
def test_a_daemon_whose_disk_is_full_says_nine_reads_on_and_takes_what_fits(daemons: Daemons, tmp_path: Path) -> None:
    large = big(tmp_path / "large", 64 * MIB)
    alice = daemons.start()
    bob = daemons.prepare(None, "--bootstrap", alice.listen, "--quota", "1GiB")
    bob.data.mkdir(parents=True)
    bob.launch(wrapper=small_disk(bob.data, "24m")).wait_ready()
    meet([alice, bob])
    assert bob.peer("put", "large", large).require_one_line(9)
    assert alice.peer("get", "large").require_one_line(3)
    bob.ok("put", "small", "--value", "fits")
    assert alice.ok("get", "small") == b"fits"
    # Nobody else has room for the second copy: what was not acknowledged is wholly there or not at all.
    assert "1 of 2" in alice.peer("put", "alices", large).require_one_line(9)
    assert bob.peer("stat", "alices").code in (0, 3)
    # A third peer takes the copy that the full one cannot.
    carol = daemons.start(None, "--bootstrap", alice.listen)
    meet([alice, bob, carol])
    assert set(alice.json("put", "alices", large, "--require", "2")["holders"]) >= {alice.id, carol.id}
    got = bob.peer("get", "alices", "-o", tmp_path / "got")
    print(f"get by a daemon whose disk is full: {got.code} {got.err.strip()}")
    assert got.code in (0, 9), got
    assert not (tmp_path / "got").exists() or (tmp_path / "got").read_bytes() == large.read_bytes()
    assert (got.code == 0) == (tmp_path / "got").exists()
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    used = sum(path.stat().st_blocks * 512 for path in inside(bob, bob.data).rglob("*") if path.is_file())
    print(f"bob uses {used / MIB:.1f} MiB of 24, says {bob.status()['storage']['used_bytes'] / MIB:.1f}")
    bob.ok("put", "small again", "--value", "still fits")
    assert alice.running and bob.running


def test_a_full_peer_promises_only_what_it_has_whole_also_with_two_copies_under_way(
    daemons: Daemons, tmp_path: Path
) -> None:
    alice, carol = daemons.loopback(2)
    bob = daemons.start(None, "--bootstrap", alice.listen, "--quota", "40MiB")
    meet([alice, bob, carol])
    contents = {f"thing{number}": big(tmp_path / str(number), (25 + number) * MIB) for number in range(4)}
    writers = [alice, carol, alice, carol]
    waiting = [
        (key, writer.popen("--json", "put", key, path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        for writer, (key, path) in zip(writers, contents.items(), strict=True)
    ]
    promised = []
    for key, process in waiting:
        answer = json.loads(process.communicate(timeout=60)[0])
        if process.returncode == 0:
            assert len(answer["holders"]) == answer["copies"] == 3
        else:
            assert process.returncode in (6, 9) and answer["error"]["code"] in ("too_few_copies", "no_room"), answer
        if bob.id in answer.get("holders", []) or bob.id in answer.get("error", {}).get("reached", {}).get(
            "holders", []
        ):
            promised.append(key)
    print(f"with a quota of 40 MiB bob promised {promised}")
    assert len(promised) <= 1
    assert bob.status()["storage"]["used_bytes"] <= 40 * MIB
    alice.kill()
    carol.kill()
    for key in promised:
        assert bob.ok("get", key) == contents[key].read_bytes()


def test_a_quota_that_is_full_is_told_with_nine_and_the_failed_put_gives_its_room_back(
    daemons: Daemons, tmp_path: Path
) -> None:
    alice = daemons.start(None, "--quota", "32MiB")
    alice.ok("put", "first", big(tmp_path / "first", 20 * MIB))
    assert "quota" in alice.peer("put", "second", big(tmp_path / "second", 40 * MIB)).require_one_line(9)
    assert alice.peer("get", "second").require_one_line(3)
    until(lambda: alice.status()["storage"]["used_bytes"] < 22 * MIB, 10, lambda: alice.status()["storage"])
    assert alice.ok("get", "first") == (tmp_path / "first").read_bytes()
    alice.ok("put", "third", big(tmp_path / "third", 5 * MIB))


def test_without_a_daemon_each_command_ends_with_four_and_names_the_one_that_starts_it(daemons: Daemons) -> None:
    absent = daemons.prepare()
    for words in (["put", "k", "--value", "v"], ["get", "k"], ["ls"], ["status"], ["peers"], ["id"], ["find", "k"]):
        done = absent.peer(*words)
        assert done.require_one_line(4)
        assert "peerd" in done.err.splitlines()[1]
        said = absent.peer("--json", *words)
        assert said.code == 4 and b'"code": "no_daemon"' in said.out.replace(b'":"', b'": "'), said
    killed = daemons.start()
    killed.kill()
    assert killed.peer("get", "k").require_one_line(4)


def test_an_interrupted_put_ends_with_130_and_leaves_nothing(pair: list[Daemon]) -> None:
    alice, bob = pair
    before = alice.status()["storage"]["used_bytes"]
    process = alice.popen("put", "interrupted", "-", stdin=subprocess.PIPE)
    try:
        assert process.stdin is not None
        for _ in range(24):
            process.stdin.write(os.urandom(MIB))
        process.stdin.flush()
        until(lambda: alice.status()["storage"]["used_bytes"] > before + 8 * MIB, 10)
        process.send_signal(signal.SIGINT)
        took_s = until(lambda: process.poll() is not None, 5)
        _, errors = process.communicate()
    finally:
        process.kill()
        process.wait()
    print(f"Ctrl-C to exit: {took_s:.2f} s; {errors.decode()!r}")
    assert process.returncode == 130
    assert "Traceback" not in errors.decode()
    for daemon in (alice, bob):
        assert daemon.peer("get", "interrupted").require_one_line(3)
        assert "interrupted" not in {entry["name"] for entry in daemon.json("ls")}
    given_back_s = until(
        lambda: alice.status()["storage"]["used_bytes"] <= before + MIB, 10, lambda: alice.status()["storage"]
    )
    print(f"its room was given back {given_back_s:.2f} s later")


@pytest.mark.parametrize("into", ["file", "pipe", "directory"])
def test_an_interrupted_get_ends_with_130_and_leaves_nothing(pair: list[Daemon], tmp_path: Path, into: str) -> None:
    alice, bob = pair
    source = tmp_path / "source"
    if into == "directory":
        source.mkdir()
        big(source / "one", BIG_BYTES // 2)
        big(source / "two", BIG_BYTES // 2 + MIB)
    else:
        big(source)
    if into not in {entry["name"] for entry in alice.json("ls")}:
        alice.ok("put", f"long {into}", source)
    target = tmp_path / "target"
    target.mkdir()
    if into == "pipe":
        process = bob.popen("get", f"long {into}", stdout=subprocess.PIPE)
    else:
        process = bob.popen("get", f"long {into}", "-o", target / "out")
    try:
        if into == "pipe":
            assert process.stdout is not None
            assert process.stdout.read(3 * MIB)
        else:
            until(lambda: any(target.iterdir()) or process.poll() is not None, 10)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        took_s = until(lambda: process.poll() is not None, 5)
        _, errors = process.communicate()
    finally:
        process.kill()
        process.wait()
    print(f"Ctrl-C to exit: {took_s:.2f} s; {errors.decode()!r}")
    assert process.returncode == 130
    assert "Traceback" not in errors.decode()
    assert list(target.iterdir()) == []
    assert bob.running and bob.ok("id")


def test_a_daemon_stopped_in_the_middle_of_a_put_exits_with_zero_and_nothing_half_is_there(daemons: Daemons) -> None:
    alice, bob = daemons.loopback(2)
    process = alice.popen("put", "halfway", "-", stdin=subprocess.PIPE)
    try:
        assert process.stdin is not None
        for _ in range(8):
            process.stdin.write(os.urandom(MIB))
        process.stdin.flush()
        until(lambda: alice.status()["storage"]["used_bytes"] > 2 * MIB, 10)
        took_s = alice.stop()
        process.stdin.close()
        code = process.wait(10)
        assert process.stderr is not None
        errors = process.stderr.read().decode()
        process.stderr.close()
    finally:
        process.kill()
        process.wait()
    print(f"SIGTERM to exit: {took_s:.2f} s; the client ended with {code}: {errors!r}")
    assert took_s < 5
    assert code in (1, 4, 5) and errors.startswith("peer: ") and "Traceback" not in errors
    assert bob.states()[alice.id] == "left"
    assert bob.peer("get", "halfway").require_one_line(3)
    alice.launch().wait_ready()
    meet([alice, bob])
    assert alice.peer("get", "halfway").require_one_line(3)
    used = alice.status()["storage"]["used_bytes"]
    print(f"used after the restart: {used / MIB:.1f} MiB")
    assert used < MIB


def test_a_daemon_killed_in_the_middle_of_a_get_leaves_no_half_file(daemons: Daemons, tmp_path: Path) -> None:
    alice, bob = daemons.loopback(2)
    alice.ok("put", "long", big(tmp_path / "source"))
    target = tmp_path / "target"
    target.mkdir()
    process = bob.popen("get", "long", "-o", target / "out")
    try:
        until(lambda: any(target.iterdir()), 10)
        bob.kill()
        began = time.monotonic()
        code = process.wait(40)
        assert process.stderr is not None
        errors = process.stderr.read().decode()
        process.stderr.close()
    finally:
        process.kill()
        process.wait()
    print(f"the client ended {time.monotonic() - began:.2f} s after the kill with {code}: {errors!r}")
    assert code in (1, 4, 5) and errors.startswith("peer: ") and "Traceback" not in errors
    assert list(target.iterdir()) == []
    bob.launch().wait_ready()
    bob.ok("get", "long", "-o", target / "out")
    assert (target / "out").read_bytes() == (tmp_path / "source").read_bytes()
