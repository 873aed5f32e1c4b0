"""A client that sends exactly the bytes it is told to, over the API's real sockets."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

# Only what hangs takes so long, on a busy machine too.
DEADLINE_S = 40.0

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = True
    trace: list[bytes] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self
        assert self.json["status"] == self.status
        return str(self.json["code"])


class Client:
    """One address of the API; every request on a connection of its own."""

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address
        self.token = token

    @property
    def host(self) -> str:
        return "localhost" if self.address.startswith("unix:") else self.address

    async def connect(self) -> Stream:
        if self.address.startswith("unix:"):
            return await asyncio.open_unix_connection(self.address.removeprefix("unix:"))
        host, _, port = self.address.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port))

    async def ask(
        self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        return await self.raw(self.head(method, target, headers, body) + (body or b""), method)

    def head(self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> bytes:
        every = {"Host": self.host, "Connection": "close"}
        if self.token is not None:
            every["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            every["Content-Length"] = str(len(body))
        every |= headers or {}
        lines = [f"{method} {target} HTTP/1.1"] + [f"{name}: {value}" for name, value in every.items()]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")

    async def raw(self, request: bytes, method: str = "GET") -> Answer:
        reader, writer = await self.connect()
        try:
            async with asyncio.timeout(DEADLINE_S):
                writer.write(request)
                return await read_answer(reader, method)
        finally:
            writer.transport.abort()


async def read_answer(reader: asyncio.StreamReader, method: str = "GET") -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    answer = Answer(int(lines[0].split(" ")[1]), headers)
    if method == "HEAD" or answer.status in (100, 204, 304):
        return answer
    try:
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readline(), 16):
                answer.body += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
        else:
            answer.body = await reader.readexactly(int(headers["content-length"]))
    except (asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
        answer.whole = False
        answer.body += getattr(error, "partial", b"")
    return answer
