"""A lab: its verbs, one method each, as the command line, the demo and the fixture use them.

    with Lab(directory) as lab:
        lab.up(3)
        lab.peer(0).put("notes", Path("notes.txt"))
        lab.kill(0)
        assert lab.peer(2).get("notes")

Everything blocks, and every wait has a bound. The daemons live on when the program ends, until `down`: the directory is
the lab, and any number of objects and commands may use it, one at a time for what changes it.
"""

import os
import signal
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from peerd.errors import UsageError
from peerd.lab import daemons
from peerd.lab.control import ask
from peerd.lab.errors import LabError, NoLabError
from peerd.lab.peer import LabPeer, peerd_environment
from peerd.lab.process import Process, end, find, is_alive, send, wait_ended
from peerd.lab.state import PEERS_MAX, LabState, PeerState, Place, api_text, default_directory

UP_TIMEOUT_S = 20.0
UP_TIMEOUT_PER_PEER_S = 2.0
SETTLE_TIMEOUT_S = 30.0
END_TIMEOUT_S = 5.0
KILL_TIMEOUT_S = 5.0
UNNOTED_TIMEOUT_S = 2.0
"""How long `down` waits for a daemon to show itself whose start was under way when `up` was killed."""

TEMPORARY_PREFIX = "peerd-lab-"


class PeerStatus(msgspec.Struct, frozen=True):
    """One line of `peer lab status`; `pid` is None where it does not run."""

    index: int
    id: str
    listen: str
    api: str
    pid: int | None
    alive: bool
    cut_from: list[int]
    data: str
    log: str


