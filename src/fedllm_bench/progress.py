"""Live progress of long steps on stderr: bars on a terminal, now and then a plain line elsewhere, or nothing."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

__all__ = ["SILENT", "Field", "LineProgress", "Progress", "SilentProgress", "Task", "TaskState", "progress_on"]

Field = str | int | float
Clock = Callable[[], float]


class Task(Protocol):
    """One running step."""

    def advance(self, n: int = 1, **fields: Field) -> None:
        """Count `n` more units as done; `fields` are shown beside the count (an underscore reads as a blank)."""
        ...


class Progress(Protocol):
    """Where long steps say how far they are; tasks may run inside tasks."""

    def task(
        self, description: str, total: int | None = None, unit: str = "", done: int = 0
    ) -> AbstractContextManager[Task]:
        """A step, shown until the block is left.

        Args:
            description: what is being done, in a few words.
            total: how many units there are; None when nobody knows.
            unit: what is counted, in the plural; "B" counts bytes.
            done: units an earlier process has done already.
        """
        ...


class SilentProgress:
    """Shows nothing."""

    def advance(self, n: int = 1, **fields: Field) -> None:
        """Do nothing."""

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "", done: int = 0) -> Iterator[Task]:
        """A step that nobody watches."""
        yield self


SILENT: Progress = SilentProgress()


class TaskState:
    """How far one step is, and the words for it; a display reads it whenever it draws.

    Args:
        description: what is being done.
        total: how many units there are, if known.
        unit: what is counted; "B" counts bytes.
        done: units done before the clock started; they do not count for the rate.
        clock: seconds, from any start.
    """

    def __init__(self, description: str, total: int | None, unit: str, done: int, clock: Clock) -> None:
        self.description = description
        self.total = total
        self.unit = unit
        self.done = done
        self._fields: dict[str, Field] = {}
        self._first = done
        self._clock = clock
        self._started = clock()

    def advance(self, n: int = 1, **fields: Field) -> None:
        """Count `n` more units as done and keep the latest value of every field."""
        self.done += n
        self._fields.update(fields)

    def fraction(self) -> float | None:
        """The part that is done, from 0 to 1; None without a total."""
        return min(1.0, self.done / self.total) if self.total else None

    def elapsed(self) -> float:
        """Seconds since the step began."""
        return self._clock() - self._started

    def rate(self) -> float:
        """Units a second since the step began."""
        elapsed = self.elapsed()
        return (self.done - self._first) / elapsed if elapsed > 0 else 0.0

    def count_text(self) -> str:
        """Such as `12/20 rounds` or `4.1/8.1 MB`."""
        if self.unit == "B":
            return _bytes_text(self.done, self.total)
        count = f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"
        return f"{count} {self.unit}".rstrip()

    def rate_text(self) -> str:
        """Such as `3.1 MB/s`; steps slower than one a second read as seconds for each."""
        rate = self.rate()
        if rate == 0:
            return ""
        if self.unit == "B":
            return f"{_bytes_text(round(rate))}/s"
        return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:,.1f} s each"

    def time_text(self) -> str:
        """Time left where it can be told, time spent otherwise."""
        rate = self.rate()
        if self.total is None or rate == 0 or self.done >= self.total:
            return _duration_text(self.elapsed())
        return f"{_duration_text((self.total - self.done) / rate)} left"

    def field_texts(self) -> list[str]:
        """Such as `loss 3.631`, one for every field."""
        return [f"{name.replace('_', ' ')} {_field_text(value)}" for name, value in self._fields.items()]


class LineProgress:
    """One plain line about every `every` seconds and one at the end, for logs and pipes.

    A step inside another one that is over before its first line says nothing.

    Args:
        stream: where the lines go.
        every: seconds between two lines of one step.
        clock: seconds, from any start.
    """

    def __init__(self, stream: TextIO, every: float = 10.0, clock: Clock = time.monotonic) -> None:
        self._stream = stream
        self._every = every
        self._clock = clock
        self._depth = 0

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "", done: int = 0) -> Iterator[Task]:
        """A step whose lines start with its description."""
        task = _LineTask(TaskState(description, total, unit, done, self._clock), self._stream, self._every, self._clock)
        self._depth += 1
        try:
            yield task
        except BaseException:
            task.say("stopped after")
            raise
        else:
            if self._depth == 1 or task.said:
                task.say("done,")
        finally:
            self._depth -= 1


class _LineTask:
    def __init__(self, state: TaskState, stream: TextIO, every: float, clock: Clock) -> None:
        self.said = False
        self._state = state
        self._stream = stream
        self._every = every
        self._clock = clock
        self._next = clock() + every

    def advance(self, n: int = 1, **fields: Field) -> None:
        self._state.advance(n, **fields)
        if self._clock() >= self._next:
            self.say()

    def say(self, how: str = "") -> None:
        state = self._state
        fraction = state.fraction()
        count = state.count_text() if fraction is None else f"{state.count_text()} ({fraction:.0%})"
        parts = [f"{how} {count}".lstrip(), state.rate_text(), state.time_text(), *state.field_texts()]
        print(f"{state.description}: {', '.join(part for part in parts if part)}", file=self._stream, flush=True)
        self.said = True
        self._next = self._clock() + self._every


def progress_on(stream: TextIO | None = None) -> Progress:
    """The display that suits a stream: live bars on a terminal that can draw them, plain lines elsewhere.

    Args:
        stream: where to show it; stderr by default.
    """
    stream = sys.stderr if stream is None else stream
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return LineProgress(stream)
    from fedllm_bench.live import LiveProgress  # rich takes a tenth of a second to load

    return LiveProgress(stream)


def _bytes_text(done: int, total: int | None = None) -> str:
    largest = max(done, total or 0)
    scale, unit = next(((scale, unit) for scale, unit in _BYTE_UNITS if largest >= scale), (1, "B"))
    digits = 0 if scale == 1 else 1
    of = "" if total is None else f"/{total / scale:.{digits}f}"
    return f"{done / scale:.{digits}f}{of} {unit}"


_BYTE_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def _duration_text(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def _field_text(value: Field) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value
