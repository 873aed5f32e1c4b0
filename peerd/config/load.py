"""Where settings come from: flags win over environment, environment over file, file over default.

A value is read as text whatever its source, so that all sources take the same forms; the file may use TOML's numbers,
booleans and lists too. Every error says the value, where it came from and how to mend it.
"""

import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from peerd.config.address import (
    ApiAddress,
    HostPort,
    UnixAddress,
    check_unix_path,
    expand,
    parse_api_address,
    parse_host_port,
)
from peerd.config.entries import ENVIRONMENT_PREFIX, Entry, entries
from peerd.config.table import DEFAULT_API_PORT, LATER, NETWORK_NAME_MAX_BYTES, Settings
from peerd.config.units import parse_size
from peerd.errors import UsageError

CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"
LAB_VARIABLE = "PEERD_LAB"
"""Where `peer lab` keeps its peers; no setting of theirs."""
CONFIG_MAX_BYTES = 1 << 20
LIST_MAX = 256

Value = str | bool | Sequence[str]

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


class Loaded(NamedTuple):
    """The settings, a line for everything that was odd but no error, and the file that was read, if any."""

    settings: Settings
    warnings: list[str]
    file: Path | None = None


class _Given(NamedTuple):
    """A setting's value as text and where it stood; `base` is what relative paths are relative to."""

    texts: list[str]
    origin: str
    base: Path


