"""The finished runs that a user names."""

from collections.abc import Callable, Sequence
from pathlib import Path

from fedllm_bench.analysis.frames import Run, read_runs
from fedllm_bench.errors import RunError
from fedllm_bench.store import RunFolder

__all__ = ["finished_runs"]

DEEPEST = 2  # folders between a run and a file of it


def finished_runs(paths: Sequence[Path], tell: Callable[[str], object] = lambda line: None) -> list[Run]:
    """The finished runs in run folders, or in the folders above them.

    Args:
        paths: of folders.
        tell: told what is left out, a line each.

    Raises:
        RunError: a folder holds no run, or is a part of one; or no run is finished.
    """
    for path in paths:
        _refuse_part(path)
    runs = []
    for run in read_runs(paths):
        if run.complete:
            runs.append(run)
        else:
            tell(f"left out, since it is not finished: {run.path}")
    if not runs:
        raise RunError(f"{paths[0]}: no run is finished", "finish one with fedllm-bench run")
    return runs


def _refuse_part(path: Path) -> None:
    """Name the run where a path is a folder or a file in it."""
    whole = path.absolute()
    if RunFolder(whole).experiment.exists() or not whole.exists():
        return
    for above in list(whole.parents)[:DEEPEST]:
        if RunFolder(above).experiment.exists():
            raise RunError(f"{path} is a part of a run", f"the run is {above}")
