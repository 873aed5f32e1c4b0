"""The body of a request, as the node takes it: chunks, when it asks for them.

Nothing is buffered whole: where the node does not take the next chunk, the socket is not read and the client waits
(TCP flow control). A client that goes away, falls silent or sends nonsense ends the iteration with an error, never
with a shorter body.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

from aiohttp import web

from peerd.api.errors import EncodingError, SlowBodyError, TooLargeError
from peerd.errors import UsageError

TAR_TYPE = "application/x-tar"
CHUNK_LEAST_BYTES = 64 * 1024
READ_BUFFER_BYTES = 128 * 1024
"""The server stops reading a connection at twice this, which bounds a chunk and what one connection can pin."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def body_form(request: web.BaseRequest) -> Literal["file", "tar"]:
    """Return whether the body is a file's bytes or a directory's tar stream. Raises EncodingError for a coded body."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise EncodingError("a Content-Encoding is not taken", hint="send the bytes as they are to be stored")
    if request.headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
        raise EncodingError("a Transfer-Encoding but chunked is not taken", hint="send the bytes as they are")
    return "tar" if request.content_type == TAR_TYPE else "file"


async def body_chunks(request: web.BaseRequest, idle_s: float) -> AsyncIterator[bytes]:
    """Yield the body in chunks of 64 KiB (the last may be shorter) to 1 MiB.

    Raises SlowBodyError where no byte came for `idle_s`, UsageError where the framing is broken, ConnectionError
    where the client has gone.
    """
    await _say_continue(request)
    parts: list[bytes] = []
    size = 0
    while part := await _read_some(request, idle_s):
        parts.append(part)
        size += len(part)
        if size >= CHUNK_LEAST_BYTES:
            yield parts[0] if len(parts) == 1 else b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


async def small_body(request: web.BaseRequest, idle_s: float, most_bytes: int) -> bytes:
    """Return a body that must be small. Raises TooLargeError above `most_bytes`, and as body_chunks does."""
    body = bytearray()
    async for chunk in body_chunks(request, idle_s):
        body += chunk
        if len(body) > most_bytes:
            raise TooLargeError(f"the body is larger than {most_bytes} bytes")
    return bytes(body)


async def _read_some(request: web.BaseRequest, idle_s: float) -> bytes:
    try:
        async with asyncio.timeout(idle_s):
            return await request.content.readany()
    except TimeoutError:
        raise SlowBodyError(f"no byte of the body came for {idle_s:g} s") from None
    except web.RequestPayloadError as error:
        raise UsageError("the body of the request is malformed") from error


async def _say_continue(request: web.BaseRequest) -> None:
    # Only now, when somebody wants the body: a refusal before spares the client from sending it (RFC 9110 10.1.1).
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= (1, 1):
        await request.writer.write(CONTINUE)
        request.writer.output_size = 0
