"""One HTTP/1.1 exchange over a socket: a request with or without a body, a response read as it arrives.

Not here: JSON, the API's routes and errors (api). Source: RFC 9112, the client's part, without pipelining or
redirects; every exchange has a connection of its own. A body that ends before its framing says so is an error, never a
short answer, and so is silence for longer than was granted, in either direction. Written out because importing an
HTTP library costs more than a short `peer get` may take.
"""

from __future__ import annotations

import os
import select
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES = 256 * 1024
SENDFILE_BYTES = 1024 * 1024
HEAD_MAX_BYTES = 64 * 1024
"""Status line and headers, or trailers, together: a daemon sends a few hundred bytes."""

LINE_MAX_BYTES = 1024
"""A line that gives the length of a chunk, its extensions included."""

ERROR_EXTENSION = b"peerd-error"
"""Of a chunk that does not come: the code of the error for which the daemon breaks off."""

INTERIM_MAX_COUNT = 100
"""1xx answers before the final one."""

_HEX = frozenset(b"0123456789abcdefABCDEF")
_HEX_DIGITS_MAX = 15


class WireFailure(Exception):
    """The exchange cannot be completed; `kind` says how: `silent`, `gone` (closed or reset), `malformed`.

    `code` is that of the error for which the daemon broke off, where it said so; anything, where it is none of ours.
    """

    def __init__(self, kind: str, message: str, code: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code


class Answered(Exception):
    """The answer is there, or the connection closed, before the whole body was sent: stop sending and read."""


class Wire:
    """A connection with one exchange to make."""

    def __init__(self, connected: socket.socket, silence_s: float) -> None:
        self.silence_s = silence_s
        self._socket = connected
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)
        self._buffer = bytearray()

    def close(self) -> None:
        """Close the connection; a body that was not finished is thereby void."""
        self._socket.close()

    # Sending

    def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`; raises Answered where there is no more use in it, WireFailure (`silent`)."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._wait_to_send()
            except OSError:  # reset or closed: what it said before that may still be read
                raise Answered from None

    def send_chunk(self, data: bytes | memoryview) -> None:
        """Send a chunk of a body of unknown length; not an empty one, which would end the body."""
        self.stop_if_answered()
        self.send(b"%x\r\n" % len(data))
        self.send(data)
        self.send(b"\r\n")

    def send_last_chunk(self) -> None:
        """End a body of unknown length."""
        self.send(b"0\r\n\r\n")

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """Send up to `count` bytes of a file from `offset` on, without copying them; return how many, 0 at its end."""
        self.stop_if_answered()
        while True:
            try:
                return os.sendfile(self._socket.fileno(), fd, offset, min(count, SENDFILE_BYTES))
            except BlockingIOError:
                self._wait_to_send()
            except (BrokenPipeError, ConnectionError):
                raise Answered from None

    def stop_if_answered(self) -> None:
        """Raise Answered where the final answer has begun to arrive, or the other side closed."""
        if self._poll.poll(0) and self._final_answer_began():
            raise Answered

    def _wait_to_send(self) -> None:
        self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)
        try:
            events = self._poll.poll(self.silence_s * 1000)
        finally:
            self._poll.modify(self._socket, select.POLLIN)
        if not events:
            raise WireFailure("silent", f"the daemon took nothing for {self.silence_s:.0f} s")
        if events[0][1] & select.POLLIN and self._final_answer_began():
            raise Answered

    def _final_answer_began(self) -> bool:
        """Whether what can be read now is more than interim answers (100 Continue)."""
        try:
            data = self._socket.recv(PIECE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._buffer += data
        while self._buffer[:10].startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                break
            del self._buffer[: end + 4]
        return not data or bool(self._buffer)

    # Receiving

    def answered_within(self, wait_s: float) -> bool:
        """Whether something of the answer arrives within `wait_s` (closing counts)."""
        return bool(self._buffer) or bool(self._poll.poll(wait_s * 1000))

    def receive(self, limit: int) -> bytes:
        """Return up to `limit` bytes, empty at the end of the connection; raises WireFailure (`silent`, `gone`)."""
        if self._buffer:
            data = bytes(self._buffer[:limit])
            del self._buffer[:limit]
            return data
        while True:
            try:
                return self._socket.recv(limit)
            except BlockingIOError:
                if not self._poll.poll(self.silence_s * 1000):
                    raise WireFailure("silent", f"the daemon said nothing for {self.silence_s:.0f} s") from None
            except OSError as error:
                raise WireFailure("gone", f"the connection broke: {error.strerror or error}") from None

    def receive_into(self, view: memoryview) -> int:
        """Receive into `view` and return how many bytes, 0 at the end of the connection; raises as `receive`."""
        if self._buffer:
            data = self.receive(len(view))
            view[: len(data)] = data
            return len(data)
        while True:
            try:
                return self._socket.recv_into(view)
            except BlockingIOError:
                if not self._poll.poll(self.silence_s * 1000):
                    raise WireFailure("silent", f"the daemon said nothing for {self.silence_s:.0f} s") from None
            except OSError as error:
                raise WireFailure("gone", f"the connection broke: {error.strerror or error}") from None

    def line(self, limit: int) -> bytes:
        """Return the next line without its CR LF; raises WireFailure (`malformed` where it is longer than `limit`)."""
        searched = 0
        while True:
            end = self._buffer.find(b"\n", max(0, searched - 1))
            if 0 <= end <= limit:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                if not line.endswith(b"\r"):
                    raise WireFailure("malformed", "a line of the answer does not end in CR LF")
                return line[:-1]
            searched = len(self._buffer)
            if end > limit or searched > limit:
                raise WireFailure("malformed", "a line of the answer is too long")
            data = self._more()
            if not data:
                raise WireFailure("gone", "the connection was closed")
            self._buffer += data

    def _more(self) -> bytes:
        """Receive past what is buffered."""
        held, self._buffer = self._buffer, bytearray()
        try:
            return self.receive(PIECE_BYTES)
        finally:
            self._buffer = held

    def response(self, *, head: bool = False) -> Response:
        """Read the status and headers of the final answer; `head` says that the request was HEAD.

        Raises WireFailure: `gone` where the connection closed before the end of them.
        """
        for _ in range(INTERIM_MAX_COUNT):
            status = self._status()
            headers = self._headers()
            if status >= 200:
                return Response(self, status, headers, head=head)
        raise WireFailure("malformed", "too many interim answers")

    def _status(self) -> int:
        line = self.line(HEAD_MAX_BYTES)
        if (
            not line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
            or not line[9:12].isdigit()
            or line[12:13] not in (b" ", b"")
        ):
            raise WireFailure("malformed", "the answer is not HTTP")
        status = int(line[9:12])
        if not 100 <= status <= 599 or status == 101:
            raise WireFailure("malformed", f"the answer has the status {status}")
        return status

    def _headers(self) -> dict[str, str]:
        """Read lines up to the empty one; of a name that comes twice the values are joined, as lists are."""
        headers: dict[str, str] = {}
        left = HEAD_MAX_BYTES
        while True:
            line = self.line(left)
            if not line:
                return headers
            left -= len(line)
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not name or name != name.strip():  # folded lines too
                raise WireFailure("malformed", "a header of the answer is malformed")
            name, value = name.lower(), value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value


class Response:
    """An answer whose body is read as it comes; `length` is None where only its end will tell."""

    def __init__(self, wire: Wire, status: int, headers: dict[str, str], *, head: bool) -> None:
        self.status = status
        self.headers = headers
        self._wire = wire
        self._chunked = False
        self.length: int | None = None
        if head or status in (204, 304):
            self.length = 0
        elif "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise WireFailure("malformed", "the answer has an unknown transfer encoding")
            self._chunked = True
        elif "content-length" in headers:
            self.length = _content_length(headers["content-length"])

    @property
    def framed(self) -> bool:
        """Whether the end of the body is told by more than the end of the connection."""
        return self._chunked or self.length is not None

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pieces(self) -> Iterator[memoryview]:
        """Yield the body in pieces; each is valid until the next is asked for.

        Raises WireFailure: `gone` where it ends early, `silent`, `malformed`.
        """
        room = memoryview(bytearray(min(PIECE_BYTES, self.length) if self.length is not None else PIECE_BYTES))
        if self._chunked:
            yield from self._chunks(room)
            return
        left = self.length
        while left is None or left > 0:
            count = self._wire.receive_into(room if left is None else room[: min(len(room), left)])
            if count == 0:
                if left is None:
                    return
                raise WireFailure("gone", f"the answer ended {left} bytes early")
            if left is not None:
                left -= count
            yield room[:count]

    def _chunks(self, room: memoryview) -> Iterator[memoryview]:
        while True:
            line = self._wire.line(LINE_MAX_BYTES)
            left = _chunk_length(line)
            if left == 0:
                break
            while left:
                count = self._wire.receive_into(room[: min(len(room), left)])
                if count == 0:
                    code = line.partition(b";" + ERROR_EXTENSION + b"=")[2].decode("latin-1")
                    raise WireFailure("gone", "the answer ended early", code)
                left -= count
                yield room[:count]
            if self._wire.line(2):
                raise WireFailure("malformed", "a chunk of the answer is longer than it says")
        self._wire._headers()  # trailers, which say nothing to us

    def read(self, limit: int) -> bytes:
        """Return the whole body; raises as `pieces`, and WireFailure (`malformed`) beyond `limit` bytes."""
        body = bytearray()
        for piece in self.pieces():
            body += piece
            if len(body) > limit:
                raise WireFailure("malformed", "the answer is too long")
        return bytes(body)


def request_head(method: str, target: str, headers: list[tuple[str, str]]) -> bytes:
    """Return a request line and headers; the caller has made sure that no value holds a line end."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _content_length(value: str) -> int:
    values = {part.strip() for part in value.split(",")}
    text = values.pop()
    if values or not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise WireFailure("malformed", "the answer's length is malformed")
    return int(text)


def _chunk_length(line: bytes) -> int:
    digits = line.partition(b";")[0].strip(b" \t")
    if not digits or len(digits) > _HEX_DIGITS_MAX or not all(byte in _HEX for byte in digits):
        raise WireFailure("malformed", "a chunk of the answer has no length")
    return int(digits, 16)
