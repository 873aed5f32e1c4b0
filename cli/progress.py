"""How far a long transfer is: a bar with rate and time left, on a terminal, once it has taken half a second.

Not here: words about results. The bar is drawn by `rich`, which is imported only when there is something to draw.
"""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

import time

from . import output
from .text import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from .parse import Invocation

SHOW_AFTER_S = 0.5
DRAW_EVERY_S = 0.1


class Progress:
    """Counts bytes; as a context manager it takes the bar away at the end, whatever the end is."""

    def __init__(self, label: str, *, shown: bool) -> None:
        self._label = label
        self._shown = shown
        self._total: int | None = None
        self.done = 0
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._draw_at = 0.0

    def expect(self, total: int | None) -> None:
        """Say how many bytes there will be, where that is known."""
        self._total = total

    def add(self, count: int) -> None:
        """Count bytes that were moved."""
        self.done += count
        if not self._shown:
            return
        now = time.monotonic()
        if now < self._draw_at:
            return
        self._draw_at = now + DRAW_EVERY_S
        if self._bar is None:
            self._bar, self._task = self._start()
        if self._task is not None:
            self._bar.update(self._task, completed=self.done, refresh=True)

    def __enter__(self) -> Progress:
        self._draw_at = time.monotonic() + SHOW_AFTER_S
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _start(self) -> tuple[Bar, TaskID]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class SpeedColumn(ProgressColumn):
            """Bytes a second, in the units of the rest of the line (rich's own column has powers of 1,000)."""

            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                return Text(f"{size(speed)}/s" if speed is not None else "?")

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            SpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        bar.start()
        return bar, bar.add_task(self._label, total=self._total)


def for_invocation(invocation: Invocation, label: str) -> Progress:
    """Return the progress of a command: shown on a terminal unless --quiet or --no-progress says otherwise."""
    wanted = not invocation.switched_off("progress") and (not invocation.flag("quiet") or invocation.flag("progress"))
    return Progress(label, shown=wanted and output.is_terminal(output.STDERR))
