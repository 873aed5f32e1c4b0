"""`X-Peerd-Into`: what is got goes into a file that the caller has open, instead of into the body of the answer.

Asked for over a Unix socket by a process of the daemon's own user; of all others, and of what is small, the answer is
the ordinary one, without that header. With it the body is lines: how many bytes of the file are there so far.
"""

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from peerd.api.exchange import Exchange, field
from peerd.io.target_file import TargetFile, open_of_caller
from peerd.node.landing import land

if TYPE_CHECKING:
    from peerd.node.get import Opened

HEADER = "X-Peerd-Into"
# Less is sent sooner than a file is opened.
LEAST_BYTES = 2 * 1024 * 1024
_FORM = re.compile(r"fd=([0-9]{1,9}); dev=([0-9]{1,20}); ino=([0-9]{1,20})")


async def target_of(exchange: Exchange, opened: "Opened") -> TargetFile | None:
    """Return the file that the caller has open and wants `opened` in; None where the body is to have it."""
    request = exchange.request
    form = _FORM.fullmatch(field(request, HEADER) or "")
    if form is None or not exchange.local or request.method != "GET" or request.version < (1, 1):
        return None
    in_parts = "Range" in request.headers or "offset" in exchange.query or "length" in exchange.query
    if in_parts or opened.kind != "file" or opened.inline is not None or opened.expected is not None:
        return None
    if opened.size < LEAST_BYTES or request.transport is None:
        return None
    connected = request.transport.get_extra_info("socket")
    found: TargetFile | None = await opened.core.environment.offload(
        open_of_caller, connected, *map(int, form.groups())
    )
    return found


async def lines(opened: "Opened", target: TargetFile) -> AsyncIterator[bytes]:
    """Write `opened` to `target`, telling how far it is; the target is closed at the end."""
    with target:
        async for written in land(opened, target):
            yield b"%d\n" % written
