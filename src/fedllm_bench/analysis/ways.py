"""The commands that fill what is missing in a table."""

import shlex
from collections.abc import Iterable

from fedllm_bench.benchmark_scores import HARNESS

__all__ = ["EVAL", "FINISH", "evaluation"]

EVAL = "fedllm-bench eval"
FINISH = "fedllm-bench run with the experiment file again, then fedllm-bench eval"


def evaluation(folders: Iterable[str], benchmarks: Iterable[str], judged: bool) -> str:
    """The command that evaluates runs.

    Args:
        folders: of the runs, or above them.
        benchmarks: by name.
        judged: whether a judge is needed.
    """
    asked = (
        ("--task", name.removeprefix(HARNESS)) if name.startswith(HARNESS) else ("--suite", name) for name in benchmarks
    )
    judge = ("--judge", "endpoint:MODEL") if judged else ()
    return shlex.join([*EVAL.split(), *folders, *(word for pair in asked for word in pair), *judge])
