"""Methods against metrics: the benchmarks of runs, whether they are of a paper's table or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedllm_bench.analysis.evaluated import Model, Slot, base_models, models
from fedllm_bench.analysis.frames import copies_note
from fedllm_bench.analysis.methods import Method
from fedllm_bench.analysis.score_words import (
    cell_text,
    judges_note,
    several_runs,
    stability_note,
    statistics_note,
    ways,
)
from fedllm_bench.analysis.scoreboard import Board, board
from fedllm_bench.analysis.tables import Column, column
from fedllm_bench.benchmark_scores import BENCHMARKS, METRICS, metric_of

__all__ = ["Evaluations", "brief", "caption", "columns_of", "evaluations", "flat_rows", "nested_rows"]


@dataclass(frozen=True)
class Evaluations:
    """What benchmarks say about methods.

    Args:
        methods: in order.
        metrics: names of columns: one for each benchmark at least.
        board: the cells by name of the method and of the metric.
        reference: names of the methods that others are compared with.
        ambiguous: `fedavg` or `local` where several methods are that, so that nothing is compared with it.
    """

    methods: tuple[Method, ...]
    metrics: tuple[str, ...]
    board: Board
    reference: Mapping[str, str]
    ambiguous: tuple[str, ...] = ()


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
    alike = {kind: _alike(methods, kind) for kind in ("fedavg", "local")}
    reference = {kind: names[0] for kind, names in alike.items() if len(names) == 1}
    return Evaluations(
        tuple(methods),
        metrics,
        board(
            slots,
            {kind: slots[name] for kind, name in reference.items()},
            [name for name in metrics if not metric_of(name).higher_is_better],
        ),
        reference,
        tuple(kind for kind, names in alike.items() if len(names) > 1),
    )


def brief(found: Evaluations) -> Evaluations:
    """The same without what does not fit a screen: MMLU by group of subjects."""
    return replace(found, metrics=tuple(name for name in found.metrics if not name.startswith("mmlu-")))


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
        runs = several_runs(own[name] for own in found.board.cells.values())
        return column(metric.title, name, lambda cell: cell_text(cell, metric.digits, against, runs), numeric=True)

    return [column("method", "method"), *map(column_of, found.metrics)]


def caption(found: Evaluations, against: str) -> str:
    """What the numbers are, and the commands that fill the gaps."""
    units = "; ".join(f"{metric.title}: {metric.unit}" for metric in map(metric_of, found.metrics))
    titles = {name: metric_of(name).title for name in found.metrics}
    board, hidden = found.board, {name for own in found.board.cells.values() for name in own}.difference(titles)
    cells = [cell for own in board.cells.values() for cell in own.values()]
    runs = [run for method in found.methods if method.base is not None for run in method.runs]
    parts = [
        f"{units}.",
        "MMLU by group of subjects: --format md, tex, csv or json." if hidden else "",
        statistics_note(cells, against, found.reference.get(against, against)),
        f"Several methods are {against}: nothing is compared with it." if against in found.ambiguous else "",
        judges_note(
            board.judges, *([titles[name] for name in own if name in titles] for own in (board.mixed, board.unlike))
        ),
        stability_note({titles[name]: firm for name, firm in board.stability.items() if name in titles}),
        copies_note(runs),
    ]
    lines = [" ".join(part for part in parts if part)]
    gaps = [f"{what}: {command}" for command, what in ways(board.cells).items()]
    return "\n".join([*lines, *(["", *gaps] if gaps else [])])


def _models(method: Method) -> list[Model]:
    return base_models(method.runs) if method.base is None else models(method.runs)


def _alike(methods: Sequence[Method], algorithm: str) -> list[str]:
    """Names of the methods of an algorithm; of the plain ones alone where others have channels or groups."""
    found = [method for method in methods if method.base is not None and method.runs[0].algorithm == algorithm]
    plain = [method for method in found if not method.runs[0].variant]
    return [method.name for method in plain or found]
