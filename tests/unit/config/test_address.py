from pathlib import Path

import pytest

from peerd.config import HostPort, UnixAddress, parse_api_address, parse_host_port
from peerd.errors import UsageError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:7433", "0.0.0.0", 7433),
        ("[::]:0", "::", 0),
        ("[FD00::0005]:65535", "fd00::5", 65535),
        ("[fe80::1%eth0]:7433", "fe80::1%eth0", 7433),
        ("alice.lan:1", "alice.lan", 1),
        ("lab_3.example.:80", "lab_3.example.", 80),
        (" localhost:80 ", "localhost", 80),
    ],
)
def test_every_form_of_host_and_port_is_read(text: str, host: str, port: int) -> None:
    assert parse_host_port(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "7433",
        ":7433",
        "alice",
        "alice:",
        "alice:-1",
        "alice:65536",
        "alice:99999999999999999999",
        "alice:٣",
        "fd00::5:7433",
        "[fd00::5]",
        "[fd00::5:7433",
        "[alice]:1",
        "[fe80::1%]:1",
        "[fe80::1%a b]:1",
        "300.1.1.1:1",
        "1.2.3:1",
        "-a.b:1",
        "a..b:1",
        "a b:1",
        f"{'a' * 64}:1",
        f"{'a.' * 130}b:1",
        "http://alice:1",
        "alice\n:1",
    ],
)
def test_what_is_no_host_and_port_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_host_port(text)
    assert caught.value.hint


@pytest.mark.parametrize("address", [HostPort("10.0.0.1", 1), HostPort("fd00::5", 2), HostPort("a.b", 3)])
def test_the_text_of_an_address_reads_back(address: HostPort) -> None:
    assert parse_host_port(address.text) == address


def test_an_api_address_is_a_socket_or_a_host_and_port() -> None:
    assert parse_api_address("unix:/run/a.sock") == UnixAddress(Path("/run/a.sock"))
    assert parse_api_address("unix:/run/a.sock").text == "unix:/run/a.sock"
    assert parse_api_address("127.0.0.1:7434") == HostPort("127.0.0.1", 7434)


@pytest.mark.parametrize("text", ["unix:", "unix:/", "/run/a.sock", "unix:/a\0b", "unix:/" + "a" * 103])
def test_what_can_be_no_socket_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_api_address(text)


def test_the_longest_path_of_a_socket_is_taken() -> None:
    assert parse_api_address("unix:/" + "a" * 102)
