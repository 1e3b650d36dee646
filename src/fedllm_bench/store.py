"""Files that are whole or not there, and the folder of a run."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fedllm_bench.errors import FedLLMError, RunError

__all__ = ["RunFolder", "replacing", "telling_of_full_disk", "write_json"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; when the block ends well it becomes `path` in one step, else nothing has changed.

    Raises:
        RunError: the disk is full; the file that was there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    scratch.unlink(missing_ok=True)  # a killed process may have had the same id: in a container they often do
    try:
        with telling_of_full_disk(path):
            yield scratch
            with open(scratch, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(scratch, path)
            _sync_folder(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def telling_of_full_disk(path: Path) -> Iterator[None]:
    """Turn the many forms in which writers report a full disk into one error.

    Raises:
        RunError: the disk is full.
    """
    try:
        yield
    except FedLLMError:
        raise
    except Exception as error:
        if _is_disk_full(error):
            raise RunError(
                f"no space left on the disk while writing {path}",
                "free some space and run again: it continues from the last checkpoint",
            ) from error
        raise


def _is_disk_full(error: Exception) -> bool:
    """Some writers (safetensors) hide the system's error code in the text of one of their own."""
    code = getattr(error, "errno", None)
    return code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error) or "os error 28" in str(error)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; a platform that cannot open folders does without."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where the files of one run are."""

    path: Path

    @property
    def experiment(self) -> Path:
        return self.path / "experiment.json"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def rounds(self) -> Path:
        return self.path / "rounds.jsonl"

    @property
    def clients(self) -> Path:
        return self.path / "clients.jsonl"

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluations.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def own(self) -> Path:
        """Clients' own states, one folder a client."""
        return self.path / "own"

    @property
    def adapter(self) -> Path:
        """The final adapter in PEFT's format; its configuration is written last, so it marks a complete run."""
        return self.path / "adapter"

    @property
    def complete(self) -> bool:
        return (self.adapter / "adapter_config.json").exists()

    def claim(self, experiment: dict[str, Any]) -> None:
        """Make the folder this experiment's own, or make sure that it already is.

        Raises:
            RunError: the folder holds a run of another experiment.
        """
        if not self.experiment.exists():
            write_json(self.experiment, experiment)
            return
        try:
            found = json.loads(self.experiment.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{self.experiment} is not JSON ({error})", "remove the run folder and run again") from error
        if found.get("run_id") != experiment["run_id"]:
            raise RunError(
                f"{self.path} holds run {found.get('run_id')}, not {experiment['run_id']}",
                "choose another folder with --runs, or move this one away",
            )

    def abandon_if_not_begun(self) -> None:
        """Remove the folder of a run that was refused before it began; only for the one that holds the lock."""
        if not self.environment.exists():
            shutil.rmtree(self.path)
            with suppress(OSError):
                self.path.parent.rmdir()  # stays unless it is empty

    def sweep(self) -> None:
        """Remove what a killed process left half-written; only for the one that holds the lock."""
        for pattern in (".*.tmp", ".tmp??????"):  # our own, and what safetensors writes before it renames
            for scratch in self.path.rglob(pattern):
                scratch.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from running the same run at the same time.

        Raises:
            RunError: another process holds the run.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(f"another process is running {self.path}", "wait for it to finish") from error
        try:
            yield
        finally:
            lock.release()
