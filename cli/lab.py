"""`peer lab …`: hands its arguments to the harness of local daemons, `python -m peerd.lab`, and becomes it.

Becoming it, not waiting for it: standard streams, signals and the exit status are then the harness's own.
"""

from __future__ import annotations

import os
import sys

from .failure import of_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .parse import Invocation


def lab(invocation: Invocation) -> None:
    """Replace this process by the harness; does not return."""
    given_before = ["--json"] if invocation.flag("json") else []
    arguments = [sys.executable, "-P", "-m", "peerd.lab", *given_before, *invocation.operands]
    try:
        os.execv(sys.executable, arguments)  # noqa: S606 (no shell is wanted)
    except OSError as error:
        raise of_os_error(error, "starting the lab") from None
