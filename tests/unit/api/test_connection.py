"""Bounds on connections, headers and patience; what is no HTTP; keep-alive; stopping."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from peerd.api.server import ApiServer, Places

from .conftest import Api
from .double import DoublePeer
from .wire import DEADLINE_S, Client, read_answer


@pytest.mark.parametrize(
    "noise",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/id HTTP/9.9\r\n\r\n",
        b"GET /v1/id HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET http://evil.example/v1/id HTTP/1.1\r\n\r\n",
        b"GET http://x:99999/ HTTP/1.1\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_a_problem_and_is_not_quoted_back(api: Api, noise: bytes) -> None:
    answer = await api.unix.raw(noise)

    assert (answer.status, answer.code) == (400, "usage")
    assert b"evil" not in answer.body


async def test_lines_and_headers_are_bounded(api: Api) -> None:
    assert (await api.unix.ask("GET", "/v1/kv/" + "a" * 9000)).status in {400, 431}
    assert (await api.unix.ask("GET", "/v1/id", headers={"X": "a" * 9000})).status in {400, 431}
    many = {f"X-{index}": "1" for index in range(200)}
    assert (await api.unix.ask("GET", "/v1/id", headers=many)).status in {400, 431}


async def test_connections_above_the_bound_are_told_so_on_that_address_only(api: Api) -> None:
    held = [await api.unix.connect() for _ in range(8)]
    while api.server.connection_count < 8:
        await asyncio.sleep(0.001)

    answer = await api.unix.ask("GET", "/v1/id")

    assert (answer.status, answer.code) == (503, "unavailable")
    assert (await api.tcp.ask("GET", "/v1/id")).status == 200
    for _, writer in held:
        writer.transport.abort()
    while api.server.connection_count:
        await asyncio.sleep(0.001)
    assert (await api.unix.ask("GET", "/v1/id")).status == 200


async def test_on_tcp_connections_that_nothing_was_admitted_on_make_way_the_oldest_first(api: Api) -> None:
    held = [await api.tcp.connect() for _ in range(20)]

    assert (await api.tcp.ask("GET", "/v1/id")).status == 200

    for reader, _ in held[:12]:
        with suppress(ConnectionError):
            assert await reader.read() == b""
    assert api.server.connection_count <= 8
    for _, writer in held:
        writer.transport.abort()


async def test_on_tcp_connections_with_a_token_stay_and_the_next_is_told_so(api: Api) -> None:
    head = api.tcp.head("GET", "/v1/id").replace(b"Connection: close\r\n", b"")
    held = []
    for _ in range(8):
        reader, writer = await api.tcp.connect()
        writer.write(head)
        assert (await read_answer(reader)).status == 200
        held.append((reader, writer))

    answer = await api.tcp.ask("GET", "/v1/id")

    assert (answer.status, answer.code) == (503, "unavailable")
    for reader, writer in held:
        writer.write(head)
        assert (await read_answer(reader)).status == 200
        writer.transport.abort()


async def test_a_client_that_never_ends_its_headers_is_cut_off(tmp_path: Path) -> None:
    server = ApiServer(
        DoublePeer(),  # type: ignore[arg-type]
        [f"unix:{tmp_path}/api.sock"],
        "t",
        places=Places(data="d", token="t"),
        idle_s=0.1,
        grace_s=0.1,
    )
    (address,) = await server.start()
    silent, slow = await Client(address).connect(), await Client(address).connect()
    slow[1].write(b"GET /v1/id HTTP/1.1\r\nX-Slow: ")

    async with asyncio.timeout(DEADLINE_S):
        assert await silent[0].read() == b""
        assert await slow[0].read() == b""

    for _, writer in (silent, slow):
        writer.close()
    await server.stop()


async def test_a_connection_serves_several_requests(api: Api) -> None:
    api.peer.keep("a", b"x" * 5000)
    reader, writer = await api.unix.connect()
    head = api.unix.head("GET", "/v1/kv/a").replace(b"Connection: close\r\n", b"")

    writer.write(head * 3)

    assert [(await read_answer(reader)).body for _ in range(3)] == [b"x" * 5000] * 3
    writer.close()


async def test_stopping_ends_what_is_in_flight_and_frees_the_addresses(api: Api) -> None:
    api.peer.waiting = asyncio.Event()
    reader, writer = await api.unix.connect()
    writer.write(api.unix.head("PUT", "/v1/kv/a", {"Content-Length": "1"}) + b"x")
    await api.peer.started.wait()

    async with asyncio.timeout(DEADLINE_S):
        await api.server.stop()

    assert api.peer.error is not None
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(OSError):
        await api.unix.connect()


async def test_requests_are_answered_side_by_side(api: Api) -> None:
    api.peer.waiting = asyncio.Event()
    slow = asyncio.ensure_future(api.unix.ask("GET", "/v1/find?target=a"))

    assert (await api.unix.ask("GET", "/v1/id")).status == 200
    api.peer.waiting.set()
    assert (await slow).status == 200
