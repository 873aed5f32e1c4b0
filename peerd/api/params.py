"""Query parameters: the options of the commands, under their names (INTERFACE.md). Pure.

Each is declared once: how it is read here is what `/v1/openapi.json` says of it. '-' and '_' in a name are the same.
A parameter that a route does not know is an error, not a shrug: a mistyped `require` would otherwise promise nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from peerd.api.target import decode_query
from peerd.errors import UsageError
from peerd.node.results import Consistency, GetOptions, PutOptions

INTEGER_MAX = 2**63 - 1
REQUIRE_MAX = 10_000
TTL_MAX_S = 2**31 - 1
TIMEOUT_MAX_S = 7 * 24 * 3600.0
IF_VERSION_MAX_CHARS = 1024

Query = dict[str, Any]
"""The parameters that were given, by field name, read and checked."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: its name as the commands spell it, the field it sets, its reader and its description."""

    name: str
    set: str
    read: Callable[[str], object]
    schema: dict[str, Any] = field(hash=False)
    about: str


def read_query(raw: str, params: Sequence[Param], *, lenient: bool = False) -> Query:
    """Return what the query string sets; `lenient` passes over parameters that are not known.

    Raises UsageError for an unknown or repeated parameter or a bad value.
    """
    known = {param.name.replace("-", "_"): param for param in params}
    query: Query = {}
    for name, text in decode_query(raw) if raw else ():
        param = known.get(name.replace("-", "_"))
        if param is None and lenient:
            continue
        if param is None:
            names = ", ".join(sorted(each.name for each in params)) or "none"
            raise UsageError(f"unknown query parameter {name[:80]!r}", hint=f"taken here: {names}")
        if param.set in query:
            raise UsageError(f"the query parameter {param.name} is given twice")
        try:
            query[param.set] = param.read(text)
        except ValueError as error:
            raise UsageError(f"the query parameter {param.name} {error}") from None
    return query


def put_options(query: Query) -> PutOptions:
    """Return the write options that `query` sets; what is no field of theirs is left out."""
    return PutOptions(**{name: query[name] for name in PutOptions.__struct_fields__ if name in query})


def get_options(query: Query) -> GetOptions:
    """Return the read options that `query` sets; what is no field of theirs is left out."""
    given = {name: query[name] for name in GetOptions.__struct_fields__ if name in query}
    return GetOptions(**given, patience_s=query.get("timeout_s", 0.0))


