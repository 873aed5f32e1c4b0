"""One peer of a lab as scripts and tests use it: what it is, the user's commands on it, and its API.

    alice = lab.peer(0)
    alice.put("notes", b"as they are")
    assert lab.peer(1).get("notes") == b"as they are"

What a command answers is INTERFACE: `cli` gives it as it is, `put` and `get` raise where it is not success.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peerd.lab.control import ASK_TIMEOUT_S, Answer, ask
from peerd.lab.errors import LabError
from peerd.lab.process import is_alive
from peerd.lab.state import LabState, Place, api_text

CLI_TIMEOUT_S = 60.0
SHOWN_MAX_CHARS = 500
LOG_MAX_BYTES = 64 * 1024

API_VARIABLE = "PEER_API"


class LabPeer:
    """A peer of a lab that is up; asks the lab's state anew each time, so it stays right over kill and start."""

    def __init__(self, place: Place, index: int) -> None:
        self._place = place
        self.index = index

    def __repr__(self) -> str:
        return f"LabPeer({self.index} of {self._place.path})"

    # What it is.

    @property
    def id(self) -> str:
        """The peer's id."""
        return self._state().peer(self.index).id

    @property
    def listen(self) -> str:
        """Its overlay address; the same after it was started again."""
        return self._state().peer(self.index).listen

    @property
    def api_address(self) -> str:
        """The address of its API, as PEER_API takes it."""
        return api_text(self._place.socket(self.index))

    @property
    def pid(self) -> int | None:
        """The id of its process, None where it does not run."""
        process = self._state().peer(self.index).process
        return process.pid if process is not None and is_alive(process) else None

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.pid is not None

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self._place.data(self.index)

    @property
    def log(self) -> Path:
        """The file that its daemon prints to, over all its lives in this lab."""
        return self._place.log(self.index)

    def log_text(self) -> str:
        """Return the end of what its daemon printed."""
        return tail(self.log)

    # What users do.

    def cli(
        self,
        arguments: list[str],
        *,
        input: bytes | None = None,  # noqa: A002  the name that subprocess.run has for it
        timeout_s: float = CLI_TIMEOUT_S,
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run `peer` with the arguments against this peer and return how it ended and what it printed, as bytes.

        Raises subprocess.TimeoutExpired.
        """
        return subprocess.run(  # noqa: S603  no shell; the program is our own
            [*PEER_COMMAND, *arguments],
            input=b"" if input is None else input,
            capture_output=True,
            env=environment_for(self.api_address),
            timeout=timeout_s,
            check=False,
        )

    def put(self, key: str, value: bytes | str | Path, *options: str) -> dict[str, Any]:
        """Store bytes, a text, or the file or directory at a path; return the answer of `peer put --json`.

        `options` are those of the command, as "--require", "2". Raises LabError with what the command said.
        """
        if isinstance(value, Path):
            ended = self.cli(["--json", "put", *options, "--", key, str(value)])
        else:
            data = value.encode() if isinstance(value, str) else value
            ended = self.cli(["--json", "put", *options, "--", key, "-"], input=data)
        return dict(json.loads(_output(ended, f"put {key} on peer {self.index}")))

    def get(self, target: str, *options: str) -> bytes:
        """Return the bytes of a key or content id; raises LabError with what the command said."""
        return _output(self.cli(["get", *options, "--", target]), f"get {target} on peer {self.index}")

    def api(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = ASK_TIMEOUT_S,
    ) -> Answer:
        """Make a request of its HTTP API and return the answer, whatever its status; LabError where there is none."""
        path = self._place.socket(self.index)
        return ask(path, method, target, body, headers=headers, timeout_s=timeout_s)

    def _state(self) -> LabState:
        return self._place.load()


PEER_COMMAND = (sys.executable, "-P", "-m", "peerd_cli")
"""`peer` of this installation, also where it is not on the PATH or another program has that name."""


def environment_for(api: str) -> dict[str, str]:
    """Return our environment for a command that shall talk to the peer whose API is at `api`, and to no other."""
    kept = {name: value for name, value in os.environ.items() if name != "PEER_TOKEN"}
    return {**kept, API_VARIABLE: api}


def tail(log: Path) -> str:
    """Return the end of a log, empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_MAX_BYTES))
            return file.read(LOG_MAX_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _output(ended: "subprocess.CompletedProcess[bytes]", what: str) -> bytes:
    if ended.returncode == 0:
        return ended.stdout
    said = (ended.stderr or ended.stdout).decode(errors="replace").strip()[:SHOWN_MAX_CHARS]
    raise LabError(f"{what}: exit {ended.returncode}: {said}")


def peerd_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of daemons among the variables of an environment."""
    return {name: value for name, value in environ.items() if name.startswith("PEERD_")}
