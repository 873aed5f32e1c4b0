"""How a body reaches the node: in bounded chunks, at the node's pace, whole or with an error."""

import asyncio

import pytest

from peerd.errors import NoRoomError, TooFewCopiesError

from .conftest import Api
from .wire import DEADLINE_S, read_answer

MIB = 1024 * 1024


async def test_a_large_body_comes_in_chunks_of_64_kib_to_1_mib(api: Api) -> None:
    body = bytes(8 * MIB + 3)

    answer = await api.unix.ask("POST", "/v1/content", body)

    assert (answer.status, answer.json["size"]) == (201, len(body))
    assert "key" not in answer.json and "etag" not in answer.headers
    assert all(64 * 1024 <= size <= MIB for size in api.peer.chunks[:-1])
    assert 0 < api.peer.chunks[-1] <= MIB


async def test_a_body_that_trickles_in_is_gathered(api: Api) -> None:
    _, writer = await api.unix.connect()
    writer.write(api.unix.head("PUT", "/v1/kv/a", {"Content-Length": str(200 * 1000)}))
    for _ in range(200):
        writer.write(bytes(1000))
        await asyncio.sleep(0)

    await api.peer.ended.wait()

    assert sum(api.peer.chunks) == 200_000
    assert len(api.peer.chunks) <= 4
    writer.close()


async def test_a_chunked_body_of_unknown_length_is_taken(api: Api) -> None:
    head = api.unix.head("PUT", "/v1/kv/a", {"Transfer-Encoding": "chunked"})

    answer = await api.unix.raw(head + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")

    assert answer.status == 201
    assert api.peer.names["a"].data == b"hello world"


async def test_an_absent_body_is_an_empty_value(api: Api) -> None:
    assert (await api.unix.ask("PUT", "/v1/kv/a")).status == 201
    assert (await api.unix.ask("PUT", "/v1/kv/b", b"")).status == 201
    assert api.peer.names["a"].data == api.peer.names["b"].data == b""


async def test_a_node_that_takes_nothing_holds_the_client_back(api: Api) -> None:
    api.peer.taking = asyncio.Event()
    _, writer = await api.unix.connect()
    writer.write(api.unix.head("PUT", "/v1/kv/a", {"Content-Length": str(16 * MIB)}))
    writer.write(bytes(16 * MIB))

    await api.peer.started.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await writer.drain()

    assert writer.transport.get_write_buffer_size() > 12 * MIB
    assert len(api.peer.chunks) == 1
    # Nobody looks at a connection that is held back; that the client has gone shows as soon as the node goes on.
    writer.transport.abort()
    api.peer.taking.set()
    await api.peer.ended.wait()
    assert api.peer.error is not None


@pytest.mark.parametrize("framing", [{"Content-Length": "1000000"}, {"Transfer-Encoding": "chunked"}])
async def test_a_client_that_goes_away_ends_the_put_and_stores_nothing(api: Api, framing: dict[str, str]) -> None:
    _, writer = await api.unix.connect()
    writer.write(api.unix.head("PUT", "/v1/kv/a", framing) + b"5\r\nhello\r\n")
    await api.peer.started.wait()

    writer.close()

    async with asyncio.timeout(DEADLINE_S):
        await api.peer.ended.wait()
    assert api.peer.error is not None
    assert not api.peer.names


async def test_a_client_that_goes_away_after_its_body_ends_the_put_too(api: Api) -> None:
    api.peer.waiting = asyncio.Event()
    _, writer = await api.unix.connect()
    writer.write(api.unix.head("PUT", "/v1/kv/a", {"Content-Length": "5"}) + b"hello")
    await api.peer.started.wait()

    writer.close()

    async with asyncio.timeout(DEADLINE_S):
        await api.peer.ended.wait()
    assert isinstance(api.peer.error, asyncio.CancelledError)


async def test_a_client_that_falls_silent_is_408(api: Api) -> None:
    api.server.body_idle_s = 0.05
    reader, writer = await api.unix.connect()
    writer.write(api.unix.head("PUT", "/v1/kv/a", {"Content-Length": "100"}) + b"hello")

    answer = await read_answer(reader)

    assert (answer.status, answer.code) == (408, "usage")
    assert not api.peer.names
    writer.transport.abort()


async def test_broken_chunks_are_400_and_store_nothing(api: Api) -> None:
    head = api.unix.head("PUT", "/v1/kv/a", {"Transfer-Encoding": "chunked"})

    answer = await api.unix.raw(head + b"5\r\nhello\r\nzz\r\n")

    assert (answer.status, answer.code) == (400, "usage")
    assert not api.peer.names


async def test_a_coded_body_is_415_and_is_not_unpacked(api: Api) -> None:
    answer = await api.unix.ask("PUT", "/v1/kv/a", b"x", {"Content-Encoding": "gzip"})

    assert (answer.status, answer.code) == (415, "usage")


async def test_a_transfer_coding_but_chunked_is_415_and_its_bytes_are_not_stored(api: Api) -> None:
    head = api.unix.head("PUT", "/v1/kv/a", {"Transfer-Encoding": "gzip, chunked"})

    answer = await api.unix.raw(head + b"5\r\nhello\r\n0\r\n\r\n")

    assert (answer.status, answer.code) == (415, "usage")
    assert not api.peer.names


async def test_100_continue_is_said_only_once_the_node_wants_the_body(api: Api) -> None:
    reader, writer = await api.unix.connect()
    head = api.unix.head("PUT", "/v1/kv/a", {"Content-Length": "5", "Expect": "100-continue"})
    writer.write(head)
    assert (await read_answer(reader)).status == 100
    writer.write(b"hello")
    assert (await read_answer(reader)).status == 201
    writer.close()

    api.peer.fail_before_body = NoRoomError("full")
    reader, writer = await api.unix.connect()
    writer.write(head)
    assert (await read_answer(reader)).status == 507
    writer.transport.abort()


async def test_a_refusal_before_the_end_of_the_body_reaches_a_client_that_is_still_sending(api: Api) -> None:
    api.peer.fail_before_body = NoRoomError("full")

    answer = await api.unix.ask("PUT", "/v1/kv/a", bytes(16 * MIB), {"Connection": "keep-alive"})

    assert (answer.status, answer.code) == (507, "no_room")
    assert answer.headers["connection"] == "close"


async def test_too_few_copies_is_503_with_what_was_reached(api: Api) -> None:
    api.peer.fail_before_body = TooFewCopiesError("1 of 3", reached={"copies": 1, "cid": "b"}, hint="more peers")

    answer = await api.unix.ask("PUT", "/v1/kv/a?require=3", b"x")

    assert (answer.status, answer.code) == (503, "too_few_copies")
    assert answer.json["reached"] == {"copies": 1, "cid": "b"}
    assert answer.json["hint"] == "more peers"
