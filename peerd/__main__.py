"""The program `peerd`: its command line, and how each failure ends.

Light on purpose: the daemon is imported when it is started, so that help and version come at once. Not here: what the
daemon does (daemon), and the command line of users, `peer` (cli).
"""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from peerd import __version__
from peerd.config import Loaded, load
from peerd.config.entries import entries
from peerd.config.table import LATER
from peerd.errors import PeerdError, UsageError

if TYPE_CHECKING:
    import asyncio

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_HELP_FLAGS = ("-h", "--help", "--version")


def main(argv: Sequence[str] | None = None) -> None:
    """Run `peerd` with the arguments and exit with its status (INTERFACE.md)."""
    sys.exit(status(argv))


def status(argv: Sequence[str] | None = None) -> int:
    """Run `peerd` with the arguments and return its exit status; errors are said on standard error."""
    try:
        result = program.main(list(sys.argv[1:] if argv is None else argv), prog_name="peerd", standalone_mode=False)
    except PeerdError as error:
        return _fail(error.message, error.hint, error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), "peerd --help tells what there is", EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def _fail(message: str, hint: str | None, code: int) -> int:
    for line in [f"peerd: {message}"] + ([f"hint: {hint}"] if hint else []):
        # A path or variable may hold anything; what drives a terminal or breaks the line is shown escaped.
        sys.stderr.write("".join(char if char.isprintable() else ascii(char)[1:-1] for char in line) + "\n")
    return code


class _Program(click.Group):
    """A group whose first command may be left out: flags alone are those of `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in _HELP_FLAGS):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="peerd %(version)s")
def program() -> None:
    """Turn the machines of one network into one replicated, verified content store, with no server.

    Started without a command it runs a peer: `peerd run --help` lists the settings.
    """


def _settings(command: Callable[..., int]) -> Callable[..., int]:
    """Give `command` a flag for every setting that has one."""
    for entry in reversed(entries()):
        if entry.option is None:
            continue
        help_text = f"{entry.about.meaning}  [{entry.variable}]"
        if entry.metavar is None:
            option = click.option(entry.option, entry.name, flag_value="0", default=None, help=f"do not {help_text}")
        else:
            option = click.option(
                entry.option, entry.name, metavar=entry.metavar, multiple=entry.many, default=None, help=help_text
            )
        command = option(command)
    for key, flag in LATER.items():
        command = click.option(flag.split()[0], key, default=None, hidden=True)(command)
    return click.option("--config", metavar="FILE", help="TOML settings  [PEERD_CONFIG]")(command)


@program.command()
@_settings
def run(**flags: str | None) -> int:
    """Run a peer in the foreground until SIGINT or SIGTERM.

    A flag wins over the environment, the environment over the file, the file over the default.
    """
    return _run(load(flags))


@program.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sim(arguments: tuple[str, ...]) -> int:
    """Run many simulated peers in one process: --peers N --seed S --scenario FILE --json."""
    from peerd.sim.__main__ import main as simulate  # noqa: PLC0415  imports the daemon

    return simulate(list(arguments))


@program.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
    hidden=True,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def coordinator(arguments: tuple[str, ...]) -> int:
    """Refuse by name what this version has not."""
    raise UsageError("coordinator: not in this version", hint="peers need none: start peerd on each")


@program.command()
def version() -> int:
    """Print the version."""
    click.echo(f"peerd {__version__}")
    return 0


def _run(loaded: Loaded) -> int:
    # Here and not above: these take ten times as long to import as everything else in this file.
    import asyncio  # noqa: PLC0415

    from loguru import logger  # noqa: PLC0415

    from peerd import daemon, logs  # noqa: PLC0415

    logs.setup(loaded.settings.log_level, loaded.settings.log_format)
    for warning in loaded.warnings:
        logger.warning("setting ignored", reason=warning)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(daemon.run(loaded.settings, loaded.file))
    except PeerdError:
        raise
    except Exception:  # noqa: BLE001  the one catch-all: whatever it was, it is logged with its trace
        logger.exception("stopped by a fault of peerd")
        return EXIT_FAILED


def _loop_factory() -> Callable[[], "asyncio.AbstractEventLoop"] | None:
    """Return what makes uvloop's event loop; None, which means asyncio's own, where there is no uvloop."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


if __name__ == "__main__":
    main()
