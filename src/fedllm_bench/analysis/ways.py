"""The commands that fill what is missing in a table, asked as the scores beside it were."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedllm_bench.analysis.beside import Beside
from fedllm_bench.benchmark_scores import HARNESS

__all__ = ["EVAL", "FINISH", "evaluation", "evaluations"]

EVAL = "fedllm-bench eval"
FINISH = "fedllm-bench run with the experiment file again, then fedllm-bench eval"


@dataclass(frozen=True, slots=True)
class _Need:
    """A benchmark to be asked, with the options that it shares with others of the same call.

    Args:
        benchmark: its name.
        shared: options of the call.
        judge: options of its judge; none where nobody judges.
    """

    benchmark: str
    shared: tuple[str, ...]
    judge: tuple[str, ...]

    def fits(self, other: "_Need") -> bool:
        """Whether one call can ask both."""
        return self.shared == other.shared and (not self.judge or self.judge == other.judge)


def evaluation(folders: Iterable[str], benchmark: str, judged: bool, beside: Beside) -> str:
    """The command that evaluates runs on one benchmark.

    Args:
        folders: of the runs, or above them.
        benchmark: by name.
        judged: whether a judge is needed.
        beside: the scores that the new ones stand beside.
    """
    return evaluations(folders, {benchmark: judged}, beside)[0]


def evaluations(folders: Iterable[str], benchmarks: Mapping[str, bool], beside: Beside) -> list[str]:
    """The commands that evaluate runs, as few as their settings allow.

    Args:
        folders: of the runs, or above them.
        benchmarks: by name, and whether a judge is needed.
        beside: the scores that the new ones stand beside.
    """
    needs = [
        _Need(name, beside.shared(name), beside.judge(name) if judged else ()) for name, judged in benchmarks.items()
    ]
    calls: list[list[_Need]] = []
    for need in sorted(needs, key=lambda need: not need.judge):
        call = next((call for call in calls if need.fits(call[0])), None)
        if call is None:
            calls.append([need])
        else:
            call.append(need)
    where = list(folders)
    return [_command(where, call, beside) for call in calls]


def _command(folders: Iterable[str], call: list[_Need], beside: Beside) -> str:
    names = [need.benchmark for need in call]
    own = (word for name in names for word in beside.own(name))
    asked = (word for name in names for word in _asked(name))
    return shlex.join([*EVAL.split(), *folders, *asked, *_limits(names, beside), *call[0].shared, *own, *call[0].judge])


def _asked(benchmark: str) -> tuple[str, str]:
    if benchmark.startswith(HARNESS):
        return "--task", benchmark.removeprefix(HARNESS)
    return "--suite", benchmark


def _limits(benchmarks: list[str], beside: Beside) -> list[str]:
    """One for all where they have the same, else one for each that has any."""
    found = {name: beside.limit(name) for name in benchmarks}
    numbers = set(found.values())
    if len(numbers) == 1:
        return [word for number in numbers if number is not None for word in ("--limit", str(number))]
    return [word for name, number in found.items() if number is not None for word in ("--limit", f"{name}={number}")]