def load(flags: Mapping[str, Value | None] | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Return the settings from `flags` (by the field's name, and `config`), `environ` and the configuration file.

    A flag of None, an empty sequence or an empty variable was not given. Reads the file and nothing else.
    Raises UsageError on anything wrong except an unknown `PEERD_*` variable, which is a warning.
    """
    said = {name: value for name, value in (flags or {}).items() if value is not None and value != ()}
    environ = os.environ if environ is None else environ
    _refuse_later(said, environ)
    given = _from_file(said, environ)
    given |= _from_environment(environ)
    given |= _from_flags(said)
    values = {entry.name: _parse(entry, given[entry.name]) for entry in entries() if entry.name in given}
    data = values.get("data") or _default_data(environ)
    assert isinstance(data, Path)
    values["data"] = data
    if "api" not in values:
        values["api"] = _default_api(environ, data)
    settings = Settings(**values)  # type: ignore[arg-type]
    _check_whole(settings, given)
    path, _ = _config_path(said, environ)
    return Loaded(settings, _unknown_variables(environ), path if path is not None and path.is_file() else None)


def _refuse_later(flags: Mapping[str, object], environ: Mapping[str, str]) -> None:
    for key in LATER:
        variable = ENVIRONMENT_PREFIX + key.upper()
        if key in flags or environ.get(variable):
            origin = f"--{key}" if key in flags else variable
            raise UsageError(f"{origin}: not in this version", hint="start peerd without it; peers need nothing more")


# The three sources
def _from_file(flags: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, _Given]:
    path, asked_for = _config_path(flags, environ)
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            raw = file.read(CONFIG_MAX_BYTES + 1)
        if len(raw) > CONFIG_MAX_BYTES:
            raise UsageError(f"{path}: longer than {CONFIG_MAX_BYTES} bytes", hint="name peerd's own settings file")
        table = tomllib.loads(raw.decode())
    except FileNotFoundError:
        if asked_for:
            raise UsageError(f"no settings file {path}", hint="give another with --config FILE") from None
        return {}
    except OSError as error:
        raise UsageError(f"cannot read the settings file {path}: {error.strerror}", hint=None) from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}", hint="the file is TOML: one `key = value` a line") from None
    by_key = {entry.key: entry for entry in entries()}
    given = {}
    for key, value in table.items():
        if key in LATER:
            raise UsageError(f"{path}: {key}: not in this version", hint="take the line out")
        if key not in by_key:
            raise UsageError(f"{path}: unknown setting {key[:80]!r}", hint=_nearest(key, by_key, cutoff=0.0))
        origin = f"{path}: {key}"
        given[by_key[key].name] = _Given(_texts(by_key[key], value, origin), origin, path.parent.absolute())
    return given


def _config_path(flags: Mapping[str, object], environ: Mapping[str, str]) -> tuple[Path | None, bool]:
    """Return the file to read, if any, and whether it was asked for and so must be there."""
    asked_for = flags.get("config") or environ.get(CONFIG_VARIABLE)
    if asked_for:
        return expand(str(asked_for)), True
    directory = _xdg(environ, "XDG_CONFIG_HOME", ".config")
    return None if directory is None else directory / "peerd" / "config.toml", False


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    given = {}
    for entry in entries():
        text = environ.get(entry.variable, "").strip()
        if text:
            given[entry.name] = _Given(_split(text) if entry.many else [text], entry.variable, Path.cwd())
    return given


def _from_flags(flags: Mapping[str, Value]) -> dict[str, _Given]:
    given = {}
    by_name = {entry.name: entry for entry in entries()}
    for name, value in flags.items():
        if name != "config":
            entry = by_name[name]
            origin = entry.option or entry.variable
            given[name] = _Given(_texts(entry, value, origin), origin, Path.cwd())
    return given


def _texts(entry: Entry, value: object, origin: str) -> list[str]:
    """Return a value of the file or of a flag as the texts that the environment would hold."""
    parts = list(value) if isinstance(value, list | tuple) and entry.many else [value]
    texts = []
    for part in parts:
        if isinstance(part, bool):
            texts.append("1" if part else "0")
        elif isinstance(part, int | float | str):
            texts.append(str(part))
        else:
            hint = "a list of texts" if entry.many else "a single value"
            raise UsageError(f"{origin}: not a value of this setting", hint=f"write {hint}")
    return texts


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


# Reading one value
def _parse(entry: Entry, given: _Given) -> object:
    if len(given.texts) > LIST_MAX:
        raise UsageError(f"{given.origin}: more than {LIST_MAX} values", hint="fewer will do: peers tell of each other")
    try:
        values = [_parse_one(entry, text, given.base) for text in given.texts]
    except UsageError as error:
        raise UsageError(f"{given.origin}: {error.message}", hint=error.hint) from None
    return tuple(dict.fromkeys(values)) if entry.many else values[0]


def _parse_one(entry: Entry, text: str, base: Path) -> object:  # noqa: PLR0911  one line a type
    if entry.choices:
        return _choice(entry, text)
    if entry.kind is HostPort:
        return _host_port(entry, text)
    if entry.kind == ApiAddress:
        return _api_address(text, base)
    if entry.kind is Path:
        return _path(text, base)
    if entry.kind is bool:
        return _boolean(text)
    if entry.kind is float or entry.kind is int:
        return _number(entry, text)
    return _text(text)


def _choice(entry: Entry, text: str) -> str:
    if text.lower() not in entry.choices:
        raise UsageError(f"not one of its values: {text[:80]!r}", hint="one of " + ", ".join(entry.choices))
    return text.lower()


def _host_port(entry: Entry, text: str) -> HostPort:
    address = parse_host_port(text)
    if entry.many and address.port == 0:
        raise UsageError(f"not the port of a peer: {text[:80]!r}", hint="the port that the other peer listens on")
    return address


def _api_address(text: str, base: Path) -> ApiAddress:
    address = parse_api_address(text)
    if isinstance(address, UnixAddress):
        address = UnixAddress(base / address.path)
        check_unix_path(address.path)
    return address


def _path(text: str, base: Path) -> Path:
    if not text or "\0" in text:
        raise UsageError(f"not a path: {text[:80]!r}", hint="name a file or directory")
    return base / expand(text)


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise UsageError(f"neither yes nor no: {text[:80]!r}", hint="1 or 0")
    return text.lower() in _TRUE


def _number(entry: Entry, text: str) -> int | float:
    number: int | float
    if entry.is_size:
        number = parse_size(text)
    else:
        try:
            number = int(text) if entry.kind is int else float(text)
        except ValueError:
            unit = {"seconds": "a number of seconds"}.get(entry.unit, "a whole number")
            raise UsageError(f"not a number: {text[:80]!r}", hint=f"{unit}, as {entry.default}") from None
    least, most = entry.about.least, entry.about.most
    if not math.isfinite(number) or (least is not None and number < least) or (most is not None and number > most):
        raise UsageError(f"out of bounds: {text[:80]!r}", hint=entry.bounds or "a finite number")
    return number


def _text(text: str) -> str:
    if not text or not text.isprintable() or len(text.encode(errors="surrogateescape")) > NETWORK_NAME_MAX_BYTES:
        hint = f"1 to {NETWORK_NAME_MAX_BYTES} bytes of text without control characters"
        raise UsageError(f"not a name: {text[:80]!r}", hint=hint)
    return text


# Defaults that depend on the host, and what only shows in the whole
def _default_data(environ: Mapping[str, str]) -> Path:
    directory = _xdg(environ, "XDG_DATA_HOME", ".local/share")
    if directory is None:
        raise UsageError("this user has no home directory to keep data in", hint="give one with --data DIR")
    return directory / "peerd"


def _default_api(environ: Mapping[str, str], data: Path) -> tuple[ApiAddress, ...]:
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    socket = Path(runtime) / "peerd" / "api.sock" if Path(runtime).is_absolute() else data / "api.sock"
    check_unix_path(socket)
    return UnixAddress(socket), HostPort("127.0.0.1", DEFAULT_API_PORT)


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> Path | None:
    """Return the directory of an XDG variable, None where it and the home directory are unknown.

    A path that is not absolute is to be ignored (XDG base directories).
    """
    directory, home = Path(environ.get(variable, "")), Path(environ.get("HOME", ""))
    if directory.is_absolute():
        return directory
    return home / fallback if home.is_absolute() else None


def _check_whole(settings: Settings, given: Mapping[str, _Given]) -> None:
    ports = [address.port for address in settings.api if isinstance(address, HostPort)]
    if settings.listen.port and settings.listen.port in ports:
        origin = given["api" if "api" in given else "listen"].origin
        hint = "give --api another port: the overlay needs its number for UDP and TCP"
        raise UsageError(f"{origin}: port {settings.listen.port} is the overlay's and the API's", hint=hint)
    if settings.suspect_timeout_s < settings.probe_interval_s:
        origin = given["suspect_timeout_s" if "suspect_timeout_s" in given else "probe_interval_s"].origin
        hint = "make suspect_timeout_s at least probe_interval_s: a suspect must have a chance to answer"
        raise UsageError(f"{origin}: members would be dead before they are probed again", hint=hint)


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = {entry.variable for entry in entries()} | {CONFIG_VARIABLE, LAB_VARIABLE}
    known |= {ENVIRONMENT_PREFIX + key.upper() for key in LATER}
    unknown = sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX) and name not in known)
    return [f"unknown variable {name[:80]}: {_nearest(name, known)}" for name in unknown[:LIST_MAX]]


def _nearest(name: str, known: Iterable[str], *, cutoff: float = 0.5) -> str:
    import difflib  # noqa: PLC0415  for those who mistype alone

    # Without the prefix, which would make every variable look like every other.
    bare = {other.removeprefix(ENVIRONMENT_PREFIX): other for other in known}
    near = difflib.get_close_matches(name.removeprefix(ENVIRONMENT_PREFIX), bare, n=1, cutoff=cutoff)
    return f"the nearest known one is {bare[near[0]]}" if near else "docs/SETTINGS.md lists them all"
