"""Who is let in: the token, the Host, the Origin, forms; and that the Unix socket asks for none of the first three."""

import base64

import pytest

from peerd.api.guard import Bound, check_host
from peerd.errors import NotAuthorisedError

from .conftest import TOKEN, Api

OPEN = ["/v1/health/live", "/v1/health/ready"]
CLOSED = ["/v1/status", "/v1/kv/a", "/v1/openapi.json", "/metrics", "/", "/v1/events", "/v1/none", "/v1/health/live/x"]


@pytest.mark.parametrize("target", CLOSED)
async def test_a_tcp_address_wants_the_token_for_everything_but_health(api: Api, target: str) -> None:
    api.tcp.token = None

    answer = await api.tcp.ask("GET", target)

    assert (answer.status, answer.code) == (401, "not_authorised")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in answer.body.decode()


@pytest.mark.parametrize("target", OPEN)
async def test_health_needs_no_token(api: Api, target: str) -> None:
    api.tcp.token = None

    assert (await api.tcp.ask("GET", target)).status == 200
    assert (await api.tcp.ask("HEAD", target)).status == 200


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (basic("", TOKEN), 200),
        (basic("anyone", TOKEN), 200),
        ("Bearer", 401),
        ("Bearer ", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (TOKEN, 401),
        (basic(TOKEN, ""), 401),
        (basic("a", f"b:{TOKEN}"), 401),
        ("Basic !!!", 401),
        ("Basic", 401),
        ("Digest x", 401),
        ("Bearer \udcff", 401),
    ],
)
async def test_the_token_counts_as_bearer_or_as_basic_password(api: Api, authorization: str, status: int) -> None:
    assert (await api.tcp.ask("GET", "/v1/status", headers={"Authorization": authorization})).status == status


async def test_two_authorizations_are_none(api: Api) -> None:
    head = api.tcp.head("GET", "/v1/status").replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer x\r\n\r\n")

    assert (await api.tcp.raw(head)).status == 401


@pytest.mark.parametrize("target", ["/v1/status", "/v1/health/live"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "localhost",
        "localhost:1",
        "127.0.0.1",
        "127.0.0.1.evil.example:{port}",
        "10.0.0.1:{port}",
        "",
        ":{port}",
        "[::1:{port}",
        "user@127.0.0.1:{port}",
        "0x7f.1:{port}",
        "2130706433:{port}",
    ],
)
async def test_a_foreign_host_is_refused(api: Api, host: str, target: str) -> None:
    port = api.tcp.address.rpartition(":")[2]

    answer = await api.tcp.ask("GET", target, headers={"Host": host.format(port=port)})

    assert (answer.status, answer.code) == (403, "not_authorised")


async def test_a_missing_or_repeated_host_is_refused(api: Api) -> None:
    head = api.tcp.head("GET", "/v1/health/live")

    assert (await api.tcp.raw(b"GET /v1/health/live HTTP/1.1\r\n\r\n")).status in {400, 403}
    doubled = head.replace(b"\r\n\r\n", b"\r\nHost: " + api.tcp.host.encode() + b"\r\n\r\n")
    assert (await api.tcp.raw(doubled)).status in {400, 403}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.0.0.9", "[::1]"])
async def test_a_literal_loopback_host_with_the_port_is_ours(api: Api, host: str) -> None:
    port = api.tcp.address.rpartition(":")[2]

    assert (await api.tcp.ask("GET", "/v1/status", headers={"Host": f"{host}:{port}"})).status == 200


def test_the_bound_host_and_the_address_of_the_connection_are_ours_and_no_other() -> None:
    bound = Bound("0.0.0.0", 7434)

    for host, local in [
        ("192.168.1.5:7434", "192.168.1.5"),
        ("0.0.0.0:7434", "192.168.1.5"),
        ("192.168.1.5:7434", "::ffff:192.168.1.5"),
        ("[fe80::1]:7434", "fe80::1%eth0"),
    ]:
        assert check_host([host], bound, local) == host
    with pytest.raises(NotAuthorisedError):
        check_host(["192.168.1.6:7434"], bound, "192.168.1.5")
    assert check_host(["alice.lan:7434"], Bound("Alice.lan", 7434), "10.0.0.1")
    assert check_host(["localhost"], Bound("localhost", 80), "127.0.0.1")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://{host}", "http://{host}.evil.example", ""]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
async def test_a_foreign_origin_is_refused_and_never_welcomed(api: Api, origin: str, method: str) -> None:
    answer = await api.tcp.ask(method, "/v1/kv/a", headers={"Origin": origin.format(host=api.tcp.host)})

    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert not api.peer.names


async def test_our_own_origin_may_ask(api: Api) -> None:
    answer = await api.tcp.ask("GET", "/v1/status", headers={"Origin": f"http://{api.tcp.host}"})

    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "Text/Plain"])
async def test_a_form_of_a_web_page_may_change_nothing(api: Api, kind: str) -> None:
    async def put(**headers: str) -> int:
        answer = await api.unix.ask("PUT", "/v1/kv/a", b"x", {"Content-Type": kind} | headers)
        return answer.status

    assert await put(Origin="http://localhost") == 403
    assert await put(Cookie="a=b") == 403
    assert not api.peer.names
    assert await put() == 201


async def test_the_unix_socket_needs_no_token_and_takes_any_host(api: Api) -> None:
    answer = await api.unix.ask("GET", "/v1/status", headers={"Host": "whatever", "Origin": "http://evil.example"})

    assert answer.status == 200
