"""Locks over the API: taken, renewed, given back; lost is 412, not had is 504."""

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
