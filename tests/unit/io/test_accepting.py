"""Callers before anything is known of them: who has to go, who is kept, what it costs. Real sockets on loopback."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from peerd.identity import ED25519
from peerd.ids import PeerId
from peerd.io import accepting, tls
from peerd.io.environment import Stream

SEED = bytes(range(32))
OWN = PeerId(ED25519.signing_key(SEED).public)
WAITING_MAX = 4

Listening = tuple[tls.TlsListener, tuple[str, int]]


@asynccontextmanager
async def listening(accepted: Callable[[Stream], Awaitable[None]]) -> AsyncIterator[Listening]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    listener = tls.TlsListener(tls.server_context(SEED, os.urandom), OWN, accepted, waiting_max=WAITING_MAX)
    listener.add(sock)
    try:
        yield listener, sock.getsockname()
    finally:
        await listener.close()


async def echo(stream: Stream) -> None:
    await stream.write(await stream.read_exactly(5))


@pytest.fixture
async def target() -> AsyncIterator[Listening]:
    async with listening(echo) as found:
        yield found


async def talk(address: tuple[str, int], source: str = "127.0.0.1") -> bytes:
    context = tls.client_context()
    reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="x", local_addr=(source, 0))
    writer.write(b"hello")
    answer = await reader.readexactly(5)
    writer.transport.abort()
    return answer


async def call(address: tuple[str, int], said: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(said)
    return reader, writer


async def is_cut(reader: asyncio.StreamReader) -> bool:
    with suppress(ConnectionError):
        async with asyncio.timeout(1):
            return await reader.read() == b""
    return True


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        tls.client_context().wrap_bio(incoming, outgoing, server_hostname="x").do_handshake()
    return outgoing.read()


async def until_waiting(listener: tls.TlsListener, count: int) -> None:
    async with asyncio.timeout(2):
        while listener._acceptor.waiting != count:
            await asyncio.sleep(0.001)


async def test_who_says_hello_is_served(target: Listening) -> None:
    assert await talk(target[1]) == b"hello"


async def test_a_hello_that_comes_byte_by_byte_is_one(target: Listening) -> None:
    reader, writer = await call(target[1])
    for byte in client_hello():
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)

    assert (await reader.readexactly(1)) == b"\x16"  # the server's own hello
    writer.transport.abort()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\x16\x02\x01\x00\x05"])
async def test_what_is_no_hello_is_cut_before_there_is_any_tls(
    target: Listening, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await call(target[1], said)

    assert await is_cut(reader)
    writer.transport.abort()


@pytest.mark.parametrize("said", [b"", b"\x16\x03", client_hello()[:-1]])
async def test_the_silent_and_slow_cost_no_tls_and_have_only_so_long(
    target: Listening, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "HELLO_TIMEOUT_S", 0.2)
    loop, made = asyncio.get_running_loop(), []
    honest = loop.connect_accepted_socket
    monkeypatch.setattr(loop, "connect_accepted_socket", lambda *a, **k: (made.append(1), honest(*a, **k))[1])
    reader, writer = await call(target[1], said)

    assert await is_cut(reader)
    assert made == []
    writer.transport.abort()


async def test_the_oldest_of_the_largest_group_makes_way(target: Listening) -> None:
    listener, address = target
    alice = await asyncio.open_connection(*address, local_addr=("127.0.0.2", 0))
    await until_waiting(listener, 1)
    held = [await call(address) for _ in range(10)]
    await until_waiting(listener, WAITING_MAX)

    for reader, _ in held[: 10 - WAITING_MAX + 1]:
        assert await is_cut(reader)
    assert await talk(address, "127.0.0.3") == b"hello"
    assert not alice[0].at_eof()
    for _, writer in [alice, *held]:
        writer.transport.abort()
    await until_waiting(listener, 0)


async def test_where_no_descriptor_is_left_accepting_goes_on_a_little_later(
    target: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, address = target
    (sock,) = listener._acceptor._listening
    failures = [OSError(24, "Too many open files")]

    class Failing:
        def fileno(self) -> int:
            return sock.fileno()

        def accept(self) -> object:
            if failures:
                raise failures.pop()
            return sock.accept()

        def close(self) -> None:
            sock.close()

    loop = asyncio.get_running_loop()
    loop.remove_reader(sock.fileno())
    failing = Failing()
    listener._acceptor._listening = [failing]  # type: ignore[list-item]
    loop.add_reader(sock.fileno(), listener._acceptor._on_callers, failing)

    assert await talk(address) == b"hello"
    assert failures == []


async def test_closing_leaves_nothing_behind() -> None:
    async with listening(echo) as (listener, address):
        held = [await call(address) for _ in range(3)]
        await until_waiting(listener, 3)
    for reader, writer in held:
        assert await is_cut(reader)
        writer.transport.abort()
