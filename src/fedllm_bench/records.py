"""Append-only JSON lines: one record a line, whole or not there."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedllm_bench.errors import RunError

__all__ = ["Record", "append", "keep", "read"]

Record = Mapping[str, Any]


def append(path: Path, *records: Record) -> None:
    """Add records to a file, each as one line, in a single write."""
    text = "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    with open(path, "ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file; a missing file has none, and a torn last line (a kill while writing) is left out.

    Raises:
        RunError: a line other than the last is not JSON; named with its number.
    """
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise RunError(
                    f"{path}: line {number} is not JSON ({error})", "restore the file or remove the run folder"
                ) from error


def keep(path: Path, wanted: Callable[[Record], bool]) -> None:
    """Rewrite a file with the records that `wanted` accepts, replacing it atomically; used when a run resumes."""
    if not path.exists():
        return
    kept = [record for record in read(path) if wanted(record)]
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    fresh.touch()
    append(fresh, *kept)
    os.replace(fresh, path)
