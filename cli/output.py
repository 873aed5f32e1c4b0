"""The two outputs: data on standard output, words on standard error. Nothing is buffered here.

File descriptor 1 is written directly, so that an error of the disk or the pipe behind it shows where it happens and
not when the interpreter flushes on its way out.
"""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

import os
import sys

from .failure import OutputClosed, of_os_error

STDOUT = 1
STDERR = 2


_data_written = False


def data_was_written() -> bool:
    """Whether anything went to standard output: an error in JSON behind half a value would be neither."""
    return _data_written


def write(data: bytes | memoryview, fd: int = STDOUT) -> None:
    """Write all of `data`.

    Raises OutputClosed where the reader has gone, Failure (`no_room` where the disk is full) on any other error.
    """
    global _data_written  # noqa: PLW0603 (there is one standard output)
    view = memoryview(data)
    while view:
        _data_written = True
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            _wait_writable(fd)
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as error:
            raise of_os_error(error, "writing to standard output") from None


def text(line: str) -> None:
    """Write text to standard output as it is; names in it have been made safe by the caller."""
    write(line.encode("utf-8", "backslashreplace"))


def json_line(value: object) -> None:
    """Write a JSON value as one line."""
    import json

    text(_shown(json.dumps(value, ensure_ascii=False)) + "\n")


def json_raw(answer: bytes) -> None:
    """Write the JSON that the daemon sent as one line: as it came, escaped where a person looks at it."""
    if is_terminal(STDOUT):
        text(_shown(answer.decode("utf-8", "backslashreplace")) + "\n")
    else:
        write(answer + b"\n")


def _shown(line: str) -> str:
    if line.isprintable() or not is_terminal(STDOUT):
        return line
    from .text import json_safe

    return json_safe(line)


def say(line: str) -> None:
    """Write one line of words to standard error; where nobody listens there, nothing happens."""
    data = (line + "\n").encode("utf-8", "backslashreplace")
    while data:
        try:
            data = data[os.write(STDERR, data) :]
        except BlockingIOError:
            _wait_writable(STDERR)
        except OSError:
            return


def is_terminal(fd: int) -> bool:
    """Whether a person looks at `fd`."""
    return os.isatty(fd)


def reserve_standard_descriptors() -> None:
    """Keep 0, 1 and 2 from being given to a socket or a file where they were closed at the start.

    Data written to a closed standard output would otherwise go to the daemon's socket. The stand-in for 1 is not
    writable, so that writing fails with a clear line.
    """
    for fd, stream in ((0, sys.stdin), (1, sys.stdout), (2, sys.stderr)):
        if stream is None:
            opened = os.open(os.devnull, os.O_WRONLY if fd != STDOUT else os.O_RDONLY)
            if opened != fd:  # pragma: no cover (the lowest free number is taken first)
                os.close(opened)


def _wait_writable(fd: int) -> None:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
