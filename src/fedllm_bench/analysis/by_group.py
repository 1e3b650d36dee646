"""Methods against groups of clients, such as languages: runs that trained within groups are joined to one row."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from fedllm_bench.analysis.methods import Method
from fedllm_bench.analysis.stats import mean_interval
from fedllm_bench.analysis.tables import Column, column
from fedllm_bench.errors import RunError

__all__ = ["by_group", "group_columns"]

AVERAGE = "average"


def by_group(methods: Sequence[Method]) -> list[dict[str, Any]]:
    """One row for each method: held-out loss by group, mean and interval over the group's clients, and their average.

    The average counts every group once, as the paper's Tables 2 and 6 do.

    Raises:
        RunError: no run says which group its clients are in.
    """
    group_of = {client: group for method in methods for run in method.runs for client, group in run.groups.items()}
    if not group_of:
        raise RunError(
            "the runs do not say which groups their clients are in",
            'set data.group_by, such as "language", and run again',
        )
    return [_row(method, group_of) for method in methods]


def group_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """A column for each group that some row has."""
    groups = sorted({name for row in rows for name in row} - {"method", AVERAGE})
    return (
        column("method", "method"),
        *(column(group, group, _mean, numeric=True) for group in groups),
        column(AVERAGE, AVERAGE, "{:.3f}".format, numeric=True),
    )


def _row(method: Method, group_of: Mapping[str, str]) -> dict[str, Any]:
    losses: dict[str, list[float]] = {}
    for client, score in method.scores.items():
        if client in group_of:
            losses.setdefault(group_of[client], []).append(score.loss)
    means = [statistics.fmean(values) for values in losses.values()]
    cells = {group: {**_interval(values), "clients": len(values)} for group, values in sorted(losses.items())}
    return {"method": method.name, **cells, AVERAGE: statistics.fmean(means) if means else None}


def _interval(values: Sequence[float]) -> dict[str, float]:
    found = mean_interval(values)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _mean(cell: Mapping[str, float]) -> str:
    return f"{cell['mean']:.3f}"
