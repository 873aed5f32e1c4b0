"""A real server on a Unix socket and on a free port of the loopback, over a peer in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peerd.api.server import ApiServer, Places

from .double import DoublePeer
from .wire import Client

TOKEN = "a-token-of-the-test"


@dataclass
class Api:
    server: ApiServer
    peer: DoublePeer
    unix: Client
    tcp: Client


@pytest.fixture
def peer() -> DoublePeer:
    return DoublePeer()


@pytest.fixture
async def api(peer: DoublePeer, tmp_path: Path) -> AsyncIterator[Api]:
    places = Places(data=str(tmp_path), token=str(tmp_path / "token"))
    wanted = [f"unix:{tmp_path}/s/api.sock", "127.0.0.1:0"]
    server = ApiServer(peer, wanted, TOKEN, places=places, connections_max=8, grace_s=0.1)  # type: ignore[arg-type]
    unix, tcp = await server.start()
    yield Api(server, peer, Client(unix), Client(tcp, TOKEN))
    await server.stop()
