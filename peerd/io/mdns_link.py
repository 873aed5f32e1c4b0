"""mDNS on one interface: a python-zeroconf of its own, which announces that interface's addresses and hears its LAN.

One each, because the answers on a link must be that link's addresses (RFC 6762 section 6.2 and 14), and so that one
that fails or changes leaves the others alone. Built on zeroconf's sockets, cache and responder, not on its browser and
registration, which announce only at the start, query ever more rarely, and were measured not to bring together in 335 s
two hosts that started while cut from each other. Not here: when to speak (mdns), what to believe (mdns_hints).

Imported only where mDNS is on: zeroconf costs 4 MB and 80 ms.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

from zeroconf import (  # type: ignore[attr-defined]  # offered, not in __all__
    DNSAddress,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSRecord,
    DNSService,
    DNSText,
    Error,
    NotRunningException,
    RecordUpdate,
    RecordUpdateListener,
    ServiceInfo,
    Zeroconf,
    current_time_millis,
)
from zeroconf.asyncio import AsyncZeroconf

from peerd.io.interfaces import Interface
from peerd.io.mdns_budget import Allowance
from peerd.io.mdns_gate import Gate

SERVICE_TYPE = "_peerd._udp.local."

KNOWN_ANSWERS_MAX = 64
"""Peers named in a question as known, who then need not answer: at most a few packets."""

NAMES_MAX = 64
"""Services looked at in one packet, or asked for because parts are missing: a stranger's list can be long."""

KEPT_RECORDS_MAX, KEPT_BYTES_MAX = 1024, 256 * 1024
"""Records that zeroconf's cache has taken in, and bytes of packets, after which it is emptied. What
is lost is whom we need not ask for: services are reported when they are heard."""

SILENT_AFTER_COUNT = 3
"""Announcements of our own that did not come back to us, as multicast does, before the link counts as silent."""

GOODBYE_GAP_S = 0.15
"""Longer than an answer waits in a queue to be joined with others (RFC 6762 section 6)."""

REPLACED_TTL_S = 1

_QUERY, _CLASS_IN = 0x0000, 1
_TYPE_A, _TYPE_PTR, _TYPE_TXT, _TYPE_AAAA, _TYPE_SRV, _TYPE_ANY = 1, 12, 16, 28, 33, 255


@dataclass(frozen=True, slots=True)
class Service:
    """What is announced: the same on every interface but for the addresses."""

    name: str
    """The instance, one DNS label."""
    port: int
    properties: Mapping[str, str]


class Heard(Protocol):
    """Takes what a link heard; all of it is foreign."""

    def __call__(
        self,
        interface: Interface,
        name: str,
        properties: Mapping[bytes, bytes | None],
        addresses: list[str],
        port: int | None,
        *,
        speaker: str = "",
    ) -> None:
        """A service is at these addresses, or still is; `speaker` is where the packet seems to come from."""


