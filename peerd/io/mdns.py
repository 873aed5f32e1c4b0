"""LAN discovery: announces this peer by mDNS and passes on hints of others, for as long as it runs.

DNS-SD (RFC 6763) over mDNS (RFC 6762), service `_peerd._udp.local.`. It departs from RFC 6762 sections 5.2 and 8.3 in
one thing: it goes on announcing and asking, every few seconds while the peer is lonely and rarely afterwards, because
two parts of a network that meet later see no event that would make them speak.

What is heard is a candidate, which the caller proves by a handshake. Nothing that goes wrong here stops the peer: it is
logged once, stands in `problem`, and is tried again. Not here: the sockets (mdns_link), what is believed (mdns_hints),
which interfaces (interfaces).
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loguru import logger

from peerd.clock import Rng
from peerd.ids import PeerId, peer_id_text
from peerd.io.interfaces import Interface, choose, read_interfaces
from peerd.io.mdns_hints import HINTS_MAX, VERSION, HintTable, read_hint
from peerd.kad.contact import Address

if TYPE_CHECKING:
    from peerd.io.mdns_link import Link, Service

LONELY_INTERVAL_S = 3.5
"""While lonely; with jitter 2 to 5 s. Two small packets each: a peer that stays alone disturbs nobody."""

QUIET_SHARE_S = 3.75
QUIET_MIN_S = 10.0
"""While in company: the interval grows with the peers heard, so that a LAN hears one packet in some 4 s however many
there are, and two small islands that were cut off from each other, or never met, hear of each other within 15 s."""

ASK_BELOW_HINTS = 64
"""In company of more, only announce: a question can name 64 as known (mdns_link), and all others would answer it."""

BURST_GAPS_S = (0.3, 0.7, 1.0)
"""After an interface came up: peers that start together find each other although one packet is lost."""

JITTER = 0.43
RESCAN_INTERVAL_S = 2.0
TICK_S = 1.0
TICK_MIN_S = 0.02

RETRY_S, RETRY_MAX_S = 4.0, 60.0
"""An interface that failed is tried again after 4 s, then twice as long each time, up to 60."""

CLOSE_TIMEOUT_S = 2.0

CONTRADICT_GAP_S = 1.0
"""Who speaks in our name is contradicted at most this often: else one packet would be answered by one, for ever."""


@dataclass(slots=True)
class _Spoken:
    """An open link, and when it spoke."""

    link: "Link"
    opened_at: float
    spoken_at: float = float("-inf")
    spoken_count: int = 0
    stretch: float = 1.0
    contradicted_at: float = float("-inf")


@dataclass(slots=True)
class _Failed:
    """An interface that could not be used as it was, and when it is tried again."""

    interface: Interface
    reason: str
    retry_at: float
    delay_s: float


class LanDiscovery:
    """Announces one peer on the LAN and reports the others that it hears.

    `on_candidate` is called in the event loop with a peer and at most 4 addresses, the likeliest first; again whenever
    the peer is heard or asked for once more, at most every 2 s, because the caller may have lost it meanwhile.
    `lonely` says whether the caller knows no living peer, `knows` whether it has met a peer before: a flood of others'
    packets does not keep those from being heard. Runs one task; starts no thread.
    """

    def __init__(
        self,
        peer_id: PeerId,
        network_digest: str,
        port: int,
        *,
        interfaces: Sequence[str] = (),
        on_candidate: Callable[[PeerId, list[Address]], None],
        lonely: Callable[[], bool],
        knows: Callable[[PeerId], bool] = lambda peer: False,
        rejected: Callable[[str], None] = lambda reason: None,
        rng: Rng,
        lonely_interval_s: float = LONELY_INTERVAL_S,
        hints_max: int = HINTS_MAX,
        read: Callable[[], list[Interface]] = read_interfaces,
    ) -> None:
        self.problem: str | None = None
        """Why the LAN, or a part of it, may not see us; None where all is well."""
        self.ignored: Counter[str] = Counter()
        """What was heard and not believed, by reason."""
        self._peer_id = peer_id
        self._digest = network_digest
        self._port = port
        self._wanted = tuple(interfaces)
        self._on_candidate = on_candidate
        self._lonely = lonely
        self._knows = knows
        self._rejected = rejected
        self._rng = rng
        self._lonely_interval_s = lonely_interval_s
        self._read = read
        self._hints = HintTable(hints_max)
        self._links: dict[str, _Spoken] = {}
        self._failed: dict[str, _Failed] = {}
        self._rescanned_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    @property
    def announced(self) -> list[tuple[str, list[Address]]]:
        """By interface, the addresses announced on it."""
        links = [(name, spoken.link.interface) for name, spoken in self._links.items()]
        return [(name, [(str(each.ip), self._port) for each in interface.addresses]) for name, interface in links]

    async def start(self) -> None:
        """Open what can be opened and begin; returns within milliseconds, whatever fails."""
        assert self._task is None, "started twice"
        await self._tick()
        self._task = asyncio.create_task(self._run(), name="mdns")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Say goodbye and close everything; takes 0.2 s, and 2 at most."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        links, self._links = self._links, {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.gather(*(spoken.link.close(goodbye=True) for spoken in links.values()))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._pause())
            await self._tick()

    async def _tick(self) -> None:
        now = _now()
        if now - self._rescanned_at >= RESCAN_INTERVAL_S:
            self._rescanned_at = now
            await self._rescan(now)
        self._speak(_now())
        friends = self._hints.addresses_of(self._knows)
        for spoken in self._links.values():
            spoken.link.allowance.friends = friends

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.problem = "stopped by an error of its own; see the log"
            logger.opt(exception=error).error("LAN discovery stopped")

    # Interfaces

    async def _rescan(self, now: float) -> None:
        try:
            found = self._read()
        except OSError as error:
            self._report(f"the interfaces cannot be read: {error.strerror or error}")
            return
        chosen = {each.name: each for each in choose(found, self._wanted)}
        self._failed = {name: failed for name, failed in self._failed.items() if failed.interface == chosen.get(name)}
        for name, spoken in list(self._links.items()):
            changed = spoken.link.interface != chosen.get(name)
            if changed or (spoken.link.silent and now - spoken.opened_at >= RETRY_MAX_S):
                await self._close(name, forget=changed)
        for name, interface in chosen.items():
            failed = self._failed.get(name)
            if name not in self._links and (failed is None or now >= failed.retry_at):
                await self._open(interface, now)
        self._report(self._diagnosis(chosen))

    async def _open(self, interface: Interface, now: float) -> None:
        from peerd.io.mdns_link import Link  # noqa: PLC0415  (zeroconf: only where mDNS is on)

        link = Link(
            interface,
            self._service(),
            heard=self._heard,
            gone=self._gone,
            flooded=self._flooded,
            impostor=self._contradict,
        )
        try:
            await link.open()
        except OSError as error:
            failed = self._failed.get(interface.name)
            delay_s = min(RETRY_MAX_S, 2 * failed.delay_s) if failed else RETRY_S
            reason = error.strerror or str(error)
            self._failed[interface.name] = _Failed(interface, reason, now + delay_s, delay_s)
            return
        self._failed.pop(interface.name, None)
        self._links[interface.name] = _Spoken(link, now)

    async def _close(self, name: str, *, forget: bool) -> None:
        spoken = self._links.pop(name)
        if forget:
            self._hints.forget(name)
        await spoken.link.close(goodbye=False)

    def _service(self) -> "Service":
        from peerd.io.mdns_link import Service  # noqa: PLC0415

        text = peer_id_text(self._peer_id)
        # The name is the peer's own, so nobody is asked whether it is free: a probe could only delay or be refused.
        return Service(f"{text}-{self._digest[:8]}", self._port, {"id": text, "v": VERSION, "net": self._digest})

    def _diagnosis(self, chosen: Mapping[str, Interface]) -> str | None:
        reasons = [f"{name}: {failed.reason}" for name, failed in self._failed.items()]
        reasons += [
            f"{name}: our own announcements do not come back (UDP 5353 filtered, or no multicast)"
            for name, spoken in self._links.items()
            if spoken.link.silent
        ]
        if not chosen:
            wanted = f" of {', '.join(self._wanted)}" if self._wanted else ""
            reasons.append(f"no interface{wanted} is up and has an address")
        return "; ".join(reasons) or None

    def _report(self, problem: str | None) -> None:
        if problem == self.problem:
            return
        self.problem = problem
        if problem is None:
            logger.info("LAN discovery works again")
        else:
            logger.warning("LAN discovery is impaired", reason=problem)

    # Speaking

    def _speak(self, now: float) -> None:
        lonely = self._lonely()
        due = [spoken for spoken in self._links.values() if now >= self._due(spoken, lonely=lonely)]
        for spoken in due:
            spoken.link.announce()
            if lonely or len(self._hints) < ASK_BELOW_HINTS:
                spoken.link.ask(everybody=lonely)
            spoken.spoken_at, spoken.spoken_count = now, spoken.spoken_count + 1
            spoken.stretch = self._rng.uniform(1 - JITTER, 1 + JITTER)
        if due:
            for peer, addresses in self._hints.again(now):
                self._on_candidate(peer, list(addresses))

    def _due(self, spoken: _Spoken, *, lonely: bool) -> float:
        if 0 < spoken.spoken_count <= len(BURST_GAPS_S):
            return spoken.spoken_at + BURST_GAPS_S[spoken.spoken_count - 1]
        quiet_s = max(QUIET_MIN_S, QUIET_SHARE_S * len(self._hints))
        often = lonely or spoken.link.silent  # to notice soon that it is mended
        return spoken.spoken_at + spoken.stretch * (self._lonely_interval_s if often else quiet_s)

    def _pause(self) -> float:
        lonely = self._lonely()
        due = min((self._due(spoken, lonely=lonely) for spoken in self._links.values()), default=float("inf"))
        return max(TICK_MIN_S, min(TICK_S, due - _now()))

    # Hearing

    def _heard(
        self,
        interface: Interface,
        name: str,
        properties: Mapping[bytes, bytes | None],
        addresses: list[str],
        port: int | None,
        *,
        speaker: str = "",
    ) -> None:
        hint = read_hint(properties, addresses, port, digest=self._digest, interface=interface)
        if isinstance(hint, str):
            self.ignored[hint] += 1
            return
        if hint.peer == self._peer_id:
            own = {address for _, addresses in self.announced for address in addresses}
            hint = replace(hint, addresses=tuple(each for each in hint.addresses if each not in own))
            if not hint.addresses:
                return
        # On the loopback everybody speaks from one address.
        speaker = "" if interface.loopback else speaker
        free = self._knows(hint.peer)
        offered = self._hints.hear(interface.name, name, hint, now=_now(), speaker=speaker, free=free)
        if isinstance(offered, str):
            self._refuse(offered)
        elif offered:
            self._on_candidate(hint.peer, list(offered))

    def _gone(self, interface: Interface, name: str, speaker: str = "") -> None:
        self._hints.forget(interface.name, name, "" if interface.loopback else speaker)

    def _refuse(self, reason: str) -> None:
        """Count what no honest LAN has, also for the status: services of other networks are nothing to show."""
        self.ignored[reason] += 1
        self._rejected(reason)

    def _flooded(self) -> None:
        self._refuse("mdns_flood")

    def _contradict(self, interface: Interface) -> None:
        """Somebody spoke in our name: say who we are again, so that who heard it has the truth last."""
        self._refuse("mdns_impostor")
        spoken = self._links.get(interface.name)
        now = _now()
        if spoken is not None and now - spoken.contradicted_at >= CONTRADICT_GAP_S:
            spoken.contradicted_at = now
            spoken.link.announce()


def _now() -> float:
    return asyncio.get_running_loop().time()
