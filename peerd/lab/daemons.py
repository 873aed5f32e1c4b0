"""Starting the daemons of a lab and seeing how they are: which flags they get, whether they are ready, whom they see.

Every wait here has a deadline and ends at once when the daemon waited for does. Not here: what a lab remembers (state).
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from peerd.errors import PeerdError, UsageError
from peerd.lab.control import Answer, ask
from peerd.lab.errors import LabError
from peerd.lab.peer import peerd_environment, tail
from peerd.lab.process import Process, exit_status, find, is_alive, spawn
from peerd.lab.state import DIRECTORY_VARIABLE, LabState, PeerState, Place, api_text

POLL_INTERVAL_S = 0.05
POLL_TIMEOUT_S = 2.0
BOOTSTRAP_MAX = 8

OWNED_FLAGS = ("--data", "--listen", "--no-mdns")
OWNED_VARIABLES = frozenset(
    {
        DIRECTORY_VARIABLE,
        "PEERD_API",
        "PEERD_BOOTSTRAP",
        "PEERD_DATA",
        "PEERD_INTERFACES",
        "PEERD_LISTEN",
        "PEERD_MDNS",
    }
)
"""What the lab itself decides."""

LOOPBACK = "127.0.0.1"
_LOCK_NAME = "lock"  # of a data directory; the daemon that has it writes its id in it
_EXIT_USAGE = 2


def check_flags(flags: Sequence[str]) -> None:
    """Raise UsageError for a flag whose value is the lab's to give, because it differs from peer to peer."""
    for flag in flags:
        name = flag.partition("=")[0]
        if name in OWNED_FLAGS:
            raise UsageError(f"{name} is given by the lab itself", hint="mDNS is turned on with `up --mdns`")


def launch(place: Place, state: LabState, peer: PeerState, bootstrap: Iterable[str]) -> None:
    """Start the daemon of a peer and note its process; it is not ready yet."""
    listen = peer.listen or f"{LOOPBACK}:0"
    arguments = [sys.executable, "-P", "-m", "peerd", "run", "--data", str(place.data(peer.index))]
    arguments += ["--listen", listen, "--api", api_text(place.socket(peer.index))]
    for address in list(bootstrap)[:BOOTSTRAP_MAX]:
        arguments += ["--bootstrap", address]
    arguments += state.flags
    environment = {name: value for name, value in os.environ.items() if name not in peerd_environment(os.environ)}
    environment |= state.environment
    environment |= {"PEERD_MDNS": "1" if state.mdns else "0", "PEERD_INTERFACES": LOOPBACK}
    state.launching = peer.index
    place.save(state)
    try:
        peer.process = spawn(arguments, environment=environment, directory=Path(state.cwd), log=place.log(peer.index))
    except OSError as error:
        raise LabError(f"peer {peer.index} cannot be started: {error.strerror}") from None
    state.launching = None
    place.save(state)


def wait_ready(place: Place, peers: Sequence[PeerState], deadline: float) -> None:
    """Wait until the daemons serve, and note their ids and addresses.

    Raises LabError, or UsageError where the daemon says that a setting is wrong.
    """
    for peer in peers:
        while not _is_ready(place, peer):
            _check_runs(place, peer)
            if time.monotonic() > deadline:
                raise LabError(f"peer {peer.index} is not ready in time: {_last_words(place.log(peer.index))[0]}")
            time.sleep(POLL_INTERVAL_S)
        status = _ask(place, peer, "/v1/status").json()
        peer.id, peer.listen = str(status["id"]), str(status["listen"])


def wait_seen(place: Place, state: LabState, peers: Sequence[PeerState], deadline: float, *, exactly: bool) -> None:
    """Wait until each of `peers` lists as alive every running peer of the lab that no cut parts from it.

    With `exactly` also no other peer of the lab. Raises LabError that says who lacks whom.
    """
    names = {peer.id: peer.index for peer in state.peers}
    running = {peer.index for peer in state.peers if runs(peer)}
    for peer in peers:
        wanted = running - {peer.index} - set(state.cut_from(peer.index))
        while not _sees(seen := alive_to(place, peer, names), wanted, exactly=exactly):
            _check_runs(place, peer)
            if time.monotonic() > deadline:
                raise LabError(_difference(peer.index, seen, wanted))
            time.sleep(POLL_INTERVAL_S)


def runs(peer: PeerState) -> bool:
    """Whether the daemon of a peer runs."""
    return peer.process is not None and is_alive(peer.process)


def alive_to(place: Place, peer: PeerState, names: dict[str, int]) -> set[int]:
    """Return the numbers of the peers that a peer lists as alive; none where it does not answer."""
    try:
        answer = _ask(place, peer, "/v1/peers")
    except LabError:
        return set()
    return {names[each["id"]] for each in answer.json() if each["state"] == "alive" and each["id"] in names}


def holder(data: Path) -> Process | None:
    """Return the daemon that has a data directory, whoever started it; None where none has.

    For daemons whose start was the last that a killed command did.
    """
    try:
        with (data / _LOCK_NAME).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read(32).strip()
                return find(int(text)) if text.isdigit() else None
    except OSError:
        return None
    return None


def _is_ready(place: Place, peer: PeerState) -> bool:
    try:
        return _ask(place, peer, "/v1/health/ready").status == 200
    except LabError:
        return False


def _ask(place: Place, peer: PeerState, target: str) -> Answer:
    return ask(place.socket(peer.index), "GET", target, timeout_s=POLL_TIMEOUT_S)


def _check_runs(place: Place, peer: PeerState) -> None:
    if runs(peer):
        return
    words, hint = _last_words(place.log(peer.index))
    wrong_setting = peer.process is not None and exit_status(peer.process) == _EXIT_USAGE
    kind: type[PeerdError] = UsageError if wrong_setting else LabError
    raise kind(f"peer {peer.index} ended: {words}", hint=hint)


def _last_words(log: Path) -> tuple[str, str | None]:
    """Return the last line that a daemon printed, and its hint; the error it ended with where it said one."""
    lines = [line for line in tail(log).splitlines() if line.strip()] or ["it printed nothing"]
    hint = lines.pop().removeprefix("hint: ") if len(lines) > 1 and lines[-1].startswith("hint: ") else None
    return lines[-1].removeprefix("peerd: "), hint


def _sees(seen: set[int], wanted: set[int], *, exactly: bool) -> bool:
    return seen == wanted if exactly else seen >= wanted


def _difference(index: int, seen: set[int], wanted: set[int]) -> str:
    missing, surplus = sorted(wanted - seen), sorted(seen - wanted)
    if missing:
        return f"peer {index} does not list as alive in time: {', '.join(map(str, missing))}"
    return f"peer {index} lists as alive whom it cannot reach, for too long: {', '.join(map(str, surplus))}"
