"""Methods against metrics: the benchmarks of runs, whether they are of a paper's table or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedllm_bench.analysis.evaluated import Model, Slot, base_models, models
from fedllm_bench.analysis.methods import Method
from fedllm_bench.analysis.score_words import cell_text, judges_note, stability_note, ways
from fedllm_bench.analysis.scoreboard import Board, board
from fedllm_bench.analysis.tables import Column, column
from fedllm_bench.benchmark_scores import BENCHMARKS, METRICS, metric_of

__all__ = ["Evaluations", "caption", "columns_of", "evaluations", "flat_rows", "nested_rows"]


@dataclass(frozen=True)
class Evaluations:
    """What benchmarks say about methods.

    Args:
        methods: in order.
        metrics: names of columns: one for each benchmark at least.
        board: the cells by name of the method and of the metric.
        reference: names of the methods that others are compared with.
    """

    methods: tuple[Method, ...]
    metrics: tuple[str, ...]
    board: Board
    reference: Mapping[str, str]


def evaluations(methods: Sequence[Method]) -> Evaluations:
    """Scores of methods with statistics.

    Raises:
        RunError: a file of scores is broken; named.
    """
    found = {method.name: _models(method) for method in methods}
    scored = {
        item.metric
        for own in found.values()
        for model in own
        for scores in model.scores.values()
        for item in scores.items
    }
    known = [name for name in METRICS if name in BENCHMARKS or name in scored]
    metrics = (*known, *sorted(scored.difference(METRICS)))
    slots = {name: {metric: Slot.of(own, metric) for metric in metrics} for name, own in found.items()}
    reference = {kind: name for kind in ("fedavg", "local") if (name := _only(methods, kind)) is not None}
    return Evaluations(
        tuple(methods),
        metrics,
        board(
            slots,
            {kind: slots[name] for kind, name in reference.items()},
            [name for name in metrics if not metric_of(name).higher_is_better],
        ),
        reference,
    )


def nested_rows(found: Evaluations) -> list[dict[str, Any]]:
    """For each method its `metrics`: name to mean, interval, counts, and what is missing."""
    return [
        {
            "method": method.name,
            "metrics": {name: cell.row() for name, cell in found.board.cells[method.name].items()},
        }
        for method in found.methods
    ]


def flat_rows(found: Evaluations, flat: bool = False) -> list[dict[str, Any]]:
    """The same with metrics as keys of the row.

    Args:
        found: the scores.
        flat: cells are numbers and texts alone, for CSV.
    """
    return [
        {"method": method.name}
        | {name: cell.flat() if flat else cell.row() for name, cell in found.board.cells[method.name].items()}
        for method in found.methods
    ]


def columns_of(found: Evaluations, against: str) -> list[Column]:
    """The columns of `flat_rows` for people.

    Args:
        found: the scores.
        against: `fedavg` or `local`: cells that cannot be told from it are marked.
    """

    def column_of(name: str) -> Column:
        metric = metric_of(name)
        return column(metric.title, name, lambda cell: cell_text(cell, metric.digits, against), numeric=True)

    return [column("method", "method"), *map(column_of, found.metrics)]


def caption(found: Evaluations, against: str) -> str:
    """What the numbers are, and the commands that fill the gaps."""
    units = "; ".join(f"{metric.title}: {metric.unit}" for metric in map(metric_of, found.metrics))
    named = found.reference.get(against)
    cells = [cell for own in found.board.cells.values() for cell in own.values()]
    known = any(cell.mean is not None for cell in cells)
    alike = any(cell.n and cell.low == cell.high for cell in cells)
    parts = [
        f"{units}.",
        "Brackets: 95% bootstrap interval over items and over runs; n: items scored." if known else "",
        f"~: cannot be told from {named} on the same items (paired, Holm's correction, 5%)." if known and named else "",
        "An interval of no width: all items have one score; more items may differ." if alike else "",
        judges_note(found.board.judges, [metric_of(name).title for name in found.board.mixed]),
        stability_note({metric_of(name).title: firm for name, firm in found.board.stability.items()}),
    ]
    lines = [" ".join(part for part in parts if part)]
    gaps = [f"{what}: {command}" for command, what in ways(found.board.cells).items()]
    return "\n".join([*lines, *(["", *gaps] if gaps else [])])


def _models(method: Method) -> list[Model]:
    return base_models(method.runs) if method.base is None else models(method.runs)


def _only(methods: Sequence[Method], algorithm: str) -> str | None:
    """The name of the one method of an algorithm; None where there is none, or several."""
    names = [method.name for method in methods if method.base is not None and method.runs[0].algorithm == algorithm]
    return names[0] if len(names) == 1 else None
