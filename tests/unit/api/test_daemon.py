"""Routes about the daemon, listings, pins, errors of every kind, methods and paths that are none."""

import asyncio
import gzip
import sys
from pathlib import Path

import msgspec
import pytest
from loguru import logger

from peerd import __version__, errors
from peerd.errors import NotFoundError, PeerdError
from peerd.node import results

from .conftest import Api
from .double import ID
from .wire import Client


async def test_status_peers_id_version_and_paths_answer_their_json(api: Api, tmp_path: Path) -> None:
    async def got(target: str) -> object:
        answer = await api.tcp.ask("GET", target)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        return answer.json

    assert msgspec.convert(await got("/v1/status"), results.Status).storage.used_bytes == 10
    assert msgspec.convert(await got("/v1/peers"), list[results.PeerInfo])[0].rtt_ms is None
    assert await got("/v1/evidence") == [{"id": ID, "kind": "broken_promise", "evidence": "00ff"}]
    assert await got("/v1/id") == {"id": ID}
    assert await got("/v1/version") == {"version": __version__}
    assert await got("/v1/paths") == {
        "data": str(tmp_path),
        "token": str(tmp_path / "token"),
        "config": None,
        "api": [api.unix.address, api.tcp.address],
        "listen": "127.0.0.1:7433",
    }


async def test_listings_take_a_target_or_none(api: Api) -> None:
    api.peer.keep("a b/ё", b"x", kind="directory")

    assert [each["name"] for each in (await api.unix.ask("GET", "/v1/ls")).json] == ["a b/ё"]
    assert (await api.unix.ask("GET", "/v1/ls?target=a+b%2F%D1%91")).json[0]["name"] == "entry"
    assert len((await api.unix.ask("GET", "/v1/ls?prefix=a+")).json) == 1
    assert (await api.unix.ask("GET", "/v1/ls?prefix=b")).json == []
    assert (await api.unix.ask("GET", "/v1/ls?target=absent")).code == "not_found"
    assert (await api.unix.ask("GET", "/v1/ls?target=")).code == "usage"


async def test_find_answers_the_hops_and_wants_a_target(api: Api) -> None:
    assert (await api.unix.ask("GET", "/v1/find?target=k%00")).json["hops"][0]["result"] == "has k\0"
    assert (await api.unix.ask("GET", "/v1/find")).code == "usage"


async def test_pins_are_201_and_200(api: Api) -> None:
    api.peer.keep("a/b", b"x")

    pinned, unpinned = [await api.unix.ask(method, "/v1/pins/a%2Fb") for method in ("POST", "DELETE")]

    assert (pinned.status, pinned.json["pinned"]) == (201, True)
    assert (unpinned.status, unpinned.json["pinned"]) == (200, False)


async def test_ping_is_201(api: Api) -> None:
    answer = await api.unix.ask("POST", f"/v1/ping/{ID}")

    assert (answer.status, answer.json["id"]) == (201, ID)


async def test_timeout_bounds_a_question_and_ends_it(api: Api) -> None:
    api.peer.waiting = asyncio.Event()

    answer = await api.unix.ask("GET", "/v1/find?target=a&timeout=0.05")

    assert (answer.status, answer.code) == (504, "timeout")


ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, PeerdError)]


@pytest.mark.parametrize("kind", [each for each in ALL if each is not errors.TooFewCopiesError])
async def test_every_error_is_a_problem_document_with_its_own_status_and_code(api: Api, kind: type[PeerdError]) -> None:
    api.peer.fail = kind("what happened: \udcff")
    api.peer.fail.hint = "what to do"

    answer = await api.unix.ask("GET", "/v1/kv/a")

    assert (answer.status, answer.code) == (kind.http_status, kind.code)
    assert answer.json["detail"].endswith("what happened: \\udcff")
    assert answer.json["hint"] == "what to do"
    assert answer.json["type"] == "about:blank" and answer.json["title"]


@pytest.mark.parametrize(
    "error", [RuntimeError("secret /etc/x"), TimeoutError("secret"), OSError("secret"), ConnectionResetError("secret")]
)
async def test_an_unexpected_error_is_500_and_leaks_nothing(
    api: Api, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = logger.add(sys.stderr, level="INFO", backtrace=False, diagnose=False)
    api.peer.fail = error

    answer = await api.unix.ask("GET", "/v1/status")
    logger.remove(sink)

    assert (answer.status, answer.code) == (500, "internal")
    assert b"secret" not in answer.body
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "target",
    ["/v1", "/v1/", "/v1/nothing", "/v1/status/", "/V1/status", "/v1/kv", "/v1/%73tatus", "//v1/status", "/v2/status"],
)
async def test_a_path_that_is_none_is_404_and_no_not_found_of_a_key(api: Api, target: str) -> None:
    answer = await api.unix.ask("GET", target)

    assert (answer.status, answer.code) == (404, "usage")


async def test_a_method_that_a_path_has_not_is_405_with_those_it_has(api: Api) -> None:
    answer = await api.unix.ask("PATCH", "/v1/kv/a")

    assert (answer.status, answer.code) == (405, "usage")
    assert answer.headers["allow"] == "PUT, GET, HEAD, DELETE"
    assert (await api.unix.ask("POST", "/v1/status")).headers["allow"] == "GET"


