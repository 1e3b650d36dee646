"""A run that stops as if its process had ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fedllm_bench.progress import Field, Task

__all__ = ["StopAfter", "Stopped"]


class Stopped(Exception):
    """Raised in place of whatever ends a process."""


@dataclass
class StopAfter:
    """A progress display that ends the run once so many units are done.

    Args:
        unit: what counts: "rounds", each told when its checkpoint is written, or "clients".
        left: how many are done before the end.
    """

    unit: str
    left: int

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "", done: int = 0) -> Iterator[Task]:
        yield _Counted(self, unit)

    def count(self, unit: str, n: int) -> None:
        self.left -= n * (unit == self.unit)
        if self.left <= 0:
            raise Stopped


@dataclass(frozen=True)
class _Counted:
    display: StopAfter
    unit: str

    def advance(self, n: int = 1, **fields: Field) -> None:
        self.display.count(self.unit, n)
