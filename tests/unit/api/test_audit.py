"""GET /v1/audit: sent as it is found, and honest where it breaks."""

import asyncio

import pytest

from peerd.api.server import CLIENT_GONE, WRITE_IDLE_S
from peerd.errors import NotFoundError, StoreError
from peerd.node.results import AuditedKey

from .conftest import Api


def audited(key: str, **other: list[str]) -> AuditedKey:
    told = {"holders": ["a"], "missing": [], "differing": [], "silent": [], **other}
    return AuditedKey(key=key, version="v1", deleted=False, versions={}, **told)  # type: ignore[arg-type]


@pytest.fixture
def pages(api: Api) -> None:
    api.peer.audited = [
        [audited("a"), audited("b", missing=["x"])],
        [audited("c", silent=["y"])],
        [audited("d", differing=["z"])],
    ]


@pytest.mark.usefixtures("pages")
async def test_all_keys_come_page_by_page_with_the_number_of_those_that_diverge(api: Api) -> None:
    answer = await api.unix.ask("GET", "/v1/audit")
    assert (answer.status, answer.whole, answer.headers["content-type"]) == (200, True, "application/json")
    assert [each["key"] for each in answer.json["keys"]] == ["a", "b", "c", "d"]
    assert answer.json["divergent"] == 2
    assert answer.json["keys"][1] == {
        "key": "b", "version": "v1", "deleted": False, "holders": ["a"], "missing": ["x"], "differing": [],
        "silent": [], "versions": {},
    }  # fmt: skip


@pytest.mark.usefixtures("pages")
async def test_only_the_divergent_and_only_one_key(api: Api) -> None:
    some = (await api.unix.ask("GET", "/v1/audit?divergent=1")).json
    assert ([each["key"] for each in some["keys"]], some["divergent"]) == (["b", "d"], 2)
    api.peer.audited = [[audited("n")], [audited("n", missing=["x"])]][:1]
    one = (await api.unix.ask("GET", "/v1/audit?key=n")).json
    assert ([each["key"] for each in one["keys"]], one["divergent"]) == (["n"], 0)


async def test_nothing_kept_is_an_empty_list(api: Api) -> None:
    assert (await api.unix.ask("GET", "/v1/audit")).json == {"keys": [], "divergent": 0}


async def test_what_fails_at_once_is_an_honest_status(api: Api) -> None:
    api.peer.fail = NotFoundError("not found: k")
    answer = await api.unix.ask("GET", "/v1/audit?key=k")
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.usefixtures("pages")
async def test_what_fails_in_the_middle_is_no_whole_json(api: Api) -> None:
    api.peer.break_at, api.peer.break_with = 0, StoreError("the disk failed")
    answer = await api.unix.ask("GET", "/v1/audit")
    assert (answer.status, answer.whole) == (200, False)
    assert not answer.body.endswith(b"]}") and b"divergent" not in answer.body
    assert api.peer.bodies_open == 0


async def test_a_page_that_does_not_come_in_time_ends_it(api: Api) -> None:
    api.peer.audited = [[]]
    answer = await api.unix.ask("GET", "/v1/audit?timeout=0.05")
    assert (answer.status, answer.code) == (504, "timeout")


async def test_a_client_that_takes_nothing_is_cut_off_as_one_that_is_gone(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.peer.audited = [[audited("k" * 200_000)] for _ in range(100)]
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)  # by hand from here on
    reader, writer = await api.unix.connect()
    writer.write(api.unix.head("GET", "/v1/audit"))
    await reader.readuntil(b"\r\n\r\n")
    (connection,) = api.server._served[0].server.connections
    while not connection.transport.get_write_buffer_size():  # type: ignore[union-attr]
        await asyncio.sleep(0)
    for _ in range(100):  # what the client's own buffer still takes
        await asyncio.sleep(0)
    assert api.peer.bodies_open == 1

    now += WRITE_IDLE_S + 1
    for _ in range(100):
        await asyncio.sleep(0)

    assert (api.server.connection_count, api.peer.bodies_open) == (0, 0)
    assert api.server.request_counts["GET", "/v1/audit", CLIENT_GONE] == 1
    writer.transport.abort()