async def test_unknown_parameters_are_refused_everywhere(api: Api) -> None:
    for target in ["/v1/status?a=1", "/v1/ls?path=x", "/v1/id?timeout=1", "/metrics?x", "/v1/health/live?x=1"]:
        assert (await api.unix.ask("GET", target)).code == "usage"


async def test_health_is_not_ready_where_the_peer_does_not_answer(api: Api) -> None:
    assert (await api.unix.ask("GET", "/v1/health/ready")).json == {"status": "ready"}
    assert (await api.unix.ask("GET", "/v1/health/live")).json == {"status": "live"}
    api.server.stopping = True
    answer = await api.unix.ask("GET", "/v1/health/ready")
    assert (answer.status, answer.code) == (503, "unavailable")
    api.server.stopping = False


async def test_health_is_not_ready_where_the_peer_can_keep_nothing(api: Api) -> None:
    api.peer.unready = "the file system is read-only"
    answer = await api.unix.ask("GET", "/v1/health/ready")
    assert answer.status == 503
    assert "the file system is read-only" in answer.json["detail"]
    assert (await api.unix.ask("GET", "/v1/health/live")).status == 200


async def test_metrics_speak_prometheus_and_count_requests_by_route(api: Api) -> None:
    await api.unix.ask("GET", "/v1/kv/some-secret-key")
    await api.unix.ask("GET", "/made/up")

    page = (await api.tcp.ask("GET", "/metrics")).body.decode()

    assert 'peerd_storage_class_bytes{class="replica"} 2.0' in page
    assert 'peerd_rejected_total{reason="replay"} 7.0' in page
    assert "peerd_cache_hits_total 5.0" in page
    assert 'peerd_api_requests_total{method="GET",route="/v1/kv/{key}",status="404"} 1.0' in page
    assert 'peerd_api_requests_total{method="other",route="other",status="404"} 1.0' in page
    assert "secret" not in page


async def test_the_first_page_names_the_api(api: Api) -> None:
    answer = await api.unix.ask("GET", "/")

    assert answer.headers["content-type"].startswith("text/html")
    assert b"/v1/openapi.json" in answer.body


async def test_the_drop_list_is_set_over_the_unix_socket_only(api: Api) -> None:
    body = b'{"drop": ["127.0.0.1:7433", "[::1]:7433"]}'

    assert (await api.tcp.ask("PUT", "/v1/lab/drop", body)).status == 403
    assert api.peer.drop == []
    answer = await api.unix.ask("PUT", "/v1/lab/drop", body)
    assert answer.json == {"drop": ["127.0.0.1:7433", "[::1]:7433"]}
    assert api.peer.drop == ["127.0.0.1:7433", "[::1]:7433"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"drop": "a"}',
        b'{"drop": ["alice:1"]}',
        b'{"drop": ["127.0.0.1"]}',
        b'{"drop": [], "x": 1}',
        b'{"drop": ["\xff"]}',
    ],
)
async def test_a_drop_list_that_is_none_changes_nothing(api: Api, body: bytes) -> None:
    api.peer.drop = ["127.0.0.1:1"]

    assert (await api.unix.ask("PUT", "/v1/lab/drop", body)).code == "usage"
    assert api.peer.drop == ["127.0.0.1:1"]


async def test_a_packed_body_is_not_unpacked(api: Api) -> None:
    body = gzip.compress(b'{"drop": ["127.0.0.1:1"]}')

    assert (await api.unix.ask("PUT", "/v1/lab/drop", body, {"Content-Encoding": "gzip"})).code == "usage"


async def test_a_drop_list_has_a_bound(api: Api) -> None:
    assert (await api.unix.ask("PUT", "/v1/lab/drop", b" " * 600_000)).status == 413
    many = msgspec.json.encode({"drop": ["10.0.0.1:1"] * 5000})
    assert (await api.unix.ask("PUT", "/v1/lab/drop", many)).status == 400


async def test_both_addresses_serve_the_same(api: Api) -> None:
    clients: list[Client] = [api.unix, api.tcp]

    assert [(await each.ask("GET", "/v1/id")).json for each in clients] == [{"id": ID}] * 2


async def test_a_peer_is_forgotten(api: Api) -> None:
    answer = await api.unix.ask("POST", "/v1/forget/abcd", b"")
    assert (answer.status, answer.json) == (200, {"id": "abcd", "forgotten": True})
    api.peer.fail = NotFoundError("no such peer is known")
    assert (await api.unix.ask("POST", "/v1/forget/abcd", b"")).status == 404


async def test_a_key_is_revoked_and_all_that_are_listed(api: Api) -> None:
    told = {"id": ID, "reason": "stolen", "at_s": 1.5, "revocation": "9501"}
    answer = await api.unix.ask("POST", "/v1/revocations", b"9501")
    assert (answer.status, answer.json) == (200, told)
    assert (await api.unix.ask("GET", "/v1/revocations")).json == [told]
    assert (await api.unix.ask("POST", "/v1/revocations", b"no")).status == 400
    assert (await api.unix.ask("POST", "/v1/revocations", b"95" * 1000)).status == 413


async def test_garbage_is_collected_and_what_is_kept_verified(api: Api) -> None:
    freed = await api.unix.ask("POST", "/v1/gc", b"")
    assert (freed.status, freed.json) == (200, {"freed_bytes": 5, "roots": 1, "blocks": 2, "records": 3})
    found = await api.unix.ask("POST", "/v1/verify", b"")
    assert (found.status, found.json["lost"]) == (200, 1)
