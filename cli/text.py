"""What people read: safe names, sizes, durations, columns.

Not here: writing it anywhere (output).
"""

from __future__ import annotations

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def safe(text: str) -> str:
    """Return `text` with all that a terminal might act on escaped: control and format characters, lone surrogates.

    A name chosen by a stranger must neither move the cursor nor reorder what stands beside it (bidirectional
    overrides). Backslashes are doubled, so that the escapes cannot be forged; other scripts stay as they are.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_safe_char(char) for char in text)


def one_line(text: str) -> str:
    """Return a message with what a terminal might act on escaped; backslashes stay, names in it are escaped already."""
    if text.isprintable():
        return text
    return "".join(char if char == "\\" else _safe_char(char) for char in text)


def json_safe(line: str) -> str:
    """Return a line of JSON that means the same and has nothing that a terminal might act on."""
    # Outside of its strings JSON has nothing but printable ASCII and white space.
    return "".join(char if char.isprintable() else " " if char in "\n\r\t" else _json_char(char) for char in line)


def _json_char(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _safe_char(char: str) -> str:
    short = _SHORT.get(char)
    if short is not None:
        return short
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of an argument or file name that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def size(count: object) -> str:
    """Return a number of bytes as people say it: `12 B`, `1.5 MiB`."""
    if not isinstance(count, int | float):
        return "-"
    if count < 1024:
        return f"{int(count)} B"
    value = float(count)
    unit = 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{value:.1f} {_UNITS[unit]}"


def exact_size(count: object) -> str:
    """Return a number of bytes as people say it, and as it is where that says less: `1.5 MiB (1572864 bytes)`."""
    shown = size(count)
    return shown if shown.endswith(" B") or shown == "-" else f"{shown} ({count} bytes)"


def counted(count: object, word: str) -> str:
    """Return `1 record`, `3 records`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def copies(count: object) -> str:
    """Return `1 copy`, `3 copies`."""
    return "1 copy" if count == 1 else f"{count} copies"


def milliseconds(value: object) -> str:
    """Return a duration given in milliseconds, `-` where there is none."""
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms" if value < 10_000 else seconds(value / 1000)


def seconds(value: object) -> str:
    """Return a duration given in seconds, `-` where there is none: `3.2 s`, `5 min`, `2 h 10 min`, `3 d 4 h`."""
    if not isinstance(value, int | float):
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    minutes = int(value // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes // 60 % 24} h"


def columns(rows: list[list[str]], header: list[str] | None = None) -> str:
    """Return rows as aligned columns, two spaces between, the last one ragged; with a line of titles where given."""
    lines = [header, *rows] if header else rows
    if not lines:
        return ""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]) - 1)]
    out = []
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        out.append("  ".join([*cells, line[-1]]).rstrip(" ") + "\n")
    return "".join(out)
