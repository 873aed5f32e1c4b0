"""`peer token rotate`: another token for the API's TCP addresses."""

from __future__ import annotations

from . import output
from .api import Client
from .text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .parse import Invocation


def token(invocation: Invocation) -> None:
    """Have the daemon replace its token; say the file that holds the new one, and never the token itself."""
    client = Client(invocation)
    answer = client.raw_json("POST", "/v1/token")
    if invocation.flag("json"):
        output.write(answer + b"\n")
    elif not invocation.flag("quiet"):
        output.say(f"the new token is in {safe(client.understand(answer)['token'])}")
