"""Entity tags, preconditions and byte ranges (RFC 9110 8.8.3, 13, 14). Pure: header text in, decisions out.

Departs from the RFC where it allows it: no dates (a version is not a time), one range only (several: the whole is
sent), and a write takes one tag, because a compare-and-set compares with one version.
"""

import re
from dataclasses import dataclass

from peerd.api.errors import RangeError
from peerd.errors import ConflictError, UsageError
from peerd.node.results import ANY_VERSION, NO_VERSION

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\uffff]*"'
_TAGS = re.compile(rf"\s*{_TAG}\s*(?:,\s*{_TAG}\s*)*")
_EACH_TAG = re.compile(_TAG)
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,20})\s*-\s*(\d{0,20})", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"[\x21\x23-\x7e]+")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `offset` on, `length` of them."""

    offset: int
    length: int


def etag(version: str) -> str:
    """Return the strong entity tag of a version or content id: the text in quotes."""
    assert _WHOLE.fullmatch(version), "versions and content ids are visible ASCII without quotes"
    return f'"{version}"'


def wanted_version(if_match: str | None, if_none_match: str | None, parameter: str | None) -> str | None:
    """Return the version that a write asks for: `if_version` of the headers or of the parameter, None for any.

    `If-None-Match: *` is 'none', nothing may be there yet, `If-Match: *` any version that is there. Raises UsageError
    for conditions that contradict each other or compare with more than one version, ConflictError for a weak tag, which
    equals no version.
    """
    wanted = {parameter} if parameter is not None else set()
    if if_match is not None:
        wanted.add(ANY_VERSION if if_match.strip() == "*" else _single_tag(if_match))
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise UsageError("If-None-Match on a write takes only '*'")
        wanted.add(NO_VERSION)
    if len(wanted) > 1:
        raise UsageError("the conditions on the version contradict each other")
    return wanted.pop() if wanted else None


def check_if_match(header: str | None, tag: str) -> None:
    """Raise ConflictError where a read's If-Match does not hold of `tag` (strong comparison)."""
    if header is not None and header.strip() != "*" and tag not in _tags(header):
        raise ConflictError("If-Match does not name the present version")


def is_unchanged(if_none_match: str | None, tag: str) -> bool:
    """Return whether the client's If-None-Match has `tag` already (weak comparison)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or tag in {each.removeprefix("W/") for each in _tags(if_none_match)}


def read_range(header: str | None, if_range: str | None, tag: str, size: int) -> Span | None:
    """Return the one range that is to be sent, or None for the whole.

    The whole where there is no range, If-Range names another version, several are asked for, or the header is none we
    know (RFC 9110 14.2). Raises RangeError where the range holds no byte of `size`.
    """
    if header is None or (if_range is not None and if_range.strip() != tag):
        return None
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise RangeError(f"the range holds no byte of {size}", size=size)
    return Span(start, end - start)


def _single_tag(header: str) -> str:
    tags = _tags(header)
    if len(tags) != 1:
        raise UsageError("If-Match on a write takes exactly one quoted version")
    if tags[0].startswith("W/"):
        raise ConflictError("a weak tag equals no version")
    return tags[0][1:-1]


def _tags(header: str) -> list[str]:
    if not _TAGS.fullmatch(header):
        return []
    return _EACH_TAG.findall(header)
