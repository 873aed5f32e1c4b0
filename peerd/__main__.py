"""The program `peerd`: what it was asked for, and how each failure ends.

A plain start of the daemon is read here, flag by flag from the table of settings; all else (help, other commands,
flags that are wrong) is click's business (program), which is not even imported for a daemon.
"""

import sys
from collections.abc import Sequence

from peerd.config import load
from peerd.config.entries import entries
from peerd.config.table import LATER
from peerd.errors import PeerdError

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> None:
    """Run `peerd` with the arguments and exit with its status (INTERFACE.md)."""
    sys.exit(status(argv))


def status(argv: Sequence[str] | None = None) -> int:
    """Run `peerd` with the arguments and return its exit status; errors are said on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        flags = _plain_flags(arguments)
        if flags is None:
            return _program(arguments)
        from peerd.start import start  # noqa: PLC0415  imports the daemon

        return start(load(flags))
    except PeerdError as error:
        return _fail(error.message, error.hint, error.exit_code)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _plain_flags(arguments: Sequence[str]) -> dict[str, str | list[str]] | None:
    """Return the flags of a plain `peerd [run] --flag VALUE …`, or None where the whole command line is needed."""
    known = {entry.option: entry for entry in entries() if entry.option is not None}
    later = {flag.split()[0]: name for name, flag in LATER.items()}
    rest = list(arguments[1:] if arguments[:1] == ["run"] else arguments)
    flags: dict[str, str | list[str]] = {}
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        entry = known.get(option)
        if entry is not None and entry.metavar is None:
            if equals:
                return None
            flags[entry.name] = "0"
            continue
        if entry is None and option not in later and option != "--config":
            return None
        if not equals:
            if not rest:
                return None
            value = rest.pop(0)
        if entry is not None and entry.many:
            many = flags.setdefault(entry.name, [])
            assert isinstance(many, list)
            many.append(value)
        else:
            flags[entry.name if entry is not None else later.get(option, "config")] = value
    return flags


def _program(arguments: list[str]) -> int:
    import click  # noqa: PLC0415  what a daemon never needs

    from peerd.program import program  # noqa: PLC0415

    try:
        result = program.main(arguments, prog_name="peerd", standalone_mode=False)
    except click.ClickException as error:
        return _fail(error.format_message(), "peerd --help tells what there is", EXIT_USAGE)
    except click.Abort:
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def _fail(message: str, hint: str | None, code: int) -> int:
    for line in [f"peerd: {message}"] + ([f"hint: {hint}"] if hint else []):
        # A path or variable may hold anything; what drives a terminal or breaks the line is shown escaped.
        sys.stderr.write("".join(char if char.isprintable() else ascii(char)[1:-1] for char in line) + "\n")
    return code


if __name__ == "__main__":
    main()
