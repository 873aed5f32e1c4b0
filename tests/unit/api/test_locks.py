"""Locks over the API: taken, renewed, given back; lost is 412, not had is 504."""

import asyncio
import json

from .conftest import Api


async def test_a_lock_is_taken_renewed_and_given_back(api: Api) -> None:
    taken = await api.unix.ask("POST", "/v1/locks/a%2Fb", b"")
    assert taken.status == 201
    told = json.loads(taken.body)
    assert (told["name"], told["lease_s"]) == ("a/b", 15.0)
    path = f"/v1/locks/a%2Fb?fence={told['fence']}"
    assert (await api.unix.ask("POST", "/v1/locks/a%2Fb?timeout=1", b"")).status == 504
    assert json.loads((await api.unix.ask("PUT", path, b"")).body) == told
    assert (await api.unix.ask("DELETE", path)).status == 200
    lost = await api.unix.ask("PUT", path, b"")
    assert lost.status == 412
    assert json.loads(lost.body)["code"] == "conflict"


async def test_without_its_fence_nothing_is_renewed_or_given_back(api: Api) -> None:
    await api.unix.ask("POST", "/v1/locks/a", b"")
    for method in ("PUT", "DELETE"):
        assert (await api.unix.ask(method, "/v1/locks/a", b"")).status == 400
    assert (await api.unix.ask("PUT", "/v1/locks/a?fence=0", b"")).status == 400
    assert api.peer.locks


async def test_who_goes_away_waits_for_the_lock_no_more(api: Api) -> None:
    api.peer.waiting = asyncio.Event()
    _, writer = await api.unix.connect()
    writer.write(api.unix.head("POST", "/v1/locks/a", body=b""))
    await api.peer.started.wait()
    writer.close()
    await api.peer.ended.wait()
    assert isinstance(api.peer.error, asyncio.CancelledError)
    assert not api.peer.locks


async def test_a_lock_that_nobody_could_be_told_of_is_given_back(api: Api) -> None:
    api.peer.waiting = asyncio.Event()
    _, writer = await api.unix.connect()
    writer.write(api.unix.head("POST", "/v1/locks/a", body=b""))
    await api.peer.started.wait()
    api.peer.waiting.set()  # it is had, and before anything else happens the connection is seen to be lost
    for served in api.server._served:
        for connection in served.server.connections:
            assert connection.transport is not None
            connection.transport.close()
    while api.server.connection_count:
        await asyncio.sleep(0.001)
    assert api.peer.fence == 7
    assert not api.peer.locks
    writer.close()
