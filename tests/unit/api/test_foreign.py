"""Every route against web pages, strangers and old tokens: refused, nothing of the peer was even asked; rotation."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peerd.api.server import ApiServer, Places
from peerd.errors import StoreError

from .conftest import Api
from .double import DoublePeer
from .foreign import METHODS, OPEN, Attempt, attempts, paths
from .wire import Answer, Client, read_answer

TOKENS = ["the-first-token", "the-second-token", "the-third-token"]


class Watched:
    """A peer that notes what is called of it."""

    def __init__(self, peer: DoublePeer) -> None:
        self.peer = peer
        self.called: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if callable(getattr(self.peer, name)):
            self.called[name] += 1
        return getattr(self.peer, name)


@pytest.fixture
async def rotating(tmp_path: Path) -> AsyncIterator[Api]:
    """A server that makes its next tokens of TOKENS."""
    left = TOKENS[1:]
    peer = DoublePeer()
    server = ApiServer(
        Watched(peer),  # type: ignore[arg-type]
        [f"unix:{tmp_path}/s/api.sock", "127.0.0.1:0"],
        TOKENS[0],
        places=Places(data=str(tmp_path), token=str(tmp_path / "token")),
        new_token=lambda: left.pop(0),
        grace_s=0.1,
    )
    unix, tcp = await server.start()
    yield Api(server, peer, Client(unix), Client(tcp, TOKENS[0]))
    await server.stop()


async def rotate(api: Api, by: Client) -> None:
    answer = await by.ask("POST", "/v1/token", b"")
    assert (answer.status, answer.json) == (200, {"token": api.server.places.token})
    assert not any(token.encode() in answer.body for token in TOKENS)


class Sender:
    """Sends attempts over one connection, as long as the server keeps it: thousands of them take seconds."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.opened: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, attempt: Attempt) -> Answer:
        reader, writer = self.opened or await self.client.connect()
        self.opened = reader, writer
        async with asyncio.timeout(40):
            writer.write(attempt.raw("keep-alive"))
            answer = await read_answer(reader, attempt.method)
        if answer.headers.get("connection", "").lower() == "close" or not answer.whole:
            self.close()
        return answer

    def close(self) -> None:
        if self.opened:
            self.opened[1].transport.abort()
        self.opened = None


@pytest.mark.slow
async def test_what_pages_and_strangers_try_of_any_route_is_refused_and_asks_nothing_of_the_peer(rotating: Api) -> None:
    await rotate(rotating, rotating.unix)
    rotating.peer.keep("k", b"value")
    before = repr(rotating.peer)
    wrong = []
    tried = 0
    sender = Sender(rotating.tcp)
    for attempt in attempts(rotating.tcp.host, TOKENS[1], TOKENS[0]):
        answer = await sender.send(attempt)
        tried += 1
        welcomed = [name for name in answer.headers if name.startswith("access-control")]
        if answer.status not in attempt.statuses or welcomed or TOKENS[1].encode() in answer.body:
            wrong.append((answer.status, welcomed, attempt))
    sender.close()
    assert wrong == []
    assert tried > len(METHODS) * len(paths()) * 20
    assert repr(rotating.peer) == before
    watched = rotating.server._peer
    assert isinstance(watched, Watched)
    assert set(watched.called) <= {"status"}  # what a health path asks
    assert await works(rotating.tcp, TOKENS[1])


async def test_who_may_ask_is_let_in_at_every_route(rotating: Api) -> None:
    rotating.peer.keep("k", b"value")
    await rotating.peer.happened.put(None)
    for path in paths():
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            if path in OPEN or path == "/v1/lab/drop":
                continue
            answer = await rotating.tcp.ask(method, path, b"" if method == "PUT" else None)
            assert answer.status not in (401, 403), (method, path, answer)


async def works(client: Client, token: str) -> bool:
    return (await client.ask("GET", "/v1/status", headers={"Authorization": f"Bearer {token}"})).status == 200


async def test_a_token_that_was_rotated_away_opens_nothing_from_then_on(rotating: Api) -> None:
    await rotate(rotating, rotating.tcp)

    assert not await works(rotating.tcp, TOKENS[0])
    assert await works(rotating.tcp, TOKENS[1])
    rotating.tcp.token = TOKENS[1]
    await rotate(rotating, rotating.tcp)
    assert [await works(rotating.tcp, token) for token in TOKENS] == [False, False, True]


async def test_a_connection_that_was_opened_with_the_old_token_is_asked_for_the_new_one(rotating: Api) -> None:
    reader, writer = await rotating.tcp.connect()
    head = rotating.tcp.head("GET", "/v1/status").replace(b"Connection: close", b"Connection: keep-alive")
    writer.write(head)
    assert (await read_answer(reader)).status == 200
    await rotate(rotating, rotating.unix)

    writer.write(head)

    assert (await read_answer(reader)).status == 401
    writer.transport.abort()


async def test_events_that_the_old_token_watches_end_and_those_of_the_socket_go_on(rotating: Api) -> None:
    streams = []
    for client in (rotating.tcp, rotating.unix):
        reader, writer = await client.connect()
        writer.write(client.head("GET", "/v1/events"))
        await reader.readuntil(b"\r\n\r\n")
        streams.append((reader, writer))

    await rotate(rotating, rotating.unix)

    (remote, _), (local, _) = streams
    async with asyncio.timeout(10):
        await remote.read()
    assert not local.at_eof()
    await rotating.peer.happened.put(None)
    async with asyncio.timeout(10):
        await local.read()
    for _, writer in streams:
        writer.transport.abort()


async def test_a_token_that_cannot_be_written_leaves_the_old_one(rotating: Api) -> None:
    def fail() -> str:
        raise StoreError("the disk fails")

    rotating.server._new_token = fail

    assert (await rotating.unix.ask("POST", "/v1/token", b"")).code == "store"
    assert await works(rotating.tcp, TOKENS[0])


async def test_a_server_whose_token_is_its_programs_says_so(api: Api) -> None:
    answer = await api.unix.ask("POST", "/v1/token", b"")

    assert (answer.status, answer.code) == (400, "usage")
