"""What stands before zeroconf on each socket: packets that are none of ours, or too many, never reach its parser.

Its cache has room for ten thousand records of anybody's services, of up to 9 kB each; so answers that do not speak of
our service are dropped unread, and what it has kept is counted, for the link to empty it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from peerd.io.mdns_budget import Allowance

PACKET_MAX_BYTES = 9000
"""RFC 6762 section 17."""

LABEL = b"\x06_peerd"
"""Stands, in whatever letters, in every answer that speaks of our service: a pointer goes back within its packet."""

_HEADER_BYTES = 12
_IS_ANSWER = 0x80


class Gate(asyncio.DatagramProtocol):
    """Passes on to `inner` what is to be looked into, having told `speaking` who says it; `refused` counts the rest."""

    def __init__(
        self,
        inner: Any,
        allowance: Allowance,
        *,
        speaking: Callable[[str, int], None],
        refused: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._inner = inner
        self._allowance = allowance
        self._speaking = speaking
        self._refused = refused
        self._now = now

    def datagram_received(self, data: bytes, addr: tuple[str, int] | tuple[str, int, int, int]) -> None:
        """Take a packet from the LAN."""
        if not _HEADER_BYTES <= len(data) <= PACKET_MAX_BYTES:
            return
        if data[2] & _IS_ANSWER and LABEL not in data.lower():
            return
        if not self._allowance.admits(len(data), addr[0], self._now()):
            self._refused()
            return
        self._speaking(addr[0], len(data))
        self._inner.datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        """Pass it on."""
        self._inner.error_received(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._inner.connection_lost(exc)
