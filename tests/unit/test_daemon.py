"""The composition root on loopback: an embedded peer starts, serves and leaves nothing; what is wrong is said first."""

import asyncio
import io
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from peerd.config import HostPort, Settings
from peerd.config.address import parse_api_address
from peerd.daemon import open_peer, run
from peerd.errors import PeerdError, StoreError, UsageError
from peerd.node.peer import Peer
from peerd.node.results import GetOptions, PutOptions

from .node.hosts import once

BIG = random.Random(1).randbytes(3 * 2**20 + 1)


def settings(path: Path, *told: Peer, **changes: Any) -> Settings:
    bootstrap = tuple(HostPort(*peer.addresses[0]) for peer in told)
    fields = {"data": path / "data", "listen": HostPort("127.0.0.1", 0), "mdns": False, "bootstrap": bootstrap}
    return Settings(**{**fields, **changes})


async def put(peer: Peer, name: str, data: bytes, form: Any = "file") -> str:
    return (await peer.put(name, once(data), form=form, options=PutOptions())).cid


async def get(peer: Peer, name: str) -> bytes:
    opened = await peer.open(name, GetOptions())
    body = opened.tar() if opened.kind == "directory" else opened.body()
    return b"".join([piece async for piece in body])


async def meet(*peers: Peer) -> None:
    async with asyncio.timeout(20):
        for peer in peers:
            while sum(info.state == "alive" for info in await peer.peers()) < len(peers) - 1:
                await asyncio.sleep(0.02)


async def test_an_embedded_peer_in_memory_writes_nothing_and_ends_whole(tmp_path: Path) -> None:
    async with open_peer(settings(tmp_path), memory=True) as peer:
        await put(peer, "a", b"hello")
        assert await get(peer, "a") == b"hello"
        host, port = peer.addresses[0]
        assert (host, peer.listen_text) == ("127.0.0.1", f"127.0.0.1:{port}")
    assert list(tmp_path.iterdir()) == []
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))


async def test_a_program_hears_peerd_from_when_it_says_so_whatever_peers_it_opens(tmp_path: Path) -> None:
    heard: list[str] = []
    sink = logger.add(heard.append, level="DEBUG", format="{name}: {message}")
    try:
        async with (
            open_peer(settings(tmp_path), memory=True) as alice,
            open_peer(settings(tmp_path, alice), memory=True) as bob,
        ):
            await meet(alice, bob)
    finally:
        logger.remove(sink)
    assert "peerd.node.endpoint: session established\n" in heard


SILENT = """
import asyncio, pathlib, sys
from msgspec.structs import replace
from peerd.config import HostPort, Settings
from peerd.daemon import open_peer

async def main():
    settings = Settings(data=pathlib.Path(sys.argv[1]), listen=HostPort("127.0.0.1", 0), mdns=False)
    async with open_peer(settings, memory=True) as alice:
        told = (HostPort(*alice.addresses[0]),)
        async with open_peer(replace(settings, bootstrap=told), memory=True) as bob:
            while not [info for info in await bob.peers() if info.state == "alive"]:
                await asyncio.sleep(0.02)

asyncio.run(main())
"""


def test_peers_in_a_program_that_did_not_ask_to_hear_them_say_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SILENT, str(tmp_path / "data")], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("", "")


