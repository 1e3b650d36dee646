"""A folder that appears whole or not at all, once, however many processes ask for it."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["build_folder", "locked"]

_log = logging.getLogger(__name__)


def build_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Have `fill` write a folder, and put it in its place only when it is complete.

    A folder that is there already is left as it is. Of several processes one builds and the others wait. What a killed
    process left half done is removed by the next one.

    Args:
        target: where the folder shall be.
        fill: writes everything into the empty folder it is given; when it raises, nothing is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target):
        if target.exists():
            return
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            fill(partial)
            os.rename(partial, target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock that stands for a file or folder, waiting for another process that has it."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.warning("another process is working on %s: waiting for it", target.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
