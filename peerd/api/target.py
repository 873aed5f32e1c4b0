"""Percent-encoded text of a request target, decoded exactly once. Pure.

Keys hold any Unicode text: '/', '..', '%', '?', NUL. So nothing here normalises dot segments, and nothing is decoded
before the path is taken apart (RFC 3986 2.4). What is malformed is refused rather than guessed: a key must not depend
on who reads it.
"""

import re
from urllib.parse import unquote_to_bytes

from peerd.errors import UsageError

_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")


def split_target(raw: str) -> tuple[str, str]:
    """Return the path and the query of a request target, both still encoded.

    Raises UsageError for a target that is no path (absolute-form, `*`) or holds a fragment.
    """
    if not raw.startswith("/") or "#" in raw:
        raise UsageError("the request target is not a path", hint="a '#' in a key is written %23")
    path, _, query = raw.partition("?")
    return path, query


def decode(raw: str, what: str) -> str:
    """Return the text that `raw` encodes; `what` names it in the error.

    Raises UsageError where an escape is malformed or the bytes are no UTF-8.
    """
    if _MALFORMED.search(raw):
        raise UsageError(f"{what} has a malformed percent escape", hint="a literal '%' is written %25")
    try:
        return unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{what} is not UTF-8") from None


def decode_query(raw: str) -> list[tuple[str, str]]:
    """Return the pairs of a query string in order; '+' is a space, as URL encoders of all languages write it."""
    pairs = []
    for part in raw.split("&"):
        if part:
            name, _, value = part.replace("+", " ").partition("=")
            pairs.append((decode(name, "a query parameter"), decode(value, "a query parameter")))
    return pairs
