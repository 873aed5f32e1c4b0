"""Logs: one set-up, two forms, one event a line on standard error.

Code above the core logs with loguru, a constant message and its values as fields: `logger.info("peer joined",
peer=short(peer))`. The core is silent. What came from others is escaped here, so that no remote text can forge a line
or drive a terminal. Not here: metrics and counters (api), and what is said to users in answers.
"""

import json
import logging
import math
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TextIO

from loguru import logger

from peerd.ids import PeerId, peer_id_text

if TYPE_CHECKING:
    from loguru import Message, Record

Level = Literal["debug", "info", "warning", "error"]
Form = Literal["text", "json"]

SHORT_ID_CHARS = 10
VALUE_MAX_CHARS = 1024

# C0 and C1 controls and DEL drive terminals; separators and surrogates break lines and encoders; bidirectional
# marks show text in another order than it has.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN = re.compile(r"[^\s\"'=\\]+")

# Libraries tell at these levels what peerd says itself; at debug they say all.
_LIBRARY_LEVEL = logging.WARNING


def setup(level: Level = "info", form: Form = "text", stream: TextIO | None = None) -> None:
    """Send all logs, those of libraries too, to `stream` (standard error) in the given form; may be called again."""
    logger.remove()
    logger.enable("peerd")
    # diagnose would print the values of local variables beside a trace: keys and tokens among them.
    logger.add(
        _Sink(form, stream or sys.stderr),
        level=level.upper(),
        format="{message}",
        backtrace=False,
        diagnose=False,
        catch=True,
    )
    logging.basicConfig(handlers=[_Bridge()], level=logging.DEBUG if level == "debug" else _LIBRARY_LEVEL, force=True)
    logging.captureWarnings(capture=True)


def ready_line(
    form: Form,
    *,
    id: str,  # noqa: A002
    listen: str,
    api: Sequence[str],
    gateway: Sequence[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Print the line that says that the peer can serve; scripts wait for it, so no log level hides it."""
    stream = stream or sys.stderr
    if form == "json":
        fields = {"id": id, "listen": listen, "api": list(api)} | ({"gateway": list(gateway)} if gateway else {})
        line = _json_line(datetime.now(UTC), "info", "peerd ready", fields)
    else:
        line = f"peerd ready id={id} listen={listen} api={escape(','.join(api))}"
        line += f" gateway={escape(','.join(gateway))}" if gateway else ""
    stream.write(line + "\n")
    stream.flush()


def short(peer: PeerId | str) -> str:
    """Return the first letters of a peer's id, enough to tell peers apart in a log."""
    return (peer if isinstance(peer, str) else peer_id_text(peer))[:SHORT_ID_CHARS]


def escape(text: str) -> str:
    """Return `text` with everything that could drive a terminal or forge a line as `\\xNN` or `\\uNNNN`."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


class _Sink:
    """Writes each event as one line; a stream that is gone loses logs and nothing else."""

    def __init__(self, form: Form, stream: TextIO) -> None:
        self._line = _as_json if form == "json" else _as_text
        self._stream = stream

    def __call__(self, message: "Message") -> None:
        try:
            self._stream.write(self._line(message.record) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return


def _as_text(record: "Record") -> str:
    """Return `2025-01-01T00:00:00.000Z INFO peer joined peer=abcdefghij`, and a trace on indented lines below."""
    words = [_stamp(record["time"]), record["level"].name, escape(record["message"])]
    words += [f"{key}={_field(value)}" for key, value in record["extra"].items()]
    trace = _trace(record)
    return "\n    ".join([" ".join(words), *(escape(line) for line in trace.splitlines())])


def _as_json(record: "Record") -> str:
    fields = {key: _plain(value) for key, value in record["extra"].items()}
    if trace := _trace(record):
        fields["trace"] = trace
    return _json_line(record["time"], record["level"].name.lower(), record["message"], fields)


def _json_line(time: datetime, level: str, event: str, fields: Mapping[str, object]) -> str:
    # ASCII only: every control character and lone surrogate leaves as \uNNNN.
    head = {"ts": _stamp(time), "level": level, "event": event}
    return json.dumps(head | {key: value for key, value in fields.items() if key not in head}, ensure_ascii=True)


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _field(value: object) -> str:
    text = _plain(value)
    text = text if isinstance(text, str) else str(text)
    return (
        escape(text) if _PLAIN.fullmatch(text) else escape('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    )


def _plain(value: object) -> object:
    """Return what JSON can hold; bytes and long texts shortened, so that no event is a dump."""
    match value:
        case bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return value[:8].hex() + ("…" if len(value) > 8 else "")
        case list() | tuple() | set() | frozenset():
            return [_plain(part) for part in list(value)[:32]]
        case _:
            text = str(value)
            return text if len(text) <= VALUE_MAX_CHARS else text[:VALUE_MAX_CHARS] + "…"


def _trace(record: "Record") -> str:
    exception = record["exception"]
    if exception is None or exception.value is None:
        return ""
    return "".join(traceback.format_exception(exception.type, exception.value, exception.traceback)).rstrip()


class _Bridge(logging.Handler):
    """Hands the standard logging of libraries to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log `record` under its level, with the library's name as a field."""
        level: str | int = (
            record.levelname if record.levelname in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"} else 20
        )
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        # No arguments: the text is never taken for a template.
        logger.opt(exception=record.exc_info).bind(library=record.name).log(level, text)