class Link(RecordUpdateListener):
    """Announces one service on one interface and reports those of others. Open it, then speak, then close it."""

    def __init__(
        self,
        interface: Interface,
        service: Service,
        *,
        heard: Heard,
        gone: Callable[[Interface, str, str], None],
        flooded: Callable[[], None] = lambda: None,
        impostor: Callable[[Interface], None] = lambda interface: None,
    ) -> None:
        self.interface = interface
        self.allowance = Allowance(loopback=interface.loopback)
        self._heard = heard
        self._gone = gone
        self._flooded = flooded
        self._impostor = impostor
        instance = f"{service.name}.{SERVICE_TYPE}"
        self._info = ServiceInfo(
            SERVICE_TYPE,
            instance,
            port=service.port,
            properties=dict(service.properties),
            server=f"{service.name}.local.",
            parsed_addresses=[str(address.ip) for address in interface.addresses],
        )
        self._zeroconf: AsyncZeroconf | None = None
        self._unheard_count = 0
        self._fresh: dict[str, None] = {}
        self._partial: dict[str, None] = {}
        self._speaker = ""
        self._denied = False
        """Whether the packet that is being read says something else of our own service than we do."""
        self._kept_records = 0
        self._kept_bytes = 0

    async def open(self) -> None:
        """Open the sockets and begin to answer questions.

        Raises OSError where the port or the group cannot be had.
        """
        # zeroconf says what it cannot do once per process, and in words of others; the caller says it for all links.
        logging.getLogger("zeroconf").setLevel(logging.CRITICAL)
        try:
            await self._open()
        except BaseException:
            await self.close(goodbye=False)
            raise

    async def close(self, *, goodbye: bool) -> None:
        """Close the sockets; with `goodbye`, others are told that the service is gone (takes 0.2 s)."""
        opened, self._zeroconf = self._zeroconf, None
        if opened is None:
            return
        zeroconf = opened.zeroconf
        try:
            zeroconf.registry.async_remove(self._info)
            if goodbye:
                # Twice, with different bytes: zeroconf sends answers that it had queued after the first, and hears
                # no packet twice within 0.8 s. Its own goodbyes, three alike, were seen to leave the service alive.
                zeroconf.async_send(zeroconf.generate_service_broadcast(self._info, 0))
                await asyncio.sleep(GOODBYE_GAP_S)
                zeroconf.async_send(zeroconf.generate_service_broadcast(self._info, 0, broadcast_addresses=False))
        finally:
            with contextlib.suppress(NotRunningException):
                await opened.async_close()

    @property
    def silent(self) -> bool:
        """Whether our announcements do not come back even to us: they surely reach nobody."""
        return self._unheard_count >= SILENT_AFTER_COUNT

    def announce(self) -> None:
        """Tell the LAN where we are."""
        if self._zeroconf is not None:
            self._unheard_count += 1
            zeroconf = self._zeroconf.zeroconf
            zeroconf.async_send(zeroconf.generate_service_broadcast(self._info, None))

    def ask(self, *, everybody: bool) -> None:
        """Ask who is there: `everybody`, or only those whom we do not know (RFC 6762 section 7.1).

        Answers are asked for by multicast, never by unicast: of several programs on one host, only one gets that.
        """
        if self._zeroconf is None:
            return
        self._empty_where_full()
        zeroconf = self._zeroconf.zeroconf
        out = DNSOutgoing(_QUERY)
        out.add_question(DNSQuestion(SERVICE_TYPE, _TYPE_PTR, _CLASS_IN))
        for name in self._partial:
            out.add_question(DNSQuestion(name, _TYPE_ANY, _CLASS_IN))
        self._partial.clear()
        if not everybody:
            now = current_time_millis()
            known = zeroconf.cache.async_all_by_details(SERVICE_TYPE, _TYPE_PTR, _CLASS_IN)
            for record in [each for each in known if not each.is_stale(now)][:KNOWN_ANSWERS_MAX]:
                out.add_answer_at_time(record, now)
        zeroconf.async_send(out)

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        """Note which services a packet is about; called by zeroconf before its cache has the packet."""
        for update in records:
            record = update.new
            self._kept_records += update.old is None
            if record.key == SERVICE_TYPE and isinstance(record, DNSPointer):
                name = record.alias
            elif record.type in (_TYPE_SRV, _TYPE_TXT) and record.key.endswith(f".{SERVICE_TYPE}"):
                name = record.name
            else:
                continue
            if name.lower() == self._info.key:
                self._note_own(record, now)
            if not record.is_expired(now):
                self._note(name)
            elif record.type == _TYPE_PTR and name.lower() != self._info.key:
                self._gone(self.interface, name, self._speaker)

    def async_update_records_complete(self) -> None:
        """Report those services; called by zeroconf when its cache has the packet."""
        if self._zeroconf is None:
            return
        zeroconf = self._zeroconf.zeroconf
        if self._denied:
            self._denied = False
            self._impostor(self.interface)
        names, self._fresh = self._fresh, {}
        for name in names:
            try:
                info = ServiceInfo(SERVICE_TYPE, name)
            except Error:
                continue  # not a name that a service can have
            if info.load_from_cache(zeroconf):
                found = self._addresses(info, zeroconf)
                if info.key == self._info.key and info.port == self._info.port:
                    # Our own echo, or another peer with our key, which is elsewhere.
                    own = {str(address.ip) for address in self.interface.addresses}
                    found = [each for each in found if each not in own]
                    if not found:
                        continue
                self._heard(self.interface, name, info.properties, found, info.port, speaker=self._speaker)
            elif len(self._partial) < NAMES_MAX:
                self._partial[name] = None
        self._empty_where_full()

    async def _open(self) -> None:
        try:
            self._zeroconf = AsyncZeroconf(interfaces=[str(address.ip) for address in self.interface.addresses])
            zeroconf = self._zeroconf.zeroconf
            await zeroconf.async_wait_for_start()
        except (RuntimeError, NotRunningException) as error:
            raise OSError(f"the interface changed meanwhile: {error}") from error
        if not zeroconf.engine.senders:
            raise OSError("multicast cannot be joined")
        for reader in zeroconf.engine.readers:
            _hear_only(reader.sock, self.interface.name)
            self._guard(reader.transport)
        zeroconf.registry.async_add(self._info)
        zeroconf.async_add_listener(self, None)

    def _guard(self, transport: asyncio.DatagramTransport) -> None:
        """Let nothing reach zeroconf that is none of ours, or too much."""
        clock = asyncio.get_running_loop().time
        inner = transport.get_protocol()
        transport.set_protocol(
            Gate(inner, self.allowance, speaking=self._speaking, refused=self._flooded, now=clock),
        )

    def _speaking(self, speaker: str, size: int) -> None:
        self._speaker = speaker
        self._kept_bytes += size

    def _note_own(self, record: DNSRecord, now: float) -> None:
        """Note that our own announcement came back, or that somebody speaks in our name."""
        if record.is_expired(now):
            self._denied = True
        elif isinstance(record, DNSText):
            self._denied |= record.text != self._info.text
        elif isinstance(record, DNSService):
            self._denied |= record.port != self._info.port or record.server_key != self._info.server_key
        else:
            self._unheard_count = 0

    def _empty_where_full(self) -> None:
        if self._zeroconf is None or (self._kept_records <= KEPT_RECORDS_MAX and self._kept_bytes <= KEPT_BYTES_MAX):
            return
        self._kept_records = self._kept_bytes = 0
        cache = self._zeroconf.zeroconf.cache
        cache.async_remove_records([record for name in cache.names() for record in cache.entries_with_name(name)])

    def _note(self, name: str) -> None:
        # A pointer may name anything: of other services nothing is asked.
        if len(self._fresh) < NAMES_MAX and name.lower().endswith(f".{SERVICE_TYPE}"):
            self._fresh[name] = None

    @staticmethod
    def _addresses(info: ServiceInfo, zeroconf: Zeroconf) -> list[str]:
        """Return the addresses of a service, the newest first.

        Without the ones that a later packet has replaced: zeroconf gives them a second more (RFC 6762 section 10.2),
        and another at each packet after that.
        """
        found = []
        for type_ in (_TYPE_A, _TYPE_AAAA):
            records = zeroconf.cache.async_all_by_details(info.server_key or "", type_, _CLASS_IN)
            for record in reversed(records):
                if isinstance(record, DNSAddress) and record.ttl > REPLACED_TTL_S:
                    with contextlib.suppress(ValueError):
                        found.append(str(ip_address(record.address)))
        return found


def _hear_only(sock: socket.socket, interface: str) -> None:
    """Keep out what comes in by other interfaces: any program's membership opens all of a host's sockets to a group."""
    if hasattr(socket, "SO_BINDTODEVICE"):
        with contextlib.suppress(OSError):  # older kernels want root; then hints of other links are heard, as hints
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
