"""A hostile peer: the real one, which follows the protocol and signs validly, with lies put in where it speaks.

    class Denies(Liar):
        name = "denies"

        def answer(self, peer, request, honest):
            return Value(request.rid, b"", None, b"") if isinstance(request, FindValue) else honest()

    Denies().install(peer._core, Clan())                                     # in a test
    world.add(outfit=Denies.outfit({}))                                      # in the simulator
    liars = [{"share": 0.3, "plugin": "tests.hostile.records:Denies"}]       # in a scenario
    python -m tests.hostile.daemon --liar tests.hostile.records:Denies --clan clan.json -- --listen …

Others of its clan are answered honestly. Nothing here imports the simulator.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from peerd.config import parse_host_port
from peerd.ids import PeerId
from peerd.kad.contact import Address, Contact
from peerd.node.core import Core
from peerd.wire.frames import HoldBody
from peerd.wire.messages import Reply, Request
from tests.hostile.clan import Clan

Answer = Reply | Awaitable[Reply] | None
Honest = Callable[[], Answer]
HonestBytes = Callable[[], Awaitable[bytes]]
HonestBlock = Callable[[], Awaitable[bytes | None]]


class Liar:
    """One hostile peer; this one is honest. Lies override what is below "Lies"."""

    name = "honest"

    core: Core
    clan: Clan
    rng: random.Random

    @classmethod
    def outfit(cls, shared: dict[str, Any]) -> Callable[[Any], None]:
        """Return what makes such a liar of each peer that was started; all of one `shared` are a clan."""
        clan = shared.setdefault("clan", Clan())
        return lambda peer: cls().install(peer._core, clan)

    def install(self, core: Core, clan: Clan) -> None:
        """Make a liar of a peer that was started, one of this clan."""
        self.core, self.clan = core, clan
        self.rng = random.Random(core.peer)
        address = parse_host_port(core.own_address)
        clan.enrol(core.peer, (address.host, address.port))
        self._wrap_endpoint()
        self._wrap_bulk()
        self._wrap_news()
        self.begin()

    def _wrap_endpoint(self) -> None:
        endpoint = self.core.endpoint
        handler, ask = endpoint._handler, endpoint.ask

        def handle(peer: PeerId, address: Address, request: Request) -> Answer:
            self.heard(peer, request)
            if not self.clan.lies_to(peer):
                return handler(peer, address, request)
            return self.answer(peer, request, lambda: handler(peer, address, request))

        def asked(contact: Contact, kind: Callable[..., Request], *fields: Any, **options: Any) -> Any:
            if self.clan.lies_to(contact.peer):
                fields = tuple(self.asks(contact, kind, fields))
            return ask(contact, kind, *fields, **options)

        endpoint._handler = handle
        endpoint.ask = asked  # type: ignore[method-assign]

    def _wrap_bulk(self) -> None:
        handler = self.core.bulk._handler
        block, hold, answer = handler.block, handler.hold, handler.answer

        async def blocks(cid: bytes, *rest: Any) -> bytes | None:
            return await self.block(cid, lambda: block(cid, *rest))

        async def none_together(cids: Sequence[bytes]) -> dict[bytes, bytes]:
            return {}  # each by `block`, which may lie

        async def holds(connection: Any, body: HoldBody) -> bytes:
            if not self.clan.lies_to(connection.peer):
                return await hold(connection, body)
            return await self.hold(connection, body, lambda: hold(connection, body))

        async def answers(peer: PeerId, kind: int, payload: bytes) -> bytes:
            if not self.clan.lies_to(peer):
                return await answer(peer, kind, payload)
            return await self.tell(peer, kind, payload, lambda: answer(peer, kind, payload))

        handler.block, handler.hold, handler.answer = blocks, holds, answers  # type: ignore[method-assign]
        handler.small_blocks = none_together  # type: ignore[method-assign]

    def _wrap_news(self) -> None:
        gossip = self.core.gossip
        take = gossip.take
        gossip.take = lambda: tuple(self.news(take()))  # type: ignore[method-assign]

    # Lies.

    def begin(self) -> None:
        """Begin what this liar does of its own accord."""

    def heard(self, peer: PeerId, request: Request) -> None:
        """Take note of what anybody asks, before it is answered."""

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        """Return what is answered to a request; None: nothing. `honest` gives the honest answer."""
        return honest()

    def asks(self, contact: Contact, kind: Callable[..., Request], fields: Sequence[Any]) -> Sequence[Any]:
        """Return the fields with which a request is sent."""
        return fields

    async def block(self, cid: bytes, honest: HonestBlock) -> bytes | None:
        """Return what is sent as a block; None: it is said to be missing."""
        return await honest()

    async def hold(self, connection: Any, body: HoldBody, honest: HonestBytes) -> bytes:
        """Return the receipt for content that is to be held."""
        return await honest()

    async def tell(self, peer: PeerId, kind: int, payload: bytes, honest: HonestBytes) -> bytes:
        """Return what is answered to a short question over a connection."""
        return await honest()

    def news(self, items: Sequence[bytes]) -> Sequence[bytes]:
        """Return what is told in passing, at most as much as fits."""
        return items


class Mix(Liar):
    """Several liars in one peer: each of `parts` has its word, the first the last."""

    parts: Sequence[type[Liar]] = ()

    def install(self, core: Core, clan: Clan) -> None:
        for part in reversed(self.chosen(random.Random(core.peer))):
            part().install(core, clan)

    def chosen(self, rng: random.Random) -> Sequence[type[Liar]]:
        """Return the parts of this one peer."""
        return self.parts


async def replied(answer: Reply | Awaitable[Reply]) -> Reply:
    """Return an answer, once it is there."""
    return await answer if isinstance(answer, Awaitable) else answer


def flipped(data: bytes, at: int = 0) -> bytes:
    """Return bytes with one bit turned; something where there are none."""
    return bytes([data[at] ^ 1]).join((data[:at], data[at + 1 :])) if data else b"\x00"
