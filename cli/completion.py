"""`peer completion SHELL` prints a shell's script; the script calls `peer` again for the words.

Words and script are click's, made from the table of commands (help).
"""

from __future__ import annotations

from click.shell_completion import get_completion_class, shell_complete

from . import output
from .failure import usage
from .help import group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .parse import Invocation

VARIABLE = "_PEER_COMPLETE"


def completion(invocation: Invocation) -> None:
    """Print the completion script of a shell."""
    shell = invocation.operands[0]
    kind = get_completion_class(shell)
    if kind is None:
        raise usage(f"no completion for {shell}")
    output.text(kind(group(), {}, "peer", VARIABLE).source() + "\n")


def answer(instruction: str) -> int:
    """Print the words that fit, for the shell's script; return the exit status."""
    return shell_complete(group(), {}, "peer", VARIABLE, instruction)