async def test_peers_on_real_sockets_meet_and_share(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(open_peer(settings(tmp_path), memory=True))
        bob = await stack.enter_async_context(open_peer(settings(tmp_path, alice), memory=True))
        carol = await stack.enter_async_context(open_peer(settings(tmp_path, alice), memory=True))
        await meet(alice, bob, carol)
        await put(alice, "small", b"hello")
        await put(bob, "big", BIG)
        for peer in (alice, bob, carol):
            assert await get(peer, "small") == b"hello"
            assert await get(peer, "big") == BIG


async def test_the_tar_of_a_directory_taken_in_again_is_the_same_directory(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in {"a": b"hello", "sub/big": BIG, "sub/ñ/empty": b"", "z" * 200: b"long name"}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o600, 12345
            tar.addfile(info, io.BytesIO(data))
        for name, kind, target in (("link", tarfile.SYMTYPE, "../x"), ("hollow", tarfile.DIRTYPE, "")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(open_peer(settings(tmp_path), memory=True))
        bob = await stack.enter_async_context(open_peer(settings(tmp_path, alice), memory=True))
        await meet(alice, bob)
        cid = await put(alice, "directory", out.getvalue(), "tar")
        told = await get(bob, "directory")
        assert await put(bob, "again", told, "tar") == cid
        with tarfile.open(fileobj=io.BytesIO(told)) as tar:
            assert {"a", "sub", "sub/big", "sub/ñ/empty", "hollow", "link", "z" * 200} <= set(tar.getnames())


async def test_what_was_acknowledged_is_there_after_a_restart_under_the_same_id(tmp_path: Path) -> None:
    async with open_peer(settings(tmp_path)) as peer:
        await put(peer, "small", b"hello")
        await put(peer, "big", BIG)
        first = peer.id_text
    async with open_peer(settings(tmp_path)) as peer:
        assert peer.id_text == first
        assert await get(peer, "small") == b"hello"
        assert await get(peer, "big") == BIG


async def test_a_restarted_peer_finds_the_others_it_remembers(tmp_path: Path) -> None:
    async with open_peer(settings(tmp_path / "bob"), memory=True) as bob:
        async with open_peer(settings(tmp_path, bob)) as alice:
            await meet(alice, bob)
        async with open_peer(settings(tmp_path)) as alice:
            await meet(alice, bob)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
async def test_a_taken_port_is_told_before_anything_is_written(tmp_path: Path, kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=str(port)):
            async with open_peer(settings(tmp_path, listen=HostPort("127.0.0.1", port))):
                pass
    assert list(tmp_path.iterdir()) == []


async def test_a_data_directory_in_use_is_told(tmp_path: Path) -> None:
    async with open_peer(settings(tmp_path)):
        with pytest.raises(UsageError, match="use"):
            async with open_peer(settings(tmp_path)):
                pass


async def test_a_damaged_identity_is_told_and_left_alone(tmp_path: Path) -> None:
    async with open_peer(settings(tmp_path)):
        pass
    identity = tmp_path / "data" / "identity.key"
    identity.write_bytes(b"short")
    with pytest.raises(PeerdError, match="identity"):
        async with open_peer(settings(tmp_path)):
            pass
    assert identity.read_bytes() == b"short"


def everything_in(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*"))


async def test_an_identity_without_its_store_is_told_before_anything_is_written(tmp_path: Path) -> None:
    async with open_peer(settings(tmp_path)) as peer:
        before = peer.id_text
    (tmp_path / "data" / "store").rename(tmp_path / "away")
    found = everything_in(tmp_path)

    with pytest.raises(UsageError, match="the store of this peer is gone") as caught:
        async with open_peer(settings(tmp_path)):
            pass

    assert "to begin anew" in (caught.value.hint or "")
    assert everything_in(tmp_path) == found
    (tmp_path / "away").rename(tmp_path / "data" / "store")
    async with open_peer(settings(tmp_path)) as peer:
        assert peer.id_text == before


async def test_a_start_broken_off_before_the_identity_was_made_is_begun_again(tmp_path: Path) -> None:
    async with open_peer(settings(tmp_path)):
        pass
    for name in ("identity.key", "store-seen"):
        (tmp_path / "data" / name).unlink()

    async with open_peer(settings(tmp_path)) as peer:
        await put(peer, "a", b"hello")


@pytest.mark.slow
async def test_a_store_copied_back_from_a_backup_is_known_for_it(tmp_path: Path) -> None:
    async with open_peer(settings(tmp_path)) as peer:
        first = peer._core.store.store_id
        await put(peer, "a", b"old")
    shutil.copytree(tmp_path / "data" / "store", tmp_path / "backup")
    async with open_peer(settings(tmp_path)) as peer:
        assert not peer._core.store.restored
        assert peer._core.store.store_id == first
    shutil.rmtree(tmp_path / "data" / "store")
    shutil.copytree(tmp_path / "backup", tmp_path / "data" / "store")

    async with open_peer(settings(tmp_path)) as peer:
        assert peer._core.store.restored
        assert peer._core.store.store_id != first
        assert await get(peer, "a") == b"old"
    async with open_peer(settings(tmp_path)) as peer:
        assert not peer._core.store.restored


async def test_a_sick_disk_is_told_in_the_status_by_events_and_to_who_asks_whether_it_is_ready(tmp_path: Path) -> None:
    async with open_peer(settings(tmp_path), memory=True) as peer, asyncio.timeout(20):
        events, health = peer.events(), peer._core.store.health
        await put(peer, "a", b"hello")
        health.distrust("sync", "syncing failed")
        while (event := await anext(events)).kind != "degraded":
            pass
        assert event.fields == {"reasons": ["syncing failed"]}
        status = await peer.status()
        assert (status.degraded, status.health) == (["syncing failed"], "degraded: syncing failed")
        assert peer.unready == "syncing failed"
        assert await get(peer, "a") == b"hello"
        with pytest.raises(StoreError, match="syncing failed"):
            await put(peer, "b", b"hello")

        health.restore_trust(health.failures)
        while (event := await anext(events)).kind != "recovered":
            pass
        assert (await peer.status()).degraded == []
        assert peer.unready is None
        await put(peer, "b", b"hello")


async def test_another_secret_is_another_network(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        for name in ("one", "other"):
            key = tmp_path / name
            key.write_bytes(name.encode() * 8)
            key.chmod(0o600)
        ours, others = {"network_key": tmp_path / "one"}, {"network_key": tmp_path / "other"}
        alice = await stack.enter_async_context(open_peer(settings(tmp_path, **ours), memory=True))
        bob = await stack.enter_async_context(open_peer(settings(tmp_path, alice, **others), memory=True))
        carol = await stack.enter_async_context(open_peer(settings(tmp_path, alice, **ours), memory=True))
        await meet(alice, carol)
        assert list(await bob.peers()) == []
        assert len(await alice.peers()) == 1


async def test_without_time_to_leave_a_peer_ends_all_the_same(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(open_peer(settings(tmp_path, leave_timeout_s=0.0), memory=True))
        bob = await stack.enter_async_context(open_peer(settings(tmp_path, alice, leave_timeout_s=0.0), memory=True))
        await meet(alice, bob)
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_a_fault_of_the_program_around_it_ends_the_peer_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_peer(settings(tmp_path), memory=True) as peer:
            port = peer.addresses[0][1]
            raise ZeroDivisionError
    async with open_peer(settings(tmp_path, listen=HostPort("127.0.0.1", port)), memory=True):
        pass


async def test_the_daemon_runs_until_it_is_told_to_stop_and_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    api = (parse_api_address(f"unix:{path}"),)
    running = asyncio.create_task(run(settings(tmp_path, api=api)))
    async with asyncio.timeout(20):
        while not path.exists():
            assert not running.done(), running
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == 0
    assert not path.exists()
