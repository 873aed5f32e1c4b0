"""What GET and HEAD send: bytes, headers, ranges, conditions; and how a client sees that a body broke."""

import asyncio
import json
import os

import pytest

from peerd.api.server import WRITE_IDLE_S
from peerd.errors import IntegrityError, TimedOutError

from .conftest import Api
from .double import tar_of
from .wire import DEADLINE_S, Client, read_answer

DATA = bytes(range(256)) * 20


async def test_a_file_comes_with_its_length_tag_and_result(api: Api) -> None:
    cid = api.peer.keep("ключ\x7f\n", DATA).cid

    answer = await api.unix.ask("GET", "/v1/kv/%D0%BA%D0%BB%D1%8E%D1%87%7F%0A")

    assert (answer.status, answer.body) == (200, DATA)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == '"v1"'
    assert answer.headers["x-peerd-kind"] == "file"
    assert answer.headers["x-content-type-options"] == "nosniff"
    told = answer.headers["x-peerd-get"]
    assert told.isascii() and told.isprintable()
    assert json.loads(told) == {
        "key": "ключ\x7f\n",
        "cid": cid,
        "kind": "file",
        "size": len(DATA),
        "version": "v1",
        "writer": "a" * 52,
        "source": "local",
        "hops": 0,
        "elapsed_ms": 0.5,
    }


@pytest.mark.parametrize("kind", ["file", "directory"])
async def test_head_has_the_headers_of_get_and_no_body(api: Api, kind: str) -> None:
    api.peer.keep("a", DATA, kind=kind)  # type: ignore[arg-type]

    get, head = await api.unix.ask("GET", "/v1/kv/a"), await api.unix.ask("HEAD", "/v1/kv/a")

    moving = {"date", "transfer-encoding"}
    assert {k: v for k, v in head.headers.items() if k not in moving} == {
        k: v for k, v in get.headers.items() if k not in moving
    }
    assert head.body == b""
    assert api.peer.pieces_read == len(DATA) // 1000 + 1


async def test_head_sends_nothing_after_its_headers(api: Api) -> None:
    api.peer.keep("a", DATA)
    reader, writer = await api.unix.connect()
    writer.write(api.unix.head("HEAD", "/v1/kv/a"))

    everything = await reader.read()

    assert everything.endswith(b"\r\n\r\n")
    writer.close()


async def test_an_empty_file_is_an_empty_body(api: Api) -> None:
    api.peer.keep("a", b"")

    answer = await api.unix.ask("GET", "/v1/kv/a")

    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "0", b"")


@pytest.mark.parametrize(
    ("header", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=5000-", 5000, 5120),
        ("bytes=-20", 5100, 5120),
        ("bytes=5000-99999", 5000, 5120),
        ("bytes=-99999", 0, 5120),
        ("BYTES = 1 - 2", 1, 3),
    ],
)
async def test_a_range_is_206_with_just_those_bytes(api: Api, header: str, first: int, end: int) -> None:
    api.peer.keep("a", DATA)

    answer = await api.unix.ask("GET", "/v1/kv/a", headers={"Range": header})

    assert (answer.status, answer.body) == (206, DATA[first:end])
    assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{len(DATA)}"


@pytest.mark.parametrize("header", ["bytes=5120-", "bytes=9999-10000", "bytes=-0"])
async def test_a_range_behind_the_end_is_416_with_the_size(api: Api, header: str) -> None:
    api.peer.keep("a", DATA)

    answer = await api.unix.ask("GET", "/v1/kv/a", headers={"Range": header})

    assert (answer.status, answer.code) == (416, "usage")
    assert answer.headers["content-range"] == "bytes */5120"


@pytest.mark.parametrize("header", ["bytes=0-1,4-5", "bytes=5-1", "bytes=-", "lines=1-2", "bytes=a-b", "bytes=٣-"])
async def test_a_range_that_is_none_we_know_is_answered_by_the_whole(api: Api, header: str) -> None:
    api.peer.keep("a", DATA)

    answer = await api.unix.ask("GET", "/v1/kv/a", headers={"Range": header})

    assert (answer.status, answer.body) == (200, DATA)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("Range: bytes=0-1", "Range: bytes=4-5"), 200),
        (("Range: bytes=0-1", 'If-Range: "v1"', 'If-Range: "v0"'), 200),
        (('If-None-Match: "v0"', 'If-None-Match: "v1"'), 304),
        (('If-Match: "v0"', 'If-Match: "v1"'), 200),
        (('If-Match: "v0"', 'If-Match: "v2"'), 412),
    ],
)
async def test_a_header_of_several_lines_is_one_list(api: Api, lines: tuple[str, ...], status: int) -> None:
    api.peer.keep("a", DATA)
    head = api.unix.head("GET", "/v1/kv/a").removesuffix(b"\r\n")

    answer = await api.unix.raw(head + "\r\n".join([*lines, "", ""]).encode())

    assert answer.status == status
    assert status != 200 or answer.body == DATA


