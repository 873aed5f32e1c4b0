"""The table of settings as rows: for the loader, the command line's help and docs/SETTINGS.md."""

import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from peerd.config.table import About, Settings
from peerd.config.units import format_size

ENVIRONMENT_PREFIX = "PEERD_"

_UNITS = {"_per_s": "a second", "_s": "seconds", "_ms": "milliseconds", "_bytes": "bytes", "_max": "count"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting; `kind` is the type of a single value, `many` whether several may be given."""

    name: str
    about: About
    kind: Any
    many: bool
    default: object

    @property
    def key(self) -> str:
        """The key in the file."""
        return self.about.key or self.name

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.key.upper()

    @property
    def option(self) -> str | None:
        """The flag without its argument: `--data`, `--no-mdns`."""
        return self.about.flag.split()[0] if self.about.flag else None

    @property
    def metavar(self) -> str | None:
        """The flag's argument as the help shows it; None where it takes none."""
        _, _, metavar = (self.about.flag or "").partition(" ")
        return metavar or None

    @property
    def is_size(self) -> bool:
        """Whether values may be written with a unit, as 20GB."""
        return self.name.endswith(("_bytes", "_bytes_per_s"))

    @property
    def choices(self) -> tuple[str, ...]:
        """The only values there are; empty where the type alone says what is right."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def unit(self) -> str:
        """The unit that the name ends in, or nothing."""
        return next((unit for end, unit in _UNITS.items() if self.name.endswith(end)), "")

    @property
    def bounds(self) -> str:
        """Its bounds in words, or nothing: `1 or more`, `0.1 to 60`."""
        least, most = self.about.least, self.about.most
        if least is None:
            return "" if most is None else f"at most {self._shown(most)}"
        return f"{self._shown(least)} or more" if most is None else f"{self._shown(least)} to {self._shown(most)}"

    def _shown(self, number: float) -> str:
        return format_size(int(number)) if self.is_size else f"{number:.10g}"


@cache
def entries() -> tuple[Entry, ...]:
    """Return every setting, in the order of the table."""
    hints = get_type_hints(Settings, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(Settings):
        kind, about = _split(hints[field.name])
        many = get_origin(kind) is tuple
        if many:
            kind = get_args(kind)[0]
        rows.append(Entry(field.name, about, kind, many, None if field.required else field.default))
    return tuple(rows)


def _split(hint: object) -> tuple[Any, About]:
    """Return the type without `Annotated` and `None`, and what is said about it."""
    assert get_origin(hint) is Annotated, "a setting without About"
    kind, about = get_args(hint)
    assert isinstance(about, About)
    if get_origin(kind) in {Union, types.UnionType}:
        present = [part for part in get_args(kind) if part is not types.NoneType]
        if len(present) == 1:
            kind = present[0]
    return kind, about
