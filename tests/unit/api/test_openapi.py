"""The API's description of itself is true: every route, parameter, answer and error, and nothing else."""

import re
from typing import Any

import pytest

from peerd.api.routes import ROUTES

from .conftest import Api

PROMISED = {
    "/v1/kv/{key}": {"put", "get", "head", "delete"},
    "/v1/kv/{key}/stat": {"get"},
    "/v1/kv/{key}/history": {"get"},
    "/v1/content": {"post"},
    "/v1/content/{cid}": {"get", "head", "delete"},
    "/v1/content/{cid}/stat": {"get"},
    "/v1/car": {"post"},
    "/v1/car/{target}": {"get"},
    "/v1/ls": {"get"},
    "/v1/find": {"get"},
    "/v1/audit": {"get"},
    "/v1/locks/{name}": {"post", "put", "delete"},
    "/v1/pins/{target}": {"post", "delete"},
    "/cache/{path}": {"get", "head", "put", "delete", "options"},
    "/cache/": {"delete", "get", "head", "options", "put"},
    "/ipfs/{content}": {"get", "head"},
    "/v1/status": {"get"},
    "/v1/peers": {"get"},
    "/v1/evidence": {"get"},
    "/v1/id": {"get"},
    "/v1/paths": {"get"},
    "/v1/version": {"get"},
    "/v1/ping/{peer}": {"post"},
    "/v1/forget/{peer}": {"post"},
    "/v1/gc": {"post"},
    "/v1/verify": {"post"},
    "/v1/revocations": {"get", "post"},
    "/v1/token": {"post"},
    "/v1/events": {"get"},
    "/v1/health/live": {"get", "head"},
    "/v1/health/ready": {"get", "head"},
    "/v1/lab/drop": {"put"},
    "/v1/openapi.json": {"get"},
    "/metrics": {"get"},
    "/": {"get"},
}


@pytest.fixture
async def described(api: Api) -> Any:
    answer = await api.unix.ask("GET", "/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return answer.json


async def test_every_promised_route_is_described(described: Any) -> None:
    assert {path: set(methods) for path, methods in described["paths"].items()} == PROMISED


async def test_every_reference_leads_somewhere(described: Any) -> None:
    names = set(re.findall(r"#/components/schemas/(\w+)", str(described)))

    assert names <= set(described["components"]["schemas"])
    assert {"Put", "Get", "Stat", "Status", "Problem"} - {"Get"} <= names


async def test_every_operation_tells_its_answers_errors_and_placeholders(described: Any) -> None:
    seen = set()
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert operation["summary"] and operation["operationId"] not in seen
            seen.add(operation["operationId"])
            assert {"400", "403", "500", "503"} <= set(operation["responses"])
            told = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert told == set(re.findall(r"{(\w+)}", path))
            assert len({(each["in"], each["name"]) for each in operation["parameters"]}) == len(operation["parameters"])
    assert {"201", "200", "412", "503", "504", "507"} <= set(described["paths"]["/v1/kv/{key}"]["put"]["responses"])
    assert {"206", "304", "404", "416", "502"} <= set(described["paths"]["/v1/kv/{key}"]["get"]["responses"])


async def test_what_needs_no_token_says_so_and_nothing_else(described: Any) -> None:
    free = {p for p, methods in described["paths"].items() for o in methods.values() if o.get("security") == []}

    assert free == {"/v1/health/live", "/v1/health/ready"}


async def test_described_parameters_are_taken(described: Any, api: Api) -> None:
    api.peer.keep("a", b"x")
    sample = {"integer": "1", "boolean": "true", "number": "1", "string": "a"}
    for route in ROUTES:
        if route.path == "/v1/events":
            continue
        for param in route.params:
            value = sample.get(param.schema.get("type", "")) or param.schema.get("enum", ["one"])[0]
            target = (
                route.path.replace("{key}", "a").replace("{peer}", "p").replace("{cid}", api.peer.keep("b", b"").cid)
            )
            answer = await api.unix.ask(route.method, f"{target}?{param.name}={value}", b"")
            assert b"query parameter" not in answer.body, (route.path, param.name)
