"""The versions of a key as server-sent events: their form, where they begin, how they end."""

import asyncio
import json

import pytest

from peerd.api import watched
from peerd.node.results import WatchedVersion
from peerd.node.versions import Told

from .conftest import Api
from .test_events import read_chunk
from .wire import DEADLINE_S

ENTRY = WatchedVersion(version="v1", writer="w", cid=None, size=3, deleted=True, missed=2)


async def _opened(
    api: Api, target: str, headers: dict[str, str] | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await api.unix.connect()
    writer.write(api.unix.head("GET", target, headers))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head and b"text/event-stream" in head
    return reader, writer


async def _closed(api: Api) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while api.peer.versions.open:
            await asyncio.sleep(0.001)


async def test_it_begins_with_an_id_alone_and_each_version_has_its_own(api: Api) -> None:
    reader, writer = await _opened(api, "/v1/events?key=a/b")
    assert await read_chunk(reader) == b"retry: 1000\nid: v0\n\n"
    api.peer.versions.coming.put_nowait(Told("v1", ENTRY))
    first, event, data, *rest = (await read_chunk(reader)).split(b"\n")
    assert (first, event, rest) == (b"id: v1", b"event: version", [b"", b""])
    assert json.loads(data.removeprefix(b"data: ")) == {
        "version": "v1",
        "writer": "w",
        "cid": None,
        "size": 3,
        "deleted": True,
        "conflict": False,
        "missed": 2,
    }
    writer.close()
    await _closed(api)
    assert api.peer.versions.asked == [("a/b", None)]


async def test_the_last_event_id_counts_more_than_after(api: Api) -> None:
    for headers, after in (({}, "v5"), ({"Last-Event-ID": "v7"}, "v7")):
        _, writer = await _opened(api, "/v1/events?key=k&own&after=v5", headers)
        assert api.peer.versions.asked[-1] == (f"{api.peer.id_text}/k", after)
        writer.close()
    await _closed(api)


async def test_a_quiet_key_has_a_heartbeat(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "HEARTBEAT_S", 0.01)
    reader, writer = await _opened(api, "/v1/events?key=k")
    await read_chunk(reader)
    assert await read_chunk(reader) == await read_chunk(reader) == b":\n\n"
    api.peer.versions.coming.put_nowait(Told("v1", ENTRY))
    while (chunk := await read_chunk(reader)) == b":\n\n":
        pass
    assert chunk.startswith(b"id: v1\n"), "none was lost to a heartbeat"
    writer.close()
    await _closed(api)


@pytest.mark.parametrize("query", ["key=k&after=wrong", "after=v1", "own", "key=", "key=k&nonsense=1"])
async def test_what_cannot_be_watched_is_an_answer_and_no_stream(api: Api, query: str) -> None:
    answer = await api.unix.ask("GET", f"/v1/events?{query}")
    assert (answer.status, answer.json["code"]) == (400, "usage")
