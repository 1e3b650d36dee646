"""Progress bars on a terminal, redrawn a few times a second; the only part of progress that loads rich."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fedllm_bench.progress import Clock, Task, TaskState

__all__ = ["LiveProgress"]

DESCRIPTION = 24  # columns
BAR = 12
REDRAWS = 4  # a second: more would take time from a training step on few cores


class LiveProgress:
    """A bar for every running step, with its fields on a line below; the outermost step stays on the screen.

    Args:
        stream: a terminal.
        clock: seconds, from any start.
    """

    def __init__(self, stream: TextIO, clock: Clock = time.monotonic) -> None:
        self._console = Console(file=stream)
        self._clock = clock
        self._tasks: list[TaskState] = []
        self._live: Live | None = None

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "", done: int = 0) -> Iterator[Task]:
        """A step with a bar of its own, below those of the steps it runs in."""
        state = TaskState(description, total, unit, done, self._clock)
        self._tasks.append(state)
        try:
            if len(self._tasks) == 1:
                self._start()
            yield state
        finally:
            if len(self._tasks) == 1:
                self._stop()
            self._tasks.remove(state)

    def _start(self) -> None:
        # stdout carries data, perhaps into a pipe: only stderr is routed around the bars.
        self._live = Live(
            console=self._console, get_renderable=self.render, refresh_per_second=REDRAWS, redirect_stdout=False
        )
        self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def render(self) -> Group:
        """What the screen shows now."""
        return Group(*(line for task in list(self._tasks) for line in self._lines(task)))

    def _lines(self, task: TaskState) -> Iterator[Text]:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(_fit(task.description, DESCRIPTION), style="bold")
        fraction = task.fraction()
        if fraction is not None:
            line.append_text(self._bar(fraction))
        line.append("  ".join(part for part in (task.count_text(), task.rate_text(), task.time_text()) if part))
        yield line
        fields = task.field_texts()
        if fields:
            yield Text("  " + "  ".join(fields), style="dim", no_wrap=True, overflow="ellipsis")

    def _bar(self, fraction: float) -> Text:
        full, rest = ("━", "─") if self._console.encoding.startswith("utf") else ("#", "-")
        filled = int(fraction * BAR)
        return Text.assemble((full * filled, "green"), (rest * (BAR - filled), "dim"), "  ")


def _fit(text: str, width: int) -> str:
    """The text in exactly `width` columns, and two blanks."""
    fitted = Text(text)
    fitted.truncate(width, overflow="ellipsis", pad=True)
    return f"{fitted.plain}  "
