"""Real daemons on sick disks: no receipt without durability, reads go on, the status says why, and they recover.

Each disk is mounted in a namespace of its daemon's own and goes with it; `inside` is how we see it.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons, inside, meet, small_disk, until
from tests.soak.power import make_disk, on_disk, why_not

SAID_LIMIT_S = 5.0
# Said within 5 s; on a machine that has no time for us, later.
PATIENCE_S = 20.0
CONTENT = os.urandom(200_000)

needs_mounts = pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="failing syncs needs strace")


def degraded(daemon: Daemon) -> list[str]:
    said: list[str] = daemon.status()["degraded"]
    return said


def wait_until_said(daemon: Daemon, *reasons: str) -> None:
    """Wait until the status gives just these reasons; a reason that ends in … begins so."""

    def said() -> bool:
        found = degraded(daemon)
        pairs = zip(reasons, found, strict=False)
        return len(found) == len(reasons) and all(
            there.startswith(reason[:-1]) if reason.endswith("…") else there == reason for reason, there in pairs
        )

    took_s = until(said, PATIENCE_S, lambda: f"{degraded(daemon)} instead of {reasons}")
    print(f"{reasons or 'well'} after {took_s:.1f} s")


def ready(daemon: Daemon) -> int:
    done = daemon.curl("/v1/health/ready", "-o", "/dev/null", "-w", "%{http_code}")
    return int(done.out)


def in_its_namespace(daemon: Daemon, *command: str) -> None:
    subprocess.run(
        ["nsenter", "--target", str(daemon.pid), "--mount", *command], check=True, stdin=subprocess.DEVNULL, timeout=30
    )


def pair(daemons: Daemons, wrapper: Sequence[str], alice: Daemon) -> Daemon:
    """Start alice behind `wrapper`, and bob on a disk that is well; they know each other."""
    alice.launch(wrapper=wrapper).wait_ready()
    bob = daemons.start(None, "--bootstrap", alice.listen)
    meet([alice, bob])
    return bob


@contextmanager
def injecting(daemon: Daemon, fault: str) -> Iterator[None]:
    """Have every sync of a running daemon meet with a fault, until the end."""
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(daemon.pid)]
    command += ["-e", "trace=fsync,fdatasync", "-e", f"inject=fsync,fdatasync:{fault}"]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def traced() -> bool:
        if tracer.poll() is not None:
            assert tracer.stderr is not None
            pytest.skip(f"strace cannot attach here: {tracer.stderr.read().decode(errors='replace')}")
        return all(
            "TracerPid:\t0\n" not in path.read_text() for path in Path(f"/proc/{daemon.pid}/task").glob("*/status")
        )

    try:
        until(traced, PATIENCE_S)
        yield
    finally:
        with suppress(ProcessLookupError):
            tracer.send_signal(signal.SIGINT)
        tracer.wait(PATIENCE_S)
        if tracer.stderr is not None:
            tracer.stderr.close()


@needs_mounts
def test_a_full_disk_and_one_without_inodes_are_said_take_nothing_and_recover() -> None:
    with Daemons() as daemons:
        alice = daemons.prepare(None, "--quota", "16MiB")
        alice.data.mkdir(parents=True)
        bob = pair(daemons, small_disk(alice.data, "24m", "nr_inodes=700"), alice)
        alice.ok("put", "content", "-", stdin=CONTENT)
        alice.ok("put", "value", "--value", "before")
        filler = inside(alice, alice.data) / "filler"

        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(65_536))
        wait_until_said(alice, "the disk is full")
        refused = alice.peer("put", "large", "-", stdin=os.urandom(3_000_000))
        assert "full" in refused.require_one_line(9)
        # A short value needs no disk of alice's: bob has it.
        said = alice.peer("put", "value", "--value", "while full")
        assert said.code == 0, said
        assert bob.ok("get", "value") == b"while full"
        assert alice.ok("get", "content") == CONTENT
        assert alice.ok("get", "value") == b"while full"
        filler.unlink()
        wait_until_said(alice)
        alice.ok("put", "large", "-", stdin=os.urandom(3_000_000))

        many = inside(alice, alice.data) / "many"
        many.mkdir()
        with suppress(OSError):
            for number in range(1_000):
                (many / str(number)).touch()
        wait_until_said(alice, "no inodes left")
        assert alice.peer("put", "other", "-", stdin=CONTENT[::-1]).require_one_line(9)
        assert alice.ok("get", "content") == CONTENT
        shutil.rmtree(many)
        wait_until_said(alice)
        alice.ok("put", "other", "-", stdin=CONTENT[::-1])
        assert bob.ok("get", "other") == CONTENT[::-1]


@needs_mounts
def test_on_a_disk_that_others_filled_a_daemon_starts_serves_and_deletes() -> None:
    with Daemons() as daemons:
        alice, image = daemons.prepare(), daemons.root / "image"
        make_disk(image, 64 * 2**20)
        alice.launch(wrapper=on_disk(image, alice.data)).wait_ready()
        alice.ok("put", "content", "-", stdin=CONTENT)
        alice.ok("put", "value", "--value", "before")
        until((inside(alice, alice.data) / "store" / "ballast").exists, PATIENCE_S)
        alice.kill()
        mounted = subprocess.Popen(
            [*on_disk(image, alice.data), "sleep", "60"], stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            data = Path(f"/proc/{mounted.pid}/root{alice.data}")
            until((data / "store").exists, PATIENCE_S)
            with (data / "filler").open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(4_096))
        finally:
            mounted.kill()
            mounted.wait()

        alice.launch(wrapper=on_disk(image, alice.data)).wait_ready()
        wait_until_said(alice, "the disk is full")
        assert alice.ok("get", "content") == CONTENT
        assert alice.peer("put", "other", "-", stdin=CONTENT[::-1]).require_one_line(9)
        alice.ok("rm", "content")
        assert alice.peer("get", "content").require_one_line(3)
        assert alice.ok("get", "value") == b"before"


@needs_strace
def test_from_a_failed_sync_on_nothing_is_promised_until_all_was_read_again() -> None:
    with Daemons() as daemons:
        alice = daemons.prepare()
        bob = pair(daemons, [], alice)
        alice.ok("put", "content", "-", stdin=CONTENT)
        alice.ok("put", "value", "--value", "before")

        with injecting(alice, "error=EIO"):
            wait_until_said(alice, "syncing failed")
            assert ready(alice) == 503
            assert alice.peer("put", "other", "-", stdin=CONTENT[::-1]).require_one_line(1)
            stored = bob.json("put", "from bob", "--value", "hello")
            assert stored["holders"] == [bob.id]
            assert alice.ok("get", "content") == CONTENT
            assert alice.ok("get", "value") == b"before"
            assert alice.ok("get", "from bob") == b"hello"

        wait_until_said(alice)
        assert ready(alice) == 200
        stored = alice.json("put", "other", "-", stdin=CONTENT[::-1])
        assert set(stored["holders"]) == {alice.id, bob.id}
        alice.kill()
        alice.launch().wait_ready()
        for name, data in {"content": CONTENT, "value": b"before", "other": CONTENT[::-1]}.items():
            assert alice.ok("get", name) == data


@needs_strace
def test_syncs_of_two_seconds_make_puts_slow_and_nothing_else() -> None:
    with Daemons() as daemons:
        alice = daemons.start(name="slow")
        alice.ok("put", "value", "--value", "before")
        with injecting(alice, "delay_enter=2000000"):
            wait_until_said(alice, "syncing takes 2.…")
            putting = alice.popen("put", "other", "--value", "slowly")
            answered = []
            while putting.poll() is None:
                began = time.monotonic()
                assert alice.ok("get", "value") == b"before"
                answered.append(time.monotonic() - began)
            assert putting.returncode == 0
            assert putting.stderr is not None
            putting.stderr.close()
            print(f"{len(answered)} gets meanwhile, at most {max(answered):.2f} s")
            # A put waits for syncs of 2 s each; who gets waits for none.
            assert len(answered) > 1
            assert min(answered) < 2.0
            alice.kill()
        alice.launch().wait_ready()
        assert alice.ok("get", "other") == b"slowly"
        assert degraded(alice) == []


@needs_mounts
def test_a_data_directory_that_is_unmounted_is_neither_written_nor_made_anew_and_is_taken_on_again() -> None:
    with Daemons() as daemons:
        alice = daemons.prepare()
        real = alice.home / "real"
        real.mkdir(mode=0o700)
        alice.data.mkdir(parents=True, mode=0o700)
        script = 'mount --bind "$0" "$1" && shift && exec "$@"'
        wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(real), str(alice.data)]
        bob = pair(daemons, wrapper, alice)
        alice.ok("put", "content", "-", stdin=CONTENT)
        alice.ok("put", "value", "--value", "before")

        in_its_namespace(alice, "umount", "--lazy", str(alice.data))
        wait_until_said(alice, "the data directory is gone")
        assert ready(alice) == 503
        assert alice.peer("put", "other", "-", stdin=CONTENT[::-1]).require_one_line(1)
        assert bob.json("put", "from bob", "--value", "hello")["holders"] == [bob.id]
        assert alice.ok("get", "value") == b"before"
        assert alice.ok("get", "content") == CONTENT
        assert list(alice.data.iterdir()) == []

        in_its_namespace(alice, "mount", "--bind", str(real), str(alice.data))
        wait_until_said(alice)
        assert set(alice.json("put", "other", "-", stdin=CONTENT[::-1])["holders"]) == {alice.id, bob.id}
        assert alice.ok("get", "content") == CONTENT
        assert alice.ok("get", "from bob") == b"hello"
        assert list(alice.data.iterdir()) == []


@needs_mounts
def test_a_file_system_that_became_read_only_is_said_and_has_all_that_was_acknowledged() -> None:
    with Daemons() as daemons:
        alice, image = daemons.prepare(), daemons.root / "image"
        make_disk(image, 64 * 2**20)
        bob = pair(daemons, on_disk(image, alice.data), alice)
        alice.ok("put", "content", "-", stdin=CONTENT)
        alice.ok("put", "value", "--value", "before")
        device = inside(alice, alice.data).stat().st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        trigger = Path("/sys/fs/ext4") / name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("this kernel cannot be told to fail a file system")

        trigger.write_text("1")
        # A write that was under way then says beside it that its sync failed.
        until(lambda: "the file system is read-only" in degraded(alice), PATIENCE_S, lambda: degraded(alice))
        assert ready(alice) == 503
        assert alice.peer("put", "other", "-", stdin=CONTENT[::-1]).require_one_line(1)
        assert bob.json("put", "from bob", "--value", "hello")["holders"] == [bob.id]
        assert alice.ok("get", "content") == CONTENT
        assert alice.ok("get", "value") == b"before"

        alice.kill()
        subprocess.run(["e2fsck", "-p", str(image)], check=False, stdin=subprocess.DEVNULL, capture_output=True)
        alice.launch(wrapper=on_disk(image, alice.data)).wait_ready()
        assert degraded(alice) == []
        assert alice.ok("get", "content") == CONTENT
        assert alice.ok("get", "value") == b"before"


def rot(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def test_bytes_that_rotted_are_never_served_and_are_fetched_again() -> None:
    with Daemons() as daemons:
        alice = daemons.start(name="alice", env={"PEERD_SCRUB_INTERVAL_S": "2"})
        bob = daemons.start(None, "--bootstrap", alice.listen)
        meet([alice, bob])
        stored = alice.json("put", "content", "-", stdin=CONTENT)
        assert set(stored["holders"]) == {alice.id, bob.id}
        [block] = [path for path in (alice.data / "store" / "blocks").rglob("*") if path.is_file()]
        rot(block, 1_000)
        assert alice.ok("get", "content") == CONTENT
        until(lambda: block.exists() and block.read_bytes() == CONTENT, PATIENCE_S)
        # Nobody reads it now: the scrub finds it.
        rot(block, 2_000)
        until(lambda: block.exists() and block.read_bytes() == CONTENT, PATIENCE_S)

        value = b"a value that is looked for in the database, and found in one place only"
        assert set(alice.json("put", "value", "-", stdin=value)["holders"]) == {alice.id, bob.id}
        alice.stop()
        database = alice.data / "store" / "store.db"
        rot(database, database.read_bytes().index(value) + 10)
        alice.launch().wait_ready()
        meet([alice, bob])
        assert alice.ok("get", "value") == value
        until(
            lambda: value in b"".join(path.read_bytes() for path in (alice.data / "store").glob("store.db*")),
            PATIENCE_S,
        )


def test_a_store_that_is_gone_or_damaged_stops_the_start_with_what_to_do() -> None:
    with Daemons() as daemons:
        alice = daemons.start(name="alice")
        alice.ok("put", "value", "--value", "before")
        alice.stop()
        (alice.data / "store").rename(alice.home / "away")
        lines = alice.refuse()
        assert "the store of this peer is gone" in lines[0] and lines[1].startswith("hint: mount its disk"), lines
        assert not (alice.data / "store").exists()
        (alice.home / "away").rename(alice.data / "store")
        alice.launch().wait_ready()
        assert alice.ok("get", "value") == b"before"
        alice.stop()

        database = alice.data / "store" / "store.db"
        database.write_bytes(b"\xff" * database.stat().st_size)
        alice.launch()
        assert alice.process is not None
        assert alice.process.wait(PATIENCE_S) == 1
        assert "is not a database" in alice.log and "hint: restore the data directory from a backup" in alice.log
