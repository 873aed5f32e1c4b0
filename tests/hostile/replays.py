"""A member that keeps every statement it hears and says it all again: in its own sessions, to everybody, later.

What travelled sealed between others it cannot hear; who can put datagrams on the wire again does so where the wire is
(tests/sim/test_replays.py).
"""

import asyncio
from collections.abc import Callable
from typing import Any

from peerd.ids import PeerId
from peerd.kad.contact import Contact
from peerd.node.core import Core
from peerd.node.gossip import FORGOTTEN, LEFT, LIVES
from peerd.wire.messages import (
    Accept,
    AddProvider,
    KeepFloors,
    Leave,
    Newer,
    Providers,
    Release,
    Reply,
    Request,
    Store,
    Tell,
    Value,
    Vouched,
)
from tests.hostile.base import Liar
from tests.hostile.clan import Clan

KEPT_MAX = 5000
PAUSE_S = 0.01

Said = tuple[Callable[..., Request], tuple[Any, ...]]


class Replays(Liar):
    """Keeps what it hears from `install` on; says it all again when it is told to."""

    name = "replays"

    def install(self, core: Core, clan: Clan) -> None:
        self.kept: dict[Said, None] = {}
        super().install(core, clan)
        ask = core.endpoint.ask

        def asked(contact: Contact, kind: Callable[..., Request], *fields: Any, **options: Any) -> Any:
            future = ask(contact, kind, *fields, **options)
            future.add_done_callback(self._answered)
            return future

        core.endpoint.ask = asked  # type: ignore[method-assign]

    def heard(self, peer: PeerId, request: Request) -> None:
        match request:
            case Store() | AddProvider() | Leave() | Release() | KeepFloors() | Accept() | Tell():
                fields = tuple(getattr(request, name) for name in request.__struct_fields__[1:])
                self._keep(type(request), *fields)
        for item in getattr(request, "news", ()):
            if item[0] in (LEFT, LIVES, FORGOTTEN):
                self._keep(Tell, (item,))

    def _answered(self, future: "asyncio.Future[Reply]") -> None:
        if future.cancelled() or future.exception() is not None:
            return
        match future.result():
            case Value(record=record, left_s=left_s) if record:
                self._keep(Store, record, left_s)
            case Newer(record=record):
                self._keep(Store, record, None)
            case Providers(providers=statements):
                for statement in statements:
                    self._keep(AddProvider, statement)
            case Vouched(statement=statement) if statement:
                self._keep(Tell, (bytes([LIVES]) + statement,))

    def _keep(self, kind: Callable[..., Request], *fields: Any) -> None:
        if len(self.kept) < KEPT_MAX:
            self.kept[kind, fields] = None

    async def replay(self) -> int:
        """Say everything to everybody again; return how many requests that were."""
        said = self.rng.sample(list(self.kept), len(self.kept))
        contacts = list(self.core.members.alive())
        for kind, fields in said:
            for contact in contacts:
                asked = self.core.endpoint.ask(contact, kind, *fields)
                asked.add_done_callback(_nothing)
            await asyncio.sleep(PAUSE_S)
        return len(said) * len(contacts)


def _nothing(future: "asyncio.Future[Reply]") -> None:
    if not future.cancelled():
        future.exception()
