"""The simulated peers' logs: errors count as broken promises; all of them can be shown, in virtual time."""

import asyncio
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loguru import logger

from peerd.logs import escape
from peerd.sim.disk import excuses
from peerd.sim.loop import running_on

if TYPE_CHECKING:
    from loguru import Message


def show(level: str | None) -> None:
    """Write events of at least `level` to standard error from now on: when, on which peer, what. None: nothing."""
    logger.remove()
    if level is not None:
        logger.enable("peerd")
        logger.add(_write, level=level.upper(), format="{message}", backtrace=False, diagnose=False)


@contextmanager
def errors_logged(told: Callable[[str], None]) -> Iterator[None]:
    """Tell each event of level error that is logged meanwhile, but for what a disk that was told to fail explains."""

    def tell(message: "Message") -> None:
        record = message.record
        exception = record["exception"]
        error = exception.value if exception is not None else None
        if excuses(str(record["extra"].get("reason", error))):
            return
        what = f": {error!r} {raised_at(error)}" if error is not None else ""
        told(f"{running_on.get()} logged an error: {record['message']}{what}")

    logger.enable("peerd")  # a program that also embeds a peer hears nothing of its own accord
    sink = logger.add(tell, level="ERROR", format="{message}", backtrace=False, diagnose=False)
    try:
        yield
    finally:
        logger.remove(sink)


def raised_at(error: BaseException) -> str:
    """Return `at file:line` of the innermost frame of an error's trace."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _write(message: "Message") -> None:
    record = message.record
    fields = "".join(f" {key}={value}" for key, value in record["extra"].items())
    now = asyncio.get_running_loop().time()
    line = f"{now:10.4f} {running_on.get():10} {record['level'].name:7} {record['message']}{fields}"
    sys.stderr.write(escape(line) + "\n")
    exception = record["exception"]
    if exception is not None and exception.value is not None:
        sys.stderr.writelines(traceback.format_exception(exception.value))
