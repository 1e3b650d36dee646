"""What `eval` is told, read before anything that takes seconds to import."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedllm_bench.benchmark_scores import BENCHMARKS, METRICS, harness_benchmark

if TYPE_CHECKING:
    from fedllm_bench.evaluate.judging.budget import Budget
    from fedllm_bench.evaluate.judging.rubric import Rubric

__all__ = ["ENGINES", "FROM_ZERO", "budget_of", "limits_of", "rubrics_of", "suites_of"]

ENGINES = ("own", "vllm")  # the rows of `suite.WRITERS`
JUDGED = dict.fromkeys(metric.benchmark for metric in METRICS.values() if metric.judged)


class _Number(click.FloatRange):
    """A number that is neither below its least nor without end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


FROM_ZERO = _Number(min=0)


def suites_of(texts: Sequence[str], tasks: Sequence[str]) -> tuple[str, ...]:
    """The benchmarks that `--suite` names, capitals or not; all where neither it nor `--task` names any."""
    from fedllm_bench.options import named

    found = [text.casefold() for text in texts] or ([] if tasks else ["all"])
    for suite in found:
        named("--suite", suite, dict.fromkeys(("all", *BENCHMARKS)))
    return tuple(name for name in BENCHMARKS if "all" in found or name in found)


def limits_of(texts: Sequence[str], tasks: Sequence[str]) -> dict[str, int]:
    """Most questions by benchmark; the key "" is for all others.

    Args:
        texts: `N`, or `NAME=N` with a benchmark or one of the tasks.
        tasks: of lm-evaluation-harness, as `--task` names them.
    """
    from fedllm_bench.options import named

    known = {name: [name] for name in (*BENCHMARKS, *map(harness_benchmark, tasks))}
    for task in tasks:  # one of them may have a benchmark's name
        known.setdefault(task, []).append(harness_benchmark(task))
    found: dict[str, int] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if not number.isdecimal() or int(number) == 0:
            raise click.BadParameter(f"{text!r} is not [NAME=]N with a number above 0", param_hint="--limit")
        name = name.casefold() if name.casefold() in BENCHMARKS else name
        meant = named("--limit", name, known) if name else [""]
        found.update(dict.fromkeys(meant, int(number)))
    return found


def rubrics_of(texts: Sequence[str], tell: Callable[[str], object]) -> Mapping[str, "Rubric"]:
    """The user's rubrics by benchmark.

    Args:
        texts: each `NAME=FILE.toml`.
        tell: told what their author should know, a line for each rubric.
    """
    from fedllm_bench.evaluate.judging.rubric import read_rubric
    from fedllm_bench.options import named

    found = {}
    for text in texts:
        name, separator, file = text.partition("=")
        if not separator:
            raise click.BadParameter(f"{text!r} is not NAME=FILE.toml", param_hint="--rubric")
        named("--rubric", name, JUDGED)
        found[name] = read_rubric(Path(file))
        if doubts := found[name].doubts(name):
            tell(f"{file}: {'; '.join(doubts)}")
    return found


def budget_of(requests: int | None, money: float | None, price_in: float | None, price_out: float | None) -> "Budget":
    """What the judge may take; both prices or none, and none is not enough for a sum of money."""
    from fedllm_bench.evaluate.judging.budget import Budget

    if (price_in is None) != (price_out is None) or (money is not None and price_in is None):
        what = "a price" if money is None else "--budget"
        raise click.UsageError(f"{what} needs both --price-in and --price-out (0 for what is free)")
    return Budget(requests, money, price_in or 0.0, price_out or 0.0)
