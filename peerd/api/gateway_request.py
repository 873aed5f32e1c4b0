"""What a request to the gateway asks for: its path, its form, its parts (specs.ipfs.tech: trustless-gateway,
path-gateway). Pure.

The form is that of the `format` parameter, else of the Accept header (IPIP-523). A CAR never has duplicates, and its
answer says so; a client may ask for either.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from peerd.api.errors import NotAcceptableError
from peerd.content.cid import Cid
from peerd.content.limits import PATH_DEPTH_MAX, SIZE_MAX
from peerd.errors import UsageError

Form = Literal["raw", "car", "file"]

RAW_TYPE, CAR_TYPE = "application/vnd.ipld.raw", "application/vnd.ipld.car"
IDENTITY_MAX_BYTES = 128
"""An identity CID is its own content: as long as a CID has any business to be (Kubo's bound)."""

_OTHER = ("application/vnd.ipld.", "application/vnd.ipfs.", "application/x-tar")
_ENTITY_BYTES = re.compile(r"(-?\d{1,16}):(\*|-?\d{1,16})", re.ASCII)
_IDENTITY = re.compile(rb"\x01\x55\x00([\x00-\x7f])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request, understood. `identity` is the content of an identity CID, which then is `text`."""

    text: str
    cid: Cid | None
    identity: bytes | None
    path: tuple[str, ...]
    slash: bool
    """Whether the path ends in one: a directory is meant."""
    form: Form
    scope: str
    entity: tuple[int, int | None] | None
    """First and last byte of `entity-bytes`, from the end where negative; None for the end."""

    @property
    def variant(self) -> str:
        """What tells this CAR from others of the same content, for its entity tag."""
        return hashlib.sha256(repr((self.text, self.path, self.scope, self.entity)).encode()).hexdigest()[:16]


def read_request(path: str, query: Mapping[str, Any], accept: str | None) -> Wanted:
    """Return what is asked for by what follows `/ipfs/`, decoded, and the parameters and the Accept header.

    Raises UsageError where it is malformed, NotAcceptableError for a form that is not served.
    """
    text, *parts = path.split("/")
    slash = bool(parts) and not parts[-1]
    names = tuple(part for part in parts if part)
    if len(names) > PATH_DEPTH_MAX or any(name in (".", "..") or "\0" in name for name in names):
        raise UsageError("not a path in content")
    identity = _identity(text)
    cid = Cid.parse(text) if identity is None else None
    form, parameters = _form(query.get("format"), accept)
    _check_car(query, parameters)
    entity = query.get("entity_bytes")
    scope = query.get("dag_scope") or ("entity" if entity is not None else "all")
    if scope not in ("block", "entity", "all"):
        raise UsageError("dag-scope is block, entity or all")
    return Wanted(text, cid, identity, names, slash, form, scope, _entity_bytes(entity) if entity else None)


def span_of(entity: tuple[int, int | None], size: int) -> tuple[int, int]:
    """Return offset and length of the bytes that `entity-bytes` names in a file of that size; what is beyond is not."""
    first, last = entity
    start = max(0, first + size) if first < 0 else min(first, size)
    end = size if last is None else last + size + 1 if last < 0 else last + 1
    return start, max(0, min(end, size) - start)


def _form(wanted: str | None, accept: str | None) -> tuple[Form, dict[str, str]]:
    if wanted is not None:
        if wanted == "raw":
            return "raw", {}
        if wanted == "car":
            return "car", _accepted(accept, CAR_TYPE) or {}
        raise NotAcceptableError(f"the format {wanted[:40]!r} is not served", hint="raw and car are, and plain files")
    for name, form in ((CAR_TYPE, "car"), (RAW_TYPE, "raw")):
        parameters = _accepted(accept, name)
        if parameters is not None:
            return form, parameters  # type: ignore[return-value]
    kinds = [part.partition(";")[0].strip().lower() for part in (accept or "").split(",")]
    if kinds and all(kind.startswith(_OTHER) for kind in kinds):
        raise NotAcceptableError("none of the accepted forms is served", hint=f"{RAW_TYPE} and {CAR_TYPE} are")
    return "file", {}


def _accepted(accept: str | None, name: str) -> dict[str, str] | None:
    """Return the parameters of a media type that a client accepts by its name, None where it does not."""
    for part in (accept or "").split(","):
        kind, *parameters = (each.strip() for each in part.split(";"))
        if kind.lower() == name:
            pairs = (each.partition("=") for each in parameters)
            return {key.strip().lower(): value.strip() for key, _, value in pairs}
    return None


def _check_car(query: Mapping[str, Any], accepted: Mapping[str, str]) -> None:
    version = query.get("car_version") or accepted.get("version", "1")
    order = query.get("car_order") or accepted.get("order", "dfs")
    dups = query.get("car_dups") or accepted.get("dups", "n")
    if version != "1":
        raise NotAcceptableError("CARs of version 1 are served")
    if order not in ("dfs", "unk") or dups not in ("y", "n"):
        raise UsageError("the order of a CAR is dfs or unk, its dups are y or n")


def _entity_bytes(text: str) -> tuple[int, int | None]:
    match = _ENTITY_BYTES.fullmatch(text)
    if match is None:
        raise UsageError("entity-bytes is FROM:TO, numbers of bytes, or * as the end")
    first, last = int(match[1]), None if match[2] == "*" else int(match[2])
    same_end = last is not None and (first < 0) == (last < 0)
    if abs(first) > SIZE_MAX or (same_end and last is not None and last < first):
        raise UsageError("entity-bytes ends before it begins")
    return first, last


def _identity(text: str) -> bytes | None:
    """Return the content of an identity CID of raw bytes in base32, None for any other text."""
    if not text.startswith("bafkqa") or len(text) > 2 * IDENTITY_MAX_BYTES:
        return None
    try:
        raw = base64.b32decode(text[1:].upper() + "=" * (-(len(text) - 1) % 8))
    except (binascii.Error, ValueError):
        return None
    match = _IDENTITY.match(raw)
    return raw[4:] if match is not None and len(raw) == 4 + match[1][0] else None
