"""The whole command line of `peerd`, by click: help, other commands than `run`, and what is wrong with a flag.

A plain start of the daemon does not come here (`__main__`): click would stay in its memory. Not here: what the daemon
does (daemon), and the command line of users, `peer` (cli).
"""

from collections.abc import Callable

import click

from peerd import __version__
from peerd.config import load
from peerd.config.entries import entries
from peerd.config.table import LATER
from peerd.errors import UsageError
from peerd.start import start

_HELP_FLAGS = ("-h", "--help", "--version")


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
    return start(load(flags))


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
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def identity(arguments: tuple[str, ...]) -> int:
    """Look after who this peer is: show, backup, restore, protect, unprotect, revoke."""
    from peerd.identities import identity as group  # noqa: PLC0415  imports cryptography and the store

    group.main(list(arguments), prog_name="peerd identity", standalone_mode=False)
    return 0


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
