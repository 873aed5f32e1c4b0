"""The exchange itself, over a pair of sockets."""

import socket
from collections.abc import Iterator

import pytest

from cli.httpwire import Answered, Wire, WireFailure
from tests.unit.cli.scripted import problem

Pair = tuple[Wire, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    wire = Wire(ours, 0.2)
    yield wire, theirs
    wire.close()
    theirs.close()


def test_an_answer_before_a_reset_is_still_read(pair: Pair) -> None:
    wire, theirs = pair
    theirs.sendall(problem(507, "no_room", "full"))
    theirs.close()
    with pytest.raises(Answered):
        wire.send(b"x" * 1000)
    assert wire.response().status == 507


def test_an_answer_stops_the_sending(pair: Pair) -> None:
    wire, theirs = pair
    theirs.sendall(problem(507, "no_room", "full"))
    with pytest.raises(Answered):
        wire.send(b"x" * 10_000_000)
    assert wire.response().status == 507


def test_an_interim_answer_does_not_stop_the_sending(pair: Pair) -> None:
    wire, theirs = pair
    theirs.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    wire.send_chunk(b"x")
    assert theirs.recv(100) == b"1\r\nx\r\n"


def test_a_daemon_that_takes_nothing_is_silent(pair: Pair) -> None:
    wire, _ = pair
    with pytest.raises(WireFailure) as raised:
        wire.send(b"x" * 10_000_000)
    assert raised.value.kind == "silent"


def test_a_body_without_framing_lasts_to_the_end_of_the_connection(pair: Pair) -> None:
    wire, theirs = pair
    theirs.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")
    theirs.close()
    response = wire.response()
    assert not response.framed
    assert response.read(100) == b"hello"


def test_an_answer_to_head_has_no_body_whatever_its_length_says(pair: Pair) -> None:
    wire, theirs = pair
    theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert wire.response(head=True).read(100) == b""


def test_an_answer_larger_than_its_bound_is_not_kept(pair: Pair) -> None:
    wire, theirs = pair
    theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    with pytest.raises(WireFailure):
        wire.response().read(4)


def test_a_body_that_ends_early_is_never_a_short_one(pair: Pair) -> None:
    wire, theirs = pair
    theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello")
    theirs.close()
    with pytest.raises(WireFailure) as raised:
        wire.response().read(100)
    assert raised.value.kind == "gone"
