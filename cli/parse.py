"""Arguments to an invocation, by the table; the only parser there is, so that all commands take options alike.

Options stand before or after operands, `--name VALUE`, `--name=VALUE`, `-n VALUE`, `-nVALUE`, flags bundled; `--` ends
them. Written out because importing a parser costs more than the whole of a short `peer get` may.
"""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

from .failure import usage
from .table import COMMANDS, GLOBAL_OPTIONS, NOT_IN_THIS_VERSION, VERSION, Command, Option
from .text import safe

_TOP_OPTIONS = (*GLOBAL_OPTIONS, VERSION)
_COUNT_DIGITS_MAX = 18


class Invocation:
    """What was asked for: a command (None with only options), its operands and the values of its options.

    `parsed` is False until all arguments were understood.
    """

    def __init__(self) -> None:
        self.command: Command | None = None
        self.operands: list[str] = []
        self.parsed = False
        self._values: dict[str, str | bool | int | float] = {}

    def flag(self, dest: str) -> bool:
        """Whether a flag was given."""
        return self._values.get(dest) is True

    def switched_off(self, dest: str) -> bool:
        """Whether a flag was given in its `--no-…` form."""
        return self._values.get(dest) is False

    def text(self, dest: str) -> str | None:
        """The text given for an option, None where it was not given."""
        value = self._values.get(dest)
        return value if isinstance(value, str) else None

    def number(self, dest: str) -> int | None:
        """The whole number given for an option."""
        value = self._values.get(dest)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def seconds(self, dest: str) -> float | None:
        """The duration given for an option."""
        value = self._values.get(dest)
        return value if isinstance(value, float) else None

    def operand(self, index: int) -> str | None:
        """The operand at `index`, None where fewer were given."""
        return self.operands[index] if index < len(self.operands) else None

    def set(self, dest: str, value: str | bool | int | float) -> None:
        """Set an option; the last one given counts."""
        self._values[dest] = value


def parse(arguments: list[str], into: Invocation) -> None:
    """Fill `into` from the arguments after the program's name.

    Raises Failure (usage); `into` then has what was understood before, so that `--json` counts for the error's form.
    """
    options: tuple[Option, ...] = _TOP_OPTIONS
    rest = list(reversed(arguments))
    only_operands = False
    while rest:
        word = rest.pop()
        if only_operands or word == "-" or not word.startswith("-"):
            if into.command is not None:
                into.operands.append(word)
                continue
            into.command = _command(word)
            options = (*GLOBAL_OPTIONS, *into.command.options)
            if into.command.raw:
                into.operands = list(reversed(rest))
                break
        elif word == "--":
            only_operands = True
        elif word.startswith("--"):
            _long(word, rest, options, into)
        else:
            _short(word, rest, options, into)
    if into.command is not None and not into.command.raw and not into.flag("help"):
        _check_operands(into.command, into.operands)
    into.parsed = True


def wants_json(arguments: list[str]) -> bool:
    """Whether `--json` stands among the options, for errors of arguments that could not be read to their end."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def _command(name: str) -> Command:
    command = COMMANDS.get(name)
    if command is not None:
        return command
    if name in NOT_IN_THIS_VERSION:
        raise usage(f"{name} is not in this version")
    raise usage(f"no such command: {safe(name)}", _nearest(name, list(COMMANDS), "peer ") or "`peer --help` lists them")


def _long(word: str, rest: list[str], options: tuple[Option, ...], into: Invocation) -> None:
    name, equals, value = word.partition("=")
    option = _find(name, options, into)
    if option.takes_value:
        into.set(option.dest, _convert(option, name, value if equals else _next(name, rest)))
    elif equals:
        raise usage(f"{name} takes no value")
    else:
        into.set(option.dest, option.kind == "flag")


def _short(word: str, rest: list[str], options: tuple[Option, ...], into: Invocation) -> None:
    for position, letter in enumerate(word[1:], start=2):
        name = f"-{letter}"
        option = _find(name, options, into)
        if option.takes_value:
            into.set(option.dest, _convert(option, name, word[position:] or _next(name, rest)))
            return
        into.set(option.dest, option.kind == "flag")


def _find(name: str, options: tuple[Option, ...], into: Invocation) -> Option:
    for option in options:
        if name in option.names:
            return option
    command = into.command
    where = f"peer {command.name}" if command is not None else "peer"
    hint = _nearest(name, [n for option in options for n in option.names], f"{where} … ")
    if not hint and command is None and any(name in o.names for c in COMMANDS.values() for o in c.options):
        hint = f"options of a command stand after its name: peer COMMAND … {name}"
    raise usage(
        f"no such option of {where}: {safe(name)}",
        hint or f"`{where} --help` lists them; a key that begins with - goes after --",
    )


def _next(name: str, rest: list[str]) -> str:
    if not rest:
        raise usage(f"{name} needs a value")
    return rest.pop()


def _convert(option: Option, name: str, value: str) -> str | int | float:
    if option.kind == "text":
        return value
    if option.kind == "choice":
        if value not in option.choices:
            raise usage(f"{name} is one of {', '.join(option.choices)}, not {safe(value)!r}")
        return value
    if option.kind == "seconds":
        return _seconds(name, value)
    least = 1 if option.kind == "natural" else 0
    if not (value.isascii() and value.isdigit() and len(value) <= _COUNT_DIGITS_MAX and int(value) >= least):
        raise usage(f"{name} takes a whole number from {least} up, not {safe(value)!r}")
    return int(value)


def _seconds(name: str, value: str) -> float:
    problem = usage(f"{name} takes seconds above 0, not {safe(value)!r}")
    try:
        seconds = float(value)
    except ValueError:
        raise problem from None
    if not 0 < seconds < 1e9:  # also what is not a number
        raise problem
    return seconds


def _check_operands(command: Command, given: list[str]) -> None:
    wanted = command.operands
    hint = f"usage: peer {command.name} {_usage(command)}".rstrip()
    if len(given) > len(wanted) and not (wanted and wanted[-1].many):
        raise usage(
            f"too many arguments for {command.name}: {safe(given[len(wanted)])}",
            hint,
        )
    missing = [operand.metavar for operand in wanted[len(given) :] if operand.required]
    if missing:
        raise usage(f"{command.name} needs {' '.join(missing)}", hint)
    for operand, value in zip(wanted, given, strict=False):
        if operand.choices and value not in operand.choices:
            raise usage(f"{command.name} takes one of {', '.join(operand.choices)}, not {safe(value)!r}")


def _usage(command: Command) -> str:
    return " ".join(operand.metavar for operand in command.operands)


def _nearest(name: str, known: list[str], prefix: str) -> str | None:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{prefix}{near[0]}`?" if near else None
