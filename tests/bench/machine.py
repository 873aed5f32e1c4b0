"""What the numbers were taken on, without the name of the host, its user or any path."""

import os
import platform
import re
from pathlib import Path

_FOLDERS = re.compile(r"(?<![\w/])/(?:[^\s/()]+/)+")


def describe() -> dict[str, object]:
    """Return cores, processor, memory, kernel and interpreter."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_before": _load(),
    }


def line(machine: dict[str, object]) -> str:
    """Return the description in one line."""
    return (
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, {machine['system']},"
        f" {machine['python']}, load {machine['load_before']} before the run"
    )


def without_paths(text: str) -> str:
    """Return `text` with the folders of every absolute path left out."""
    return _FOLDERS.sub("", text)


def _field(path: str, name: str) -> str | None:
    try:
        text = Path(path).read_text()
    except OSError:
        return None
    for text_line in text.splitlines():
        key, _, value = text_line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _memory_gib() -> int | None:
    total = _field("/proc/meminfo", "MemTotal")
    return round(int(total.split()[0]) / 2**20) if total else None


def _load() -> float | None:
    try:
        return float(Path("/proc/loadavg").read_text().split()[0])
    except OSError:
        return None