async def test_if_range_of_another_version_is_answered_by_the_whole(api: Api) -> None:
    api.peer.keep("a", DATA)

    for tag, status in [('"v1"', 206), ('"v0"', 200), ('W/"v1"', 200), ("Sun, 06 Nov 1994 08:49:37 GMT", 200)]:
        answer = await api.unix.ask("GET", "/v1/kv/a", headers={"Range": "bytes=0-9", "If-Range": tag})
        assert answer.status == status


async def test_offset_and_length_cut_a_file_and_are_clamped_to_it(api: Api) -> None:
    api.peer.keep("a", DATA)
    api.peer.keep("d", DATA, kind="directory")

    async def got(query: str, name: str = "a") -> tuple[int, bytes]:
        answer = await api.unix.ask("GET", f"/v1/kv/{name}?{query}")
        return answer.status, answer.body

    assert await got("offset=10&length=5") == (200, DATA[10:15])
    assert await got("offset=5110") == (200, DATA[5110:])
    assert await got("length=3") == (200, DATA[:3])
    assert await got("offset=9999&length=3") == (200, b"")
    assert await got("length=0") == (200, b"")
    assert (await got("offset=-1"))[0] == 400
    assert (await got("offset=1", "d"))[0] == 400
    assert (await api.unix.ask("GET", "/v1/kv/a?offset=1", headers={"Range": "bytes=0-1"})).status == 400


@pytest.mark.parametrize(
    ("header", "status"),
    [('"v1"', 304), ('W/"v1"', 304), ('"v0", "v1"', 304), ("*", 304), ('"v0"', 200), ("v1", 200)],
)
async def test_if_none_match_spares_what_the_client_has(api: Api, header: str, status: int) -> None:
    api.peer.keep("a", DATA)

    answer = await api.unix.ask("GET", "/v1/kv/a", headers={"If-None-Match": header})

    assert answer.status == status
    assert answer.headers["etag"] == '"v1"'
    assert bool(api.peer.pieces_read) == (status == 200)


async def test_if_match_of_another_version_is_412(api: Api) -> None:
    api.peer.keep("a", DATA)

    for header, status in [('"v1"', 200), ("*", 200), ('"v0"', 412), ('W/"v1"', 412)]:
        assert (await api.unix.ask("GET", "/v1/kv/a", headers={"If-Match": header})).status == status


async def test_content_is_tagged_by_its_id_whatever_form_the_id_came_in(api: Api) -> None:
    cid = api.peer.keep("a", DATA).cid

    answer = await api.unix.ask("GET", f"/v1/content/{cid}")

    assert answer.body == DATA
    assert answer.headers["etag"] == f'"{cid}"'
    assert "immutable" in answer.headers["cache-control"]
    assert "key" not in json.loads(answer.headers["x-peerd-get"])
    assert (await api.unix.ask("GET", "/v1/content/a")).code == "usage"
    assert (await api.unix.ask("GET", f"/v1/content/{cid}/stat")).json["cid"] == cid


async def test_a_directory_is_a_chunked_tar_stream(api: Api) -> None:
    tar = tar_of({"x": b"1", "y/z": b"2" * 5000})
    api.peer.keep("d", tar, kind="directory")

    answer = await api.unix.ask("GET", "/v1/kv/d", headers={"Range": "bytes=0-1"})

    assert (answer.status, answer.body, answer.whole) == (200, tar, True)
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["x-peerd-kind"] == "directory"
    assert "content-length" not in answer.headers


async def test_a_directory_is_refused_to_http_1_0_which_could_not_see_that_it_broke(api: Api) -> None:
    api.peer.keep("d", DATA, kind="directory")
    api.peer.keep("f", DATA)

    assert (await api.unix.raw(b"GET /v1/kv/d HTTP/1.0\r\n\r\n")).status == 400
    assert (await api.unix.raw(b"GET /v1/kv/f HTTP/1.0\r\n\r\n")).body == DATA


