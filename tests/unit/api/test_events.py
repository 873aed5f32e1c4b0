"""The event stream: its form, its heartbeat, its end."""

import asyncio
import json
from pathlib import Path

import pytest

from peerd.api import events
from peerd.api.server import ApiServer, Places
from peerd.node.events import Event

from .conftest import Api
from .double import DoublePeer
from .wire import DEADLINE_S, Client


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readline(), 16)
    chunk = await reader.readexactly(size)
    await reader.readline()
    return chunk


async def test_an_event_is_its_kind_and_its_json_on_one_line(api: Api) -> None:
    reader, writer = await api.tcp.connect()
    writer.write(api.tcp.head("GET", "/v1/events"))
    head = await reader.readuntil(b"\r\n\r\n")

    api.peer.happened.put_nowait(Event("stored", {"key": "a\nb\n\ndata: forged"}))
    chunk = await read_chunk(reader)

    assert b"Content-Type: text/event-stream" in head
    kind, data, *rest = chunk.split(b"\n")
    assert (kind, rest) == (b"event: stored", [b"", b""])
    fields = {"key": "a\nb\n\ndata: forged"}
    assert json.loads(data.removeprefix(b"data: ")) == {"kind": "stored", "fields": fields}
    writer.close()


async def test_a_quiet_stream_has_a_heartbeat(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.01)
    reader, writer = await api.unix.connect()
    writer.write(api.unix.head("GET", "/v1/events"))
    await reader.readuntil(b"\r\n\r\n")

    assert await read_chunk(reader) == await read_chunk(reader) == b":\n\n"
    writer.close()


async def test_a_client_that_goes_ends_the_listening(api: Api) -> None:
    reader, writer = await api.unix.connect()
    writer.write(api.unix.head("GET", "/v1/events"))
    await reader.readuntil(b"\r\n\r\n")
    while not api.peer.bodies_open:
        await asyncio.sleep(0.001)

    writer.close()

    async with asyncio.timeout(DEADLINE_S):
        while api.peer.bodies_open:
            await asyncio.sleep(0.001)


async def test_a_stop_does_not_wait_for_the_stream(peer: DoublePeer, tmp_path: Path) -> None:
    places = Places(data="d", token="t")
    server = ApiServer(peer, [f"unix:{tmp_path}/api.sock"], "t", places=places, grace_s=60)  # type: ignore[arg-type]
    (address,) = await server.start()
    reader, writer = await Client(address).connect()
    writer.write(Client(address).head("GET", "/v1/events"))
    await reader.readuntil(b"\r\n\r\n")

    async with asyncio.timeout(DEADLINE_S):
        await server.stop()
        await reader.read()

    assert peer.bodies_open == 0
    writer.close()


async def test_the_stream_ends_when_the_node_ends_it(api: Api) -> None:
    api.peer.happened.put_nowait(None)

    answer = await api.unix.ask("GET", "/v1/events")

    assert (answer.status, answer.body, answer.whole) == (200, b"", True)