class Lab:
    """The lab in a directory, up or not; without a directory where the command line looks."""

    def __init__(self, directory: Path | str | None = None) -> None:
        path = default_directory() if directory is None else Path(directory).expanduser().absolute()
        # Its parents may be links; itself must be what it says, for /tmp is everybody's.
        self.directory = path.parent.resolve() / path.name
        self._place = Place(self.directory)

    @classmethod
    def temporary(cls) -> Self:
        """Return a lab in a new directory, which `down` removes."""
        return cls(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # Its peers.

    @property
    def peers(self) -> list[LabPeer]:
        """All peers, in order; raises NoLabError where no lab is up."""
        return [LabPeer(self._place, peer.index) for peer in self._place.load().peers]

    def peer(self, index: int) -> LabPeer:
        """Return one peer; raises NotFoundError where the lab has no such."""
        return LabPeer(self._place, self._place.load().peer(index).index)

    def status(self) -> list[PeerStatus]:
        """Return how each peer is."""
        state = self._place.load()
        return [self._status(state, peer) for peer in state.peers]

    def _status(self, state: LabState, peer: PeerState) -> PeerStatus:
        process = peer.process if daemons.runs(peer) else None
        return PeerStatus(
            index=peer.index,
            id=peer.id,
            listen=peer.listen,
            api=api_text(self._place.socket(peer.index)),
            pid=process.pid if process is not None else None,
            alive=process is not None,
            cut_from=state.cut_from(peer.index),
            data=str(self._place.data(peer.index)),
            log=str(self._place.log(peer.index)),
        )

    def logs(self) -> list[tuple[str, str]]:
        """Return for each peer a title and the end of what its daemon printed; empty where no lab is up."""
        try:
            return [(f"log of peer {peer.index} in {self.directory}", peer.log_text()) for peer in self.peers]
        except (LabError, NoLabError):
            return []

    # Its verbs.

    def up(
        self,
        count: int,
        *,
        mdns: bool = False,
        flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        owned: bool = False,
        timeout_s: float | None = None,
    ) -> list[LabPeer]:
        """Start `count` peers and return them when every one lists all others as alive.

        They find each other through the first one, or with `mdns` by mDNS on the loopback interface. `flags` are those
        of `peerd run`, for all; `environment` sets PEERD_* variables beside our own, for settings without a flag.
        `owned` says that the lab serves this process alone, so that `sweep` may end it when the process is no more.
        Raises LabError where a lab is up already or does not come up, UsageError for a wrong setting; then nothing is
        left, also after an interrupt.
        """
        if not 1 <= count <= PEERS_MAX:
            raise UsageError(f"a lab has 1 to {PEERS_MAX} peers, not {count}")
        daemons.check_flags(flags)
        state = LabState(
            peers=[PeerState(index) for index in range(count)],
            mdns=mdns,
            flags=list(flags),
            environment=self._environment(environment or {}),
            cwd=str(Path.cwd()),
            owner=find(os.getpid()) if owned else None,
        )
        limit_s = UP_TIMEOUT_S + count * UP_TIMEOUT_PER_PEER_S if timeout_s is None else timeout_s
        with self._place.locked(make=True):
            self._refuse_second()
            self._place.check_empty()
            try:
                self._place.make(state)
                self._start_all(state, time.monotonic() + limit_s)
            except BaseException as error:
                # The logs go with the lab; a test's report shows the notes of its error.
                for title, text in self.logs():
                    error.add_note(f"{title}:\n{text}")
                self._clear()
                raise
        return self.peers

    def kill(self, index: int) -> None:
        """End a peer with SIGKILL, as a crash would; raises LabError where it does not run."""
        with self._place.locked():
            peer = self._place.load().peer(index)
            if peer.process is None or not send(peer.process, signal.SIGKILL):
                raise LabError(f"peer {index} does not run", hint=f"start it: peer lab start {index}")
            if not wait_ended([peer.process], timeout_s=KILL_TIMEOUT_S):
                raise LabError(f"peer {index} (process {peer.process.pid}) was killed but has not ended")

    def start(self, index: int, *, timeout_s: float = UP_TIMEOUT_S) -> None:
        """Start a peer again, with its data, address and cuts; returns when it lists whom it can reach as alive.

        Raises LabError where it runs already or does not come up; then it is ended again.
        """
        with self._place.locked():
            state = self._place.load()
            peer = state.peer(index)
            if daemons.runs(peer):
                raise LabError(f"peer {index} runs already", hint=f"end it: peer lab kill {index}")
            others = [each for each in state.peers if each is not peer and daemons.runs(each)]
            cut = state.cut_from(index)
            bootstrap = [each.listen for each in sorted(others, key=lambda each: each.index in cut)]
            deadline = time.monotonic() + timeout_s
            try:
                daemons.launch(self._place, state, peer, [] if state.mdns else bootstrap)
                daemons.wait_ready(self._place, [peer], deadline)
                self._place.save(state)
                self._apply_cuts(state, [peer])
                daemons.wait_seen(self._place, state, [peer], deadline, exactly=False)
            except BaseException:
                if peer.process is not None:
                    end([peer.process], timeout_s=END_TIMEOUT_S)
                raise

    def partition(self, indices: Collection[int]) -> None:
        """Cut these peers from all others, both ways, beside the cuts there are; among themselves nothing changes.

        The network of those cut is not told: they notice as they would notice a pulled cable (`settle` waits for it).
        """
        with self._place.locked():
            state = self._place.load()
            cut = sorted({state.peer(index).index for index in indices})
            if not 0 < len(cut) < len(state.peers):
                raise UsageError("a partition has peers on both sides", hint="name some of the peers, not all")
            if cut not in state.cuts:
                state.cuts.append(cut)
            self._place.save(state)
            self._apply_cuts(state, state.peers)

    def heal(self) -> None:
        """End all cuts."""
        with self._place.locked():
            state = self._place.load()
            state.cuts = []
            self._place.save(state)
            self._apply_cuts(state, state.peers)

    def settle(self, *, timeout_s: float = SETTLE_TIMEOUT_S) -> None:
        """Wait until every running peer lists as alive just those that run and that no cut parts from it.

        Raises LabError where that is not so in time.
        """
        state = self._place.load()
        running = [peer for peer in state.peers if daemons.runs(peer)]
        deadline = time.monotonic() + timeout_s
        daemons.wait_seen(self._place, state, running, deadline, exactly=True)

    def down(self) -> bool:
        """End all peers, kindly first, and remove everything of the lab; return whether there was one.

        Works whatever is left of a lab: after a crash of its commands, of its peers or of the machine.
        """
        try:
            with self._place.locked():
                self._clear()
        except NoLabError:
            return False
        return True

    # Helpers, in the order they are called.

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the PEERD_* variables for all peers; nothing of the user's own daemon may leak into a lab."""
        merged = {
            # A name of its own, so that peers of two labs, or of this host's real daemon, never meet by mDNS.
            "PEERD_NETWORK": f"lab-{os.urandom(6).hex()}",
            "PEERD_CONFIG": str(self._place.settings),
            **peerd_environment(os.environ),
            **given,
        }
        return {name: value for name, value in merged.items() if name not in daemons.OWNED_VARIABLES}

    def _refuse_second(self) -> None:
        try:
            state = self._place.load()
        except NoLabError:
            return
        running = sum(daemons.runs(peer) for peer in state.peers)
        raise LabError(
            f"a lab is up already in {self.directory}: {running} of its {len(state.peers)} peers run",
            hint="end it with `peer lab down`, or name another directory with --dir",
        )

    def _start_all(self, state: LabState, deadline: float) -> None:
        first, rest = state.peers[0], state.peers[1:]
        daemons.launch(self._place, state, first, [])
        if not state.mdns:
            daemons.wait_ready(self._place, [first], deadline)
        for peer in rest:
            daemons.launch(self._place, state, peer, [] if state.mdns else [first.listen])
        daemons.wait_ready(self._place, state.peers, deadline)
        self._place.save(state)
        daemons.wait_seen(self._place, state, state.peers, deadline, exactly=False)

    def _apply_cuts(self, state: LabState, peers: Sequence[PeerState]) -> None:
        for peer in peers:
            if not daemons.runs(peer):
                continue
            addresses = [state.peers[index].listen for index in state.cut_from(peer.index)]
            body = msgspec.json.encode({"drop": addresses})
            headers = {"Content-Type": "application/json"}
            answer = ask(self._place.socket(peer.index), "PUT", "/v1/lab/drop", body, headers=headers)
            if answer.status != 200:
                raise LabError(f"peer {peer.index} refused the cut: {answer.body.decode(errors='replace')[:200]}")

    def _clear(self) -> None:
        end(self._processes(), timeout_s=END_TIMEOUT_S)
        self._place.remove()

    def _processes(self) -> list[Process]:
        """Return every process of the lab, noted or not."""
        launching = None
        noted: list[Process] = []
        try:
            state = self._place.load()
            launching = state.launching
            noted = [peer.process for peer in state.peers if peer.process is not None]
        except (LabError, UsageError):
            pass  # unreadable: what holds the data directories is ended
        deadline = time.monotonic() + UNNOTED_TIMEOUT_S
        for index in self._place.peer_directories():
            while (unnoted := daemons.holder(self._place.data(index))) is None and index == launching:
                if time.monotonic() > deadline:
                    break
                time.sleep(daemons.POLL_INTERVAL_S)
            noted += [unnoted] if unnoted is not None else []
        return list(dict.fromkeys(process for process in noted if is_alive(process)))


def sweep() -> None:
    """End the temporary labs whose owner is no more: what test runs left that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*"):
        try:
            owner = Place(path).load().owner
        except (LabError, NoLabError, UsageError):
            continue
        if owner is not None and not is_alive(owner):
            Lab(path).down()