async def test_what_cannot_be_had_from_the_first_byte_is_a_status_and_no_broken_body(api: Api) -> None:
    api.peer.keep("a", DATA)
    api.peer.break_at, api.peer.break_with = 0, IntegrityError("a wrong block")

    answer = await api.unix.ask("GET", "/v1/kv/a")

    assert (answer.status, answer.code) == (502, "integrity")


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("error", [TimedOutError("late"), RuntimeError("a bug"), TimeoutError()])
@pytest.mark.parametrize("where", ["unix", "tcp"])
async def test_a_body_that_breaks_never_looks_whole(api: Api, kind: str, error: Exception, where: str) -> None:
    api.peer.keep("a", DATA, kind=kind)  # type: ignore[arg-type]
    api.peer.break_at, api.peer.break_with = 2000, error
    client: Client = getattr(api, where)

    answer = await client.ask("GET", "/v1/kv/a")

    assert answer.status == 200
    assert not answer.whole
    assert DATA.startswith(answer.body)
    assert api.peer.bodies_open == 0


@pytest.mark.parametrize(("where", "slow"), [("unix", False), ("tcp", False), ("unix", True)])
async def test_a_directory_that_breaks_says_why_in_a_chunk_that_does_not_come(api: Api, where: str, slow: bool) -> None:
    data = os.urandom(1_000_000)
    api.peer.keep("a", data, kind="directory")
    api.peer.break_at, api.peer.break_with = 800_000, IntegrityError("a wrong block")
    client: Client = getattr(api, where)
    reader, writer = await client.connect()
    writer.write(client.head("GET", "/v1/kv/a"))
    await asyncio.sleep(0.2 * slow)
    async with asyncio.timeout(DEADLINE_S):
        raw = await reader.read()
    writer.close()
    assert raw.endswith(b"\r\n1;peerd-error=integrity\r\n")
    assert data[799_000:800_000] in raw


@pytest.mark.parametrize("excess", [-10, 10])
async def test_content_of_another_length_than_stated_breaks_the_connection(api: Api, excess: int) -> None:
    api.peer.keep("a", DATA + b"x" * 100)
    api.peer.body_excess = excess
    reader, writer = await api.unix.connect()

    writer.write(api.unix.head("GET", "/v1/kv/a?length=5120").replace(b"Connection: close\r\n", b""))

    async with asyncio.timeout(DEADLINE_S):
        answer = await read_answer(reader)
        assert await reader.read() == b""
    assert not answer.whole
    assert DATA.startswith(answer.body)
    writer.close()


async def test_a_slow_client_holds_the_node_back(api: Api) -> None:
    api.peer.piece_bytes = 256 * 1024
    api.peer.keep("a", bytes(32 * 1024 * 1024))
    reader, writer = await api.unix.connect()
    writer.write(api.unix.head("GET", "/v1/kv/a"))
    await reader.readuntil(b"\r\n\r\n")

    for _ in range(200):
        await asyncio.sleep(0)

    assert api.peer.pieces_read < 20
    writer.transport.abort()
    while api.peer.bodies_open:
        await asyncio.sleep(0.001)


async def test_a_client_that_takes_nothing_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.peer.piece_bytes = 256 * 1024
    api.peer.keep("a", bytes(32 * 1024 * 1024))
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)  # by hand from here on
    reader, writer = await api.unix.connect()
    writer.write(api.unix.head("GET", "/v1/kv/a"))
    await reader.readuntil(b"\r\n\r\n")
    (connection,) = api.server._served[0].server.connections
    while not connection.transport.get_write_buffer_size():  # type: ignore[union-attr]
        await asyncio.sleep(0)
    await _turns(100)  # what the client's own buffer still takes is gone

    now += WRITE_IDLE_S - 1
    await _turns(100)
    assert (api.server.connection_count, api.peer.bodies_open) == (1, 1)
    now += 2
    await _turns(100)

    assert (api.server.connection_count, api.peer.bodies_open) == (0, 0)
    writer.transport.abort()


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_options_of_a_read_reach_the_node(api: Api) -> None:
    api.peer.keep("a", DATA)

    await api.unix.ask("GET", "/v1/kv/a?consistency=one&no_cache&pin&timeout=3")

    _, options = api.peer.get_calls[0]
    assert (options.consistency, options.cache, options.pin, options.timeout_s) == ("one", False, True, 3.0)
