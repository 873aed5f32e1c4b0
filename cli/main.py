"""The entry point of `peer`: parse, run one command, and turn every end of it into one line and an exit status."""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

import os
import sys
from importlib import import_module

from . import output
from .failure import Failure, OutputClosed, Terminated, of_os_error, usage
from .parse import Invocation, parse, wants_json
from .text import one_line

EXIT_OUTPUT_CLOSED = 141
"""What a shell shows for a filter that a closed pipe ended."""

EXIT_SIGNAL_BASE = 128


def main(arguments: list[str] | None = None) -> int:
    """Run `peer` with `arguments` (those of the process where not given) and return its exit status."""
    if "_PEER_COMPLETE" in os.environ:
        from .completion import answer

        return answer(os.environ["_PEER_COMPLETE"])
    given = sys.argv[1:] if arguments is None else arguments
    invocation = Invocation()
    status = 0
    try:
        output.reserve_standard_descriptors()
        parse(given, invocation)
        _run(invocation)
    except OutputClosed:
        return EXIT_OUTPUT_CLOSED
    except Failure as failure:
        status = _report(failure, as_json=invocation.flag("json") or (not invocation.parsed and wants_json(given)))
    except KeyboardInterrupt:
        status = _report(Failure("interrupted", "interrupted"), as_json=invocation.flag("json"))
    except Terminated as ended:
        _report(Failure("terminated", "ended by a signal"), as_json=invocation.flag("json"))
        status = EXIT_SIGNAL_BASE + ended.signum
    except OSError as error:
        status = _report(of_os_error(error, "a call of the system"), as_json=invocation.flag("json"))
    return status


def _run(invocation: Invocation) -> None:
    command = invocation.command
    if invocation.flag("help"):
        from .help import show

        show(command)
        return
    if command is None:
        if invocation.flag("version"):
            from .node import own_version

            output.text(f"peer {own_version()}\n")
            return
        raise usage("a command is needed", "`peer --help` lists them")
    module, _, function = command.run.partition(":")
    getattr(import_module(f".{module}", __package__), function)(invocation)


def _report(failure: Failure, *, as_json: bool) -> int:
    """Tell a failure in the form asked for and return its exit status."""
    try:
        if as_json and not output.data_was_written():
            told = {"code": failure.code, "message": failure.message}
            if failure.hint:
                told["hint"] = failure.hint
            output.json_line({"error": told, **failure.extra})
            return failure.exit_status
    except (Failure, OutputClosed):
        return failure.exit_status
    output.say(f"peer: {one_line(failure.message)}")
    if failure.hint:
        output.say(f"hint: {one_line(failure.hint)}")
    return failure.exit_status


if __name__ == "__main__":
    sys.exit(main())
