"""Whom this peer relies on: the faults it saw itself, and the peers that are out for good.

`note` counts a fault; enough of them and a peer is shunned for a while (peerd.trust.faults). `put_out` is for what
signed statements prove (evidence, revocations): whoever listens drops the peer at once.
"""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from loguru import logger

from peerd.clock import Clock
from peerd.ids import PeerId
from peerd.logs import short
from peerd.records.record import Record
from peerd.trust.faults import Faults

Why: TypeAlias = Literal["convicted", "revoked"]
Trust: TypeAlias = Literal["trusted", "shunned", "convicted", "revoked"]

# Each is behind a signed statement that was checked; who keeps those bounds them, this is the last line.
OUT_MAX = 16_384


class Trusting:
    """What this peer thinks of the others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._faults = Faults()
        self._out: dict[PeerId, Why] = {}
        self._listeners: list[Callable[[PeerId], None]] = []

    def note(self, peer: PeerId, kind: str) -> None:
        """Count a fault of a kind of `peerd.trust.faults.WEIGHTS`."""
        if self._faults.note(peer, kind, self._clock.monotonic()):
            logger.warning("a peer is not relied on for a while", peer=short(peer), faults=dict(self.faults_of(peer)))

    def shunned(self, peer: PeerId) -> bool:
        """Return whether the peer is to be asked last and not relied on."""
        return peer in self._out or self._faults.shunned(peer, self._clock.monotonic())

    def points(self, peer: PeerId) -> float:
        """Return what stands against the peer, to order those to ask by."""
        return self._faults.points(peer, self._clock.monotonic())

    def faults_of(self, peer: PeerId) -> Mapping[str, int]:
        """Return how often the peer was caught at what."""
        return self._faults.kinds(peer)

    def trust_of(self, peer: PeerId) -> Trust:
        """Return the one word that people are shown."""
        why = self._out.get(peer)
        if why is not None:
            return why
        return "shunned" if self.shunned(peer) else "trusted"

    def counts(self) -> dict[Trust, int]:
        """Return how many peers are not relied on, by the word for it."""
        out = list(self._out.values())
        shunned = self._faults.shunned_count(self._clock.monotonic(), self._out)
        return {"shunned": shunned, "convicted": out.count("convicted"), "revoked": out.count("revoked")}

    def is_out(self, peer: PeerId) -> bool:
        """Return whether signed statements put the peer out for good."""
        return peer in self._out

    def is_doubted(self, record: Record) -> bool:
        """Return whether a record may have been signed since its writer's key was revoked; most must have it."""
        return self._out.get(PeerId(record.body.writer)) == "revoked"

    def put_out(self, peer: PeerId, why: Why) -> None:
        """Have nothing to do with the peer from now on, and tell who listens; a revocation outranks a conviction."""
        known = self._out.get(peer)
        if known is not None:
            if why == "revoked":
                self._out[peer] = why
            return
        if len(self._out) >= OUT_MAX:
            logger.error("too many peers are out", peer=short(peer), most=OUT_MAX)
            return
        self._out[peer] = why
        logger.warning("a peer is out", peer=short(peer), why=why)
        for listener in self._listeners:
            listener(peer)

    def listen(self, callback: Callable[[PeerId], None]) -> None:
        """Have `callback(peer)` called when a peer is put out."""
        self._listeners.append(callback)
