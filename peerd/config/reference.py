"""docs/SETTINGS.md, printed from the table of settings."""

from peerd.config.address import HostPort
from peerd.config.entries import Entry, entries
from peerd.config.units import format_size

_HEAD = """\
# Settings

Printed by `python -m peerd.config` from the table in `peerd/config/table.py`; a test holds the two together.

A flag wins over the environment, the environment over the file, the file over the default. The file is TOML, one
`key = value` a line, in `$XDG_CONFIG_HOME/peerd/config.toml` or where `--config FILE` or `PEERD_CONFIG` says; relative
paths in it are relative to its directory. What may be given several times is a list in the file, a repeated flag, and
separated by commas in the environment. Sizes take a unit: `20GB` is 20 × 10^9 bytes, `512MiB` is 512 × 2^20. A
variable that is set but empty counts as not set. An unknown `PEERD_*` variable is a warning, an unknown key of the
file an error.

| key | environment | flag | default | unit | bounds | meaning |
|---|---|---|---|---|---|---|
"""


def reference() -> str:
    """Return the text of docs/SETTINGS.md."""
    return _HEAD + "".join(f"| {' | '.join(_row(entry))} |\n" for entry in entries())


def _row(entry: Entry) -> list[str]:
    flag = f"`{entry.about.flag}`" if entry.about.flag else ""
    return [
        f"`{entry.key}`",
        f"`{entry.variable}`",
        flag + (", repeatable" if flag and entry.many else ""),
        _default(entry),
        entry.unit,
        entry.bounds,
        entry.about.meaning + (f": {', '.join(entry.choices)}" if entry.choices else ""),
    ]


def _default(entry: Entry) -> str:
    words = entry.about.default
    if words is None:
        match entry.default:
            case bool():
                words = "on" if entry.default else "off"
            case int() if entry.is_size:
                words = format_size(entry.default)
            case int() | float():
                words = f"{entry.default:.10g}"
            case HostPort():
                words = f"`{entry.default.text}`"
            case ():
                words = "none"
            case _:
                words = f"`{entry.default}`"
    return words
