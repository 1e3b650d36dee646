"""Methods against metrics: the benchmarks of runs, whether they are of a paper's table or not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedllm_bench.analysis.evaluated import Model, Slot, base_models, models
from fedllm_bench.analysis.frames import copies_note
from fedllm_bench.analysis.gaps import unnumbered, ways
from fedllm_bench.analysis.methods import Method
from fedllm_bench.analysis.references import KINDS, asked_row
from fedllm_bench.analysis.score_cells import brief_text, cell_text, several_runs
from fedllm_bench.analysis.score_words import notes, units_note
from fedllm_bench.analysis.scoreboard import Board, board
from fedllm_bench.analysis.summary import privacy_notes
from fedllm_bench.analysis.tables import Column, column, privacy_text
from fedllm_bench.benchmark_scores import BENCHMARKS, HARNESS, METRICS, metric_of

__all__ = ["Evaluations", "brief", "caption", "columns_of", "evaluations", "flat_rows", "nested_rows"]

GROUPS = "mmlu-"  # how metrics of MMLU by group of subjects begin


@dataclass(frozen=True)
class Evaluations:
    """What benchmarks say about methods.

    Args:
        methods: in order.
        metrics: names of columns: one for each benchmark at least.
        board: the cells by name of the method and of the metric.
        against: what cells that cannot be told from it are marked for: `fedavg`, `local`, or the name of a method.
        alike: `fedavg` and `local` to the methods that are that: nothing is compared with one of several.
    """

    methods: tuple[Method, ...]
    metrics: tuple[str, ...]
    board: Board
    against: str
    alike: Mapping[str, tuple[str, ...]]


def evaluations(methods: Sequence[Method], against: str = "fedavg") -> Evaluations:
    """Scores of methods with statistics.

    Args:
        methods: in order.
        against: `fedavg`, `local`, or the name of a method.

    Raises:
        RunError: a file of scores is broken; named. Or no method is called what they are compared with.
    """
    found = {method.name: _models(method) for method in methods}
    chosen = asked_row(against, list(found))
    metrics = _metrics([model for own in found.values() for model in own])
    slots = {name: {metric: Slot.of(own, metric) for metric in metrics} for name, own in found.items()}
    alike = {kind: _alike(methods, kind) for kind in KINDS}
    single = {kind: names[0] for kind, names in alike.items() if len(names) == 1}
    references = single | ({} if chosen in KINDS else {chosen: chosen})
    return Evaluations(
        tuple(methods),
        metrics,
        board(
            slots,
            {kind: slots[name] for kind, name in references.items()},
            [name for name in metrics if not metric_of(name).higher_is_better],
        ),
        chosen,
        alike,
    )


def brief(found: Evaluations) -> Evaluations:
    """The same without what does not fit a screen: columns without any number, MMLU by group of subjects."""
    metrics = (name for name in found.metrics if not name.startswith(GROUPS) and found.board.has_number(name))
    return replace(found, metrics=tuple(metrics))


def nested_rows(found: Evaluations) -> list[dict[str, Any]]:
    """For each method its `metrics`: name to mean, interval, counts, and what is missing."""
    return [
        {
            "method": method.name,
            **_privacy(method, found),
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
        {"method": method.name, **_privacy(method, found, flat)}
        | {name: cell.flat() if flat else cell.row() for name, cell in found.board.cells[method.name].items()}
        for method in found.methods
    ]


def columns_of(found: Evaluations, form: str = "text") -> list[Column]:
    """The columns of `flat_rows` for people."""

    def column_of(name: str) -> Column:
        metric = metric_of(name)
        runs = several_runs(found.board.of_column(name))

        def words(cell: Mapping[str, Any]) -> str:
            if form == "tex":
                return brief_text(cell, metric.digits, found.against)
            return cell_text(cell, metric.digits, found.against, runs)

        return column(metric.title, name, words, numeric=True)

    epsilon = column("epsilon", "privacy", privacy_text, numeric=True, optional=True)
    return [column("method", "method"), epsilon, *map(column_of, found.metrics)]


def caption(found: Evaluations, form: str = "text") -> str:
    """What the numbers are, and the commands that fill the gaps, on lines."""
    board, against = found.board, found.against
    every = dict.fromkeys(name for own in board.cells.values() for name in own)
    hidden = [name for name in every if name not in found.metrics]
    titles = {name: metric_of(name).title for name in every}
    numbered = {name: titles[name] for name in found.metrics if board.has_number(name)}
    alike = found.alike.get(against, ())
    lines = [
        units_note({title: metric_of(name).unit for name, title in numbered.items()}),
        "MMLU by group of subjects: --format md, tex, csv or json." if _groups_are_hidden(found, hidden) else "",
        *notes(
            board,
            numbered,
            against,
            alike[0] if len(alike) == 1 else against,
            alike if len(alike) > 1 else (),
            form == "tex",
        ),
        *dict.fromkeys(privacy_notes(found.methods)),
        unnumbered({titles[name]: board.of_column(name) for name in hidden if not name.startswith(GROUPS)}),
        copies_note(run for method in found.methods if method.base is not None for run in method.runs),
    ]
    gaps = [f"{what}: {command}" for command, what in ways(board, titles).items()]
    return "\n".join([*filter(None, lines), *(["", *gaps] if gaps else [])])


def _groups_are_hidden(found: Evaluations, hidden: Sequence[str]) -> bool:
    return any(name.startswith(GROUPS) and found.board.has_number(name) for name in hidden)


def _metrics(found: Iterable[Model]) -> tuple[str, ...]:
    """A column for each benchmark, for each other metric that has items, and for each task that could not run."""
    files = [scores for model in found for scores in model.scores.values()]
    scored = {item.metric for scores in files for item in scores.items}
    has_items = {metric_of(name).benchmark for name in scored}
    missing = {scores.benchmark for scores in files if scores.missing and scores.benchmark.startswith(HARNESS)}
    known = (name for name in METRICS if name in BENCHMARKS or name in scored)
    return (*known, *sorted(scored.difference(METRICS) | (missing - has_items)))


def _privacy(method: Method, found: Evaluations, flat: bool = False) -> dict[str, Any]:
    """What privacy its rounds have spent, where that of some method is known; flat, the epsilon alone."""
    if not any(each.privacy for each in found.methods):
        return {}
    return {"epsilon": (method.privacy or {}).get("epsilon")} if flat else {"privacy": method.privacy}


def _models(method: Method) -> list[Model]:
    return base_models(method.runs) if method.base is None else models(method.runs)


def _alike(methods: Sequence[Method], algorithm: str) -> tuple[str, ...]:
    """Names of the methods of an algorithm; of the plain ones alone where others have channels or groups."""
    found = [method for method in methods if method.base is not None and method.runs[0].algorithm == algorithm]
    plain = [method for method in found if not method.runs[0].variant]
    return tuple(method.name for method in plain or found)
