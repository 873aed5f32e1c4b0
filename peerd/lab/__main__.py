"""`peer lab …`, `python -m peerd.lab`: the verbs of a lab as commands; words, JSON and exit statuses are `peer`'s.

Data goes to standard output, words to standard error. Not here: what the verbs do (lab).
"""

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

import click
import msgspec

from peerd.errors import PeerdError, UsageError
from peerd.lab.lab import Lab, PeerStatus
from peerd.lab.peer import PEER_COMMAND, environment_for
from peerd.lab.state import DIRECTORY_VARIABLE

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_SIGNAL_BASE = 128
SHORT_ID_CHARS = 10

Command = Callable[..., None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command of the lab and return its exit status; errors are told in the form of `peer`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = _wants_json(arguments)
    try:
        program.main(arguments, prog_name="peer lab", standalone_mode=False)
    except PeerdError as error:
        return _tell(error.code, error.message, error.hint, error.exit_code, as_json=as_json)
    except click.ClickException as error:
        hint = "`peer lab --help` tells what there is; settings of the daemons go behind --"
        return _tell("usage", error.format_message().rstrip("."), hint, EXIT_USAGE, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        return _tell("interrupted", "interrupted", None, EXIT_INTERRUPTED, as_json=as_json)
    return 0


def _options(command: Command) -> Command:
    """Give a command the two options that all have, so that they may stand before and behind its name."""
    directory = click.option(
        "--dir", "directory", metavar="DIR", help=f"The lab's directory  [{DIRECTORY_VARIABLE}]", expose_value=False,
        callback=lambda context, option, value: _note(context, "directory", value),
    )  # fmt: skip
    as_json = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON on standard output.", expose_value=False,
        callback=lambda context, option, value: _note(context, "json", value),
    )  # fmt: skip
    return directory(as_json(command))


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Verbs(click.Group):
    """A group that lists its commands in the order they stand here, which is that of their use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Verbs, context_settings=_SETTINGS, no_args_is_help=False)
@_options
def program() -> None:
    """Run several real daemons on this machine: start, cut apart, kill and end them at will.

    \b
    peer lab up 3                           three peers that see each other
    peer lab exec 0 -- peer put hello f     any command, against peer 0
    peer lab exec 2 -- peer get hello
    peer lab kill 0; peer lab start 0       a crash and the way back
    peer lab partition 2; peer lab heal     cut peer 2 from the others
    peer lab down                           end and remove all of it

    A lab is a directory: --dir, else PEERD_LAB, else one in $XDG_RUNTIME_DIR or /tmp. Each directory has a lab of its
    own. What the peers keep is in there too, and goes with `down`.
    """


@program.command()
@click.argument("count", metavar="N", type=int)
@click.option("--mdns/--no-mdns", default=False, help="Find each other by mDNS on the loopback interface.")
@click.argument("flags", metavar="[-- PEERD FLAGS]", nargs=-1, type=click.UNPROCESSED)
@_options
def up(count: int, mdns: bool, flags: tuple[str, ...]) -> None:
    """Start N daemons that see each other.

    Returns when every one lists all others as alive; where that does not come to be, nothing is left.
    They find each other through peer 0. What stands behind -- goes to every daemon: `peer lab up 3 -- --copies 2`;
    PEERD_* variables count too, this user's own settings file does not. DIR/peerd.toml is read by `start`.
    """
    lab = _lab()
    signal.signal(signal.SIGINT, _interrupt)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    lab.up(count, mdns=mdns, flags=flags)
    if _json():
        _print_json(lab.status())
        return
    click.echo(_table(lab.status()))
    click.echo(_to_try(lab, count - 1), err=True)


@program.command()
@_options
def status() -> None:
    """List the peers: addresses, processes, cuts."""
    found = _lab().status()
    if _json():
        _print_json(found)
    else:
        click.echo(_table(found))


@program.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("index", metavar="I", type=int)
@click.argument("command", metavar="-- ARGS", nargs=-1, required=True, type=click.UNPROCESSED)
@_options
def execute(index: int, command: tuple[str, ...]) -> None:
    """Run a command with PEER_API set to peer I.

    Standard streams and the exit status are the command's own.
    `peer` is always the one of this installation.
    """
    if command[0] == "--":
        command = command[1:]
    if not command:
        raise UsageError("exec needs a command", hint="as in `peer lab exec 0 -- peer ls`")
    _become(command, environment_for(_lab().peer(index).api_address))


_wait = click.option("--wait", is_flag=True, help="Return when the peers have noticed.")


@program.command()
@click.argument("index", metavar="I", type=int)
@_wait
@_options
def kill(index: int, wait: bool) -> None:
    """End peer I with SIGKILL, as a crash would."""
    lab = _lab()
    lab.kill(index)
    _done(lab, f"peer {index} is killed", wait=wait)


@program.command()
@click.argument("index", metavar="I", type=int)
@_options
def start(index: int) -> None:
    """Start peer I again: same data, same address."""
    lab = _lab()
    lab.start(index)
    _done(lab, f"peer {index} runs again", wait=False)


@program.command()
@click.argument("peers", metavar="I,J,...")
@_wait
@_options
def partition(peers: str, wait: bool) -> None:
    """Cut peers I, J, ... from all others, both ways.

    Among themselves the ones named go on talking. Cuts add up: after `partition 0` and `partition 1` of three, each is
    alone. `heal` ends them all. A cut also holds for peers that are started while it lasts.
    """
    lab = _lab()
    cut = _indices(peers)
    lab.partition(cut)
    _done(lab, f"cut from the others: {', '.join(str(index) for index in cut)}", wait=wait)


@program.command()
@_wait
@_options
def heal(wait: bool) -> None:
    """End all cuts."""
    lab = _lab()
    lab.heal()
    _done(lab, "no peer is cut off", wait=wait)


@program.command()
@_options
def down() -> None:
    """End all peers and remove what they kept.

    Works whatever state the lab is in; no lab is no error.
    """
    lab = _lab()
    was_there = lab.down()
    if _json():
        click.echo(json.dumps({"down": was_there}))
    else:
        click.echo(f"the lab in {lab.directory} is gone" if was_there else f"no lab is up in {lab.directory}", err=True)


# Options


def _note(context: click.Context, name: str, value: Any) -> None:
    if value:
        context.find_root().ensure_object(dict)[name] = value


def _noted(name: str) -> Any:
    return click.get_current_context().find_root().ensure_object(dict).get(name)


def _lab() -> Lab:
    return Lab(_noted("directory"))


def _json() -> bool:
    return bool(_noted("json"))


def _to_try(lab: Lab, last: int) -> str:
    """Return commands that show what a lab can do, ready to be pasted."""
    named = f" --dir {shlex.quote(str(lab.directory))}" if _noted("directory") else ""
    api = shlex.quote(lab.peer(last).api_address)
    lines = [f"peer lab{named} exec 0 -- peer put hello --value world", f"peer --api {api} get hello"]
    if last:
        lines += [f"peer lab{named} {verb}" for verb in ("kill 0", "start 0", "partition 0", "heal")]
    return "\n".join(["", "to try:", *(f"  {line}" for line in [*lines, f"peer lab{named} down"])])


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether `--json` is one of ours, also where the arguments make no sense; what `exec` runs has its own options."""
    ours = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    if "exec" in ours:
        ours = ours[: ours.index("exec") + 3]
    return "--json" in ours


def _indices(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise UsageError(f"not numbers of peers: {text!r}", hint="as in `peer lab partition 0,2`")
    return sorted({int(part) for part in parts})


# Ends


def _become(command: Sequence[str], environment: dict[str, str]) -> NoReturn:
    """Replace this process, so that streams, signals and the exit status are the command's own."""
    arguments = [*PEER_COMMAND, *command[1:]] if command[0] == "peer" else list(command)
    sys.stdout.flush()
    try:
        os.execvpe(arguments[0], arguments, environment)  # noqa: S606  no shell is wanted
    except OSError as error:
        raise UsageError(f"cannot run {command[0]}: {error.strerror}") from None


def _done(lab: Lab, words: str, *, wait: bool) -> None:
    if wait:
        lab.settle()
    if _json():
        _print_json(lab.status())
    else:
        click.echo(words, err=True)


def _print_json(found: list[PeerStatus]) -> None:
    click.echo(msgspec.json.encode(found).decode())


def _table(found: list[PeerStatus]) -> str:
    rows = [("PEER", "ID", "LISTEN", "PROCESS", "CUT FROM", "API")]
    for peer in found:
        process = str(peer.pid) if peer.pid is not None else "not running"
        cut = ",".join(str(index) for index in peer.cut_from) or "-"
        rows.append((str(peer.index), peer.id[:SHORT_ID_CHARS] or "-", peer.listen or "-", process, cut, peer.api))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _tell(code: str, message: str, hint: str | None, status: int, *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps({"error": {"code": code, "message": message} | ({"hint": hint} if hint else {})}))
        return status
    for line in [f"peer: {message}"] + ([f"hint: {hint}"] if hint else []):
        # A path or a log may hold anything; what drives a terminal or breaks the line is shown escaped.
        click.echo("".join(char if char.isprintable() else ascii(char)[1:-1] for char in line), err=True)
    return status


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """End `up` once: impatient further interrupts must not end the cleaning up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(EXIT_SIGNAL_BASE + number)


if __name__ == "__main__":
    sys.exit(main())