def _integer(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or len(text) > 20 or not least <= int(text) <= most:
            raise ValueError(f"is not a whole number from {least} to {most}")
        return int(text)

    return read


def _flag(text: str) -> bool:
    if text.lower() in {"", "1", "true"}:
        return True
    if text.lower() in {"0", "false"}:
        return False
    raise ValueError("is neither true nor false")


def _negated_flag(text: str) -> bool:
    return not _flag(text)


def _consistency(text: str) -> str:
    levels = get_args(Consistency)
    if text not in levels:
        raise ValueError(f"is not one of {', '.join(levels)}")
    return text


def _order(text: str) -> bool:
    if text not in {"first", "any"}:
        raise ValueError("is not one of first, any")
    return text == "first"


def _seconds(text: str) -> float:
    # float() also reads 'nan', 'inf', '1_0' and the digits of other scripts.
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value <= TIMEOUT_MAX_S:
        raise ValueError(f"is not a number of seconds above 0 and at most {TIMEOUT_MAX_S:.0f}")
    return value


def _version(text: str) -> str:
    if not 0 < len(text) <= IF_VERSION_MAX_CHARS:
        raise ValueError("is not a version")
    return text


def _text(text: str) -> str:
    if not text:
        raise ValueError("is empty")
    return text


_FLAG = {"type": "boolean", "default": False}

REQUIRE = Param(
    "require",
    "require",
    _integer(1, REQUIRE_MAX),
    {"type": "integer", "minimum": 1, "maximum": REQUIRE_MAX},
    "Copies that must be acknowledged; fewer is 503 `too_few_copies`.",
)
CONSISTENCY = Param(
    "consistency",
    "consistency",
    _consistency,
    {"enum": list(get_args(Consistency)), "default": "quorum"},
    "Whose answers are awaited.",
)
TTL = Param(
    "ttl",
    "ttl_s",
    _integer(1, TTL_MAX_S),
    {"type": "integer", "minimum": 1, "maximum": TTL_MAX_S},
    "Life in seconds; without it nothing expires.",
)
OWN = Param("own", "own", _flag, _FLAG, "The name under this peer's own id, `<peer id>/KEY`.")
PIN = Param("pin", "pin", _flag, _FLAG, "Keep it on this peer whatever happens.")
NO_CACHE = Param("no-cache", "cache", _negated_flag, _FLAG, "Keep no cached copy here; of no effect on a write.")
ORDER = Param(
    "order",
    "in_order",
    _order,
    {"enum": ["first", "any"], "default": "first"},
    "What is fetched first: the first bytes, or (`any`) what others lack most, so that all of it is here sooner.",
)
IF_VERSION = Param(
    "if-version",
    "if_version",
    _version,
    {"type": "string", "maxLength": IF_VERSION_MAX_CHARS},
    "Only where this is the present version; `none`: only where there is nothing.",
)
TIMEOUT = Param(
    "timeout",
    "timeout_s",
    _seconds,
    {"type": "number", "exclusiveMinimum": 0, "maximum": TIMEOUT_MAX_S, "default": 30},
    "Seconds without progress.",
)
TARGET = Param("target", "target", _text, {"type": "string", "minLength": 1}, "A key or a content id.")
PREFIX = Param("prefix", "prefix", _text, {"type": "string", "minLength": 1}, "Only names that begin with this.")
KEY = Param("key", "key", _text, {"type": "string", "minLength": 1}, "A key; all that this peer keeps where not given.")
WATCHED = Param("key", "key", _text, {"type": "string", "minLength": 1}, "Only the versions of this key, as they come.")
AFTER = Param(
    "after",
    "after",
    _version,
    {"type": "string", "maxLength": IF_VERSION_MAX_CHARS},
    "The version after which to begin, `none` before the first; from now on where not given.",
)
DIVERGENT = Param("divergent", "divergent", _flag, _FLAG, "Only the keys of which holders differ.")
FENCE = Param(
    "fence",
    "fence",
    _integer(1, INTEGER_MAX),
    {"type": "integer", "minimum": 1},
    "The fence that taking the lock answered; without it nothing is renewed or released.",
)
OFFSET = Param(
    "offset", "offset", _integer(0, INTEGER_MAX), {"type": "integer", "minimum": 0}, "First byte wanted of a file."
)
LENGTH = Param(
    "length", "length", _integer(0, INTEGER_MAX), {"type": "integer", "minimum": 0}, "Most bytes wanted of a file."
)
FORMAT = Param(
    "format", "format", _text, {"enum": ["raw", "car"]}, "A block or a CAR; the file itself where not given."
)
DAG_SCOPE = Param(
    "dag-scope",
    "dag_scope",
    _text,
    {"enum": ["block", "entity", "all"], "default": "all"},
    "What a CAR has of the end of the path: its block, what makes up the file or lists the directory, or all below it.",
)
ENTITY_BYTES = Param(
    "entity-bytes",
    "entity_bytes",
    _text,
    {"type": "string", "pattern": r"^-?\d+:(\*|-?\d+)$"},
    "First and last byte of a file whose blocks a CAR has; negative ones from its end.",
)
CAR_VERSION = Param("car-version", "car_version", _text, {"enum": ["1"]}, "The version of the CAR.")
CAR_ORDER = Param("car-order", "car_order", _text, {"enum": ["dfs", "unk"]}, "The order of its blocks; it is dfs.")
CAR_DUPS = Param("car-dups", "car_dups", _text, {"enum": ["y", "n"]}, "Whether blocks may come twice; none does.")
FILENAME = Param("filename", "filename", _text, {"type": "string"}, "The name that a browser is to save it under.")
DOWNLOAD = Param("download", "download", _flag, _FLAG, "Have a browser save it rather than show it.")
