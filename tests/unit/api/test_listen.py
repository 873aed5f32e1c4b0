"""The sockets: modes, stale and live ones, taken ports, and that a failed start leaves nothing behind."""

import asyncio
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from peerd.api.listen import Listening, listen, listen_all
from peerd.api.server import ApiServer, Places
from peerd.errors import UsageError

from .conftest import Api
from .double import DoublePeer
from .wire import Client


def server(*addresses: str | Listening, token: str = "t") -> ApiServer:
    return ApiServer(DoublePeer(), addresses, token, places=Places(data="d", token="t"))  # type: ignore[arg-type]


async def test_the_socket_is_0600_in_a_directory_of_0700(api: Api) -> None:
    path = Path(api.unix.address.removeprefix("unix:"))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_the_mode_holds_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        listening = await listen(f"unix:{tmp_path}/api.sock")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "api.sock").stat().st_mode) == 0o600
    listening.remove()


@pytest.mark.parametrize("wide", [0o750, 0o711, 0o777, 0o1777])
async def test_a_socket_in_a_directory_that_others_may_enter_is_refused(tmp_path: Path, wide: int) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(wide)

    with pytest.raises(UsageError, match=f"open to others .mode {wide:o}.") as caught:
        await listen(f"unix:{directory}/api.sock")

    assert "--api unix:" in (caught.value.hint or "")
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o277])
async def test_directories_made_for_the_socket_are_the_owners_alone_whatever_the_umask(
    tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        listening = await listen(f"unix:{tmp_path}/a/b/api.sock")
    finally:
        os.umask(before)

    assert [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("a", "a/b")] == [0o700, 0o700]
    listening.remove()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the mode is set after the bind")
async def test_the_socket_is_never_open_to_others_not_even_between_bind_and_chmod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "chmod", lambda *_: None)

    listening = await listen(f"unix:{tmp_path}/api.sock")

    assert stat.S_IMODE((tmp_path / "api.sock").stat().st_mode) == 0o600
    listening.remove()


async def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()

    ours = server(f"unix:{path}")
    await ours.start()

    assert (await Client(f"unix:{path}").ask("GET", "/v1/id")).status == 200
    await ours.stop()
    assert not path.exists()


async def test_the_socket_of_a_live_daemon_is_left_alone(api: Api) -> None:
    with pytest.raises(UsageError, match="another daemon"):
        await server(api.unix.address).start()

    assert (await api.unix.ask("GET", "/v1/id")).status == 200


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("precious")

    with pytest.raises(UsageError, match="no socket"):
        await server(f"unix:{path}").start()

    assert path.read_text() == "precious"


async def test_a_taken_port_is_one_clear_error_and_leaves_nothing_bound(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "other.sock"

    with pytest.raises(UsageError, match="in use") as raised:
        await server(f"unix:{path}", api.tcp.address).start()

    assert raised.value.hint
    assert not path.exists()


@pytest.mark.parametrize("address", ["unix:", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:0", "unix:/" + "x" * 200])
async def test_an_address_that_cannot_be_is_a_usage_error(address: str) -> None:
    with pytest.raises(UsageError):
        await server(address).start()


def test_an_api_without_a_token_is_refused() -> None:
    with pytest.raises(UsageError, match="token"):
        server("127.0.0.1:0", token="")


async def test_addresses_may_be_bound_before_there_is_a_peer(tmp_path: Path) -> None:
    bound = await listen_all([f"unix:{tmp_path}/api.sock", "127.0.0.1:0"])
    asked = asyncio.ensure_future(Client(bound[0].text).ask("GET", "/v1/id"))
    await asyncio.sleep(0)

    ours = server(*bound)
    addresses = await ours.start()

    assert addresses == [each.text for each in bound]
    assert (await asked).status == 200
    await ours.stop()


async def test_a_socket_that_somebody_else_put_there_since_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    ours = server(f"unix:{path}")
    await ours.start()
    path.unlink()
    path.write_text("theirs")

    await ours.stop()

    assert path.read_text() == "theirs"
