"""The table of commands as `click` commands: what prints --help and answers a shell's completion.

Not here: parsing a command line that is run (parse), by the same table. Imported only when one of the two is asked for.
"""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from . import output
from .api import Client
from .failure import Failure
from .parse import Invocation
from .table import COMMANDS, GLOBAL_OPTIONS, VERSION, Command, Operand, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEYS_MAX = 1000
KEYS_TIMEOUT_S = 1.0
HELP_WIDTH = 100

_EXIT_STATUS = """\b
0 done                    5 not known in time       9 no room
1 any other failure       6 too few copies         10 conflict of versions
2 wrong usage             7 not authorised        130 interrupted
3 not found               8 integrity
4 no daemon answers"""

_SHOWN: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": HELP_WIDTH}

_LAB_WORDS = ("up", "status", "exec", "kill", "start", "partition", "heal", "down")


class Keys(click.types.StringParamType):
    """A key or content id; completed with the names that the daemon keeps, where one answers at once."""

    name = "key"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the keys that begin with `incomplete`."""
        invocation = Invocation()
        invocation.set("timeout", KEYS_TIMEOUT_S)
        try:
            entries = Client(invocation).json("GET", "/v1/ls")
        except Failure:
            return []
        names = [str(entry.get("name")) for entry in entries if isinstance(entry, dict) and entry.get("name")]
        fitting = [name for name in names if name.startswith(incomplete) and name.isprintable()]
        return [CompletionItem(name) for name in fitting[:KEYS_MAX]]


class Words(click.types.StringParamType):
    """One of a few words, as a help to completion only."""

    name = "word"

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the words that begin with `incomplete`."""
        return [CompletionItem(word) for word in self._words if word.startswith(incomplete)]


def group() -> click.Group:
    """Return `peer` as a click group."""
    made = click.Group(
        "peer",
        help="Store and fetch on the machines around: a client of the daemon `peerd`.",
        epilog="Exit status:\n\n" + _EXIT_STATUS,
        params=[_option(option) for option in (*GLOBAL_OPTIONS, VERSION) if option.dest != "help"],
    )
    for command in COMMANDS.values():
        made.add_command(_command(command))
    return made


def show(command: Command | None) -> None:
    """Print the help of a command, or of all."""
    top = group()
    shown: click.Command = top
    context = click.Context(top, info_name="peer", **_SHOWN)
    if command is not None:
        shown = top.commands[command.name]
        context = click.Context(shown, info_name=command.name, parent=context, **_SHOWN)
    output.text(shown.get_help(context) + "\n")


def _command(command: Command) -> click.Command:
    params: list[click.Parameter] = [_argument(operand) for operand in command.operands]
    if command.raw:
        params.append(click.Argument(["arguments"], nargs=-1, type=Words(_LAB_WORDS), metavar="ARGS"))
    else:
        params += [_option(option) for option in (*command.options, *GLOBAL_OPTIONS) if option.dest != "help"]
    text = f"{command.summary}\n\n{command.details}" if command.details else command.summary
    return click.Command(
        command.name,
        help=text,
        short_help=command.summary,
        params=params,
        context_settings={"ignore_unknown_options": command.raw},
    )


def _argument(operand: Operand) -> click.Argument:
    kind: click.ParamType[Any] | None = None
    if operand.complete == "key":
        kind = Keys()
    elif operand.complete == "path":
        kind = click.Path(allow_dash=True)
    elif operand.choices:
        kind = click.Choice(operand.choices)
    return click.Argument([_identifier(operand.metavar)], required=operand.required, metavar=operand.metavar, type=kind)


def _option(option: Option) -> click.Option:
    names = [*option.names, _identifier(option.names[-1])]
    if not option.takes_value:
        return click.Option(names, is_flag=True, help=option.help)
    kind: click.ParamType[Any] = click.STRING
    if option.choices:
        kind = click.Choice(option.choices)
    elif option.dest == "out":
        kind = click.Path(allow_dash=True)
    return click.Option(names, type=kind, metavar=None if option.choices else option.metavar, help=option.help)


def _identifier(text: str) -> str:
    """Return a Python name for a parameter; click wants one, nobody sees it."""
    return "p_" + "".join(char if char.isalnum() else "_" for char in text).lower()
