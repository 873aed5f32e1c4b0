"""The daemon runs on uvloop, whose transports differ from asyncio's: the same life of a server on it."""

import asyncio
from pathlib import Path

import pytest

from peerd.api.server import ApiServer, Places

from .double import DoublePeer
from .wire import Client

uvloop = pytest.importorskip("uvloop")


def test_a_server_lives_and_ends_on_uvloop(tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_life(tmp_path))


async def _life(tmp_path: Path) -> None:
    peer = DoublePeer()
    places = Places(data="d", token="t")
    server = ApiServer(peer, [f"unix:{tmp_path}/api.sock", "127.0.0.1:0"], "t", places=places, connections_max=1)  # type: ignore[arg-type]
    unix, tcp = await server.start()
    body = bytes(3 * 1024 * 1024)

    assert (await Client(unix).ask("PUT", "/v1/kv/a", body)).status == 201
    assert (await Client(tcp, "t").ask("GET", "/v1/kv/a")).body == body

    _, held = await Client(unix).connect()
    held.write(Client(unix).head("PUT", "/v1/kv/b", {"Content-Length": "9"}) + b"x")
    peer.started.clear()
    await peer.started.wait()
    assert (await Client(unix).ask("GET", "/v1/id")).code == "unavailable"
    peer.ended.clear()
    held.transport.abort()
    await peer.ended.wait()
    assert "b" not in peer.names

    peer.break_at = 2000
    assert not (await Client(tcp, "t").ask("GET", "/v1/kv/a")).whole
    await server.stop()
