"""Bytes that another program downloads without telling, seen by watching the folder it writes to."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedllm_bench.progress import Progress

__all__ = ["watched"]

LOOK = 0.2  # seconds between two looks


@contextmanager
def watched(folder: Path, description: str, total: int | None, progress: Progress) -> Iterator[None]:
    """Show the bytes in a folder as progress while the block runs.

    Args:
        folder: where the bytes arrive.
        description: what is downloaded.
        total: bytes at the end, if known.
        progress: where to show them.
    """
    with progress.task(description, total, "B") as task:
        seen = 0

        def look() -> None:
            nonlocal seen
            arrived = max(seen, min(_bytes_in(folder), total or sys.maxsize))
            task.advance(arrived - seen)
            seen = arrived

        def keep_looking() -> None:
            while not over.wait(LOOK):
                look()

        over = threading.Event()
        watcher = threading.Thread(target=keep_looking, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            look()


def _bytes_in(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):  # unlike Path.rglob, passes over a folder that is gone meanwhile
        for name in names:
            with suppress(FileNotFoundError):  # moved meanwhile
                total += Path(place, name).stat().st_size
    return total
