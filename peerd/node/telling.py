"""News that cannot wait for pings: told to some peers at once, whether or not they answer. What it says is gossip's."""

from collections.abc import Iterable, Sequence

from peerd.kad.contact import Contact
from peerd.node.asking import Asking
from peerd.node.core import Core
from peerd.wire.messages import Tell

# Items in one datagram: signed statements, of which as many fit.
TOLD_AT_ONCE = 6


async def tell(core: Core, contacts: Iterable[Contact], items: Sequence[bytes]) -> None:
    """Tell each of `contacts` all of `items`, some at a time, and wait until they have answered or were silent."""
    told = list(contacts)
    for at in range(0, len(items), TOLD_AT_ONCE):
        with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
            for contact in told:
                asking.ask(contact, Tell, tuple(items[at : at + TOLD_AT_ONCE]), silent_after_s=0)
            while await asking.next() is not None:
                pass
