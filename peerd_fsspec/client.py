"""The daemon's API for `peer://`: requests over connections that are kept, and their failures as files have them.

Unlike the commands, which make one request each, this lives in programs that import much more anyway.
Not here: what a path means (filesystem).
"""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import ClientResponse, ClientSession
from yarl import URL

from peerd_cli import endpoint
from peerd_cli.failure import Failure
from peerd_cli.keys import quote

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0
WRITE_TIMEOUT_S = 3600.0
"""A write is answered when its copies are made, which may take long; a daemon that dies ends it at once."""

CONNECTIONS_MAX = 16

_ERRNO_OF_STATUS = {
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
    412: errno.EEXIST,
    413: errno.EFBIG,
    504: errno.ETIMEDOUT,
    507: errno.ENOSPC,
}


class Client:
    """Requests to one daemon, in one event loop."""

    def __init__(self, api: str | None, token: str | None) -> None:
        self._api = api
        self._token = token
        self._session: ClientSession | None = None
        self._base = ""

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        data: Any = None,
    ) -> AsyncIterator[ClientResponse]:
        """Make a request and give out its answer; raises an OSError where that is a failure."""
        session = await self._connected()
        wait_s = WRITE_TIMEOUT_S if method in ("PUT", "POST", "DELETE") else READ_TIMEOUT_S
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=wait_s)
        parameters = "&".join(f"{name}={quote(value)}" for name, value in (query or {}).items())
        url = self._base + path + (f"?{parameters}" if parameters else "")
        try:
            async with session.request(
                method, URL(url, encoded=True), headers=headers, data=data, timeout=timeout
            ) as response:
                if response.status >= 300:
                    raise await _failed(response, path)
                yield response
        except TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, f"the daemon said nothing for {wait_s:.0f} s") from None
        except aiohttp.ClientError as error:
            raise ConnectionError(f"the daemon went away: {error}") from error

    async def json(self, path: str, query: dict[str, str] | None = None) -> Any:
        """Return the JSON of an answer."""
        async with self.request("GET", path, query=query) as response:
            return json.loads(await response.read())

    async def _connected(self) -> ClientSession:
        if self._session is None:
            self._open(await asyncio.get_running_loop().run_in_executor(None, self._find))
        assert self._session is not None, "it was opened"
        return self._session

    def _open(self, where: endpoint.Endpoint) -> None:
        """Prepare the connections, unless another request was as soon."""
        if self._session is not None:
            return
        headers = {"User-Agent": "peer-fsspec"}
        if where.path is not None:
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(where.path, limit=CONNECTIONS_MAX)
        else:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX)
            token = self._token or endpoint.token()
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
        self._base = f"http://{where.http_host}"
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, auto_decompress=False)

    def _find(self) -> endpoint.Endpoint:
        """Return where the daemon answers; raises ConnectionError, PermissionError, ValueError."""
        try:
            where, connected = endpoint.connect(endpoint.candidates(self._api), CONNECT_TIMEOUT_S)
        except Failure as failure:
            if failure.code == "usage":
                raise ValueError(failure.message) from None
            kind = PermissionError if failure.code == "not_authorised" else ConnectionError
            raise kind(failure.message) from None
        connected.close()
        return where


async def _failed(response: ClientResponse, path: str) -> Exception:
    """Return the failure that an answer tells, as Python's files have it."""
    try:
        problem = json.loads(await response.read())
        detail = str(problem.get("detail") or response.reason)
    except (ValueError, AttributeError):
        detail = str(response.reason)
    if response.status == 400:
        return ValueError(detail)
    if response.status == 416:
        return EOFError(detail)
    # The classes of files follow from the number: FileNotFoundError from ENOENT (PEP 3151).
    return OSError(_ERRNO_OF_STATUS.get(response.status, errno.EIO), detail, path)


def kv(key: str) -> str:
    """Return the API's path of a key."""
    return f"/v1/kv/{quote(key)}"


def content(cid: str) -> str:
    """Return the API's path of content."""
    return f"/v1/content/{quote(cid)}"
