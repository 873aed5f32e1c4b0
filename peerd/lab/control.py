"""Asking a daemon over the Unix socket of its API; blocking, one connection a call.

Not the client that users have (cli): it knows neither names nor directories, and gives the answer as it came.
"""

import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peerd.lab.errors import LabError

ASK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API; `headers` by their names in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body decoded."""
        return json.loads(self.body)


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    path: Path,
    method: str,
    target: str,
    body: bytes | None = None,
    *,
    headers: dict[str, str] | None = None,
    timeout_s: float = ASK_TIMEOUT_S,
) -> Answer:
    """Make a request over the socket at `path` and return the whole answer, whatever its status.

    Raises LabError where no daemon answers there, or not in time.
    """
    connection = _Connection(path, timeout_s)
    try:
        connection.request(method, target, body, {"Connection": "close", **(headers or {})})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"no daemon answers at {path}: {error or type(error).__name__}") from None
    finally:
        connection.close()
