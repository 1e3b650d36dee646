"""A filled table of the paper as rows, columns, a caption, and the commands that fill its gaps."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from fedllm_bench.analysis.frames import copies_note
from fedllm_bench.analysis.paper_filled import Filled, Row
from fedllm_bench.analysis.paper_rows import BASE
from fedllm_bench.analysis.paper_tables import Heading
from fedllm_bench.analysis.score_words import (
    cell_text,
    judges_note,
    several_runs,
    stability_note,
    statistics_note,
    ways,
)
from fedllm_bench.analysis.scoreboard import NO_RUN
from fedllm_bench.analysis.tables import Column, column
from fedllm_bench.benchmark_scores import METRICS

__all__ = ["caption", "columns_of", "commands", "document", "rows_of"]


def rows_of(filled: Filled, with_paper: bool, flat: bool = False) -> list[dict[str, Any]]:
    """A row for each method; laid across, one row with a column for each method.

    Args:
        filled: the table.
        with_paper: cells carry what the paper prints, under `paper`.
        flat: cells are numbers and texts alone, for CSV.
    """
    rows: list[dict[str, Any]] = [
        {"method": row.title}
        | {heading.key: _cell(filled, row, heading.key, with_paper, flat) for heading in filled.table.headings}
        for row in filled.rows
    ]
    if not filled.table.across:
        return rows
    return [
        {"metric": heading.key} | {row["method"]: row[heading.key] for row in rows} for heading in filled.table.headings
    ]


def columns_of(filled: Filled, against: str) -> list[Column]:
    """The columns of `rows_of` for people.

    Args:
        filled: the table.
        against: `fedavg` or `local`: cells that cannot be told from it are marked.
    """
    headings, cells = filled.table.headings, filled.board.cells.values()
    if filled.table.across:
        words = _words(headings[0], against, several_runs(cell for own in cells for cell in own.values()))
        return [column("metric", "metric"), *(column(row.title, row.title, words, numeric=True) for row in filled.rows)]
    return [
        column("method", "method"),
        *(
            column(
                heading.title,
                heading.key,
                _words(heading, against, several_runs(own[heading.key] for own in cells)),
                numeric=True,
            )
            for heading in headings
        ),
    ]


def caption(filled: Filled, with_paper: bool, against: str) -> str:
    """What the numbers are, who judged, how firm the order is, and what would fill the gaps."""
    table = filled.table
    parts = [
        f"Table {table.number}: {table.about}.",
        f"{'; '.join(_units(filled))}.",
        _whose(filled),
        table.note,
        statistics_note(
            [cell for own in filled.board.cells.values() for cell in own.values()], against, _NAMES[against]
        ),
        _ambiguous(filled, against),
        judges_note(
            filled.board.judges,
            *([_title(filled, key) for key in own] for own in (filled.board.mixed, filled.board.unlike)),
        ),
        stability_note({_title(filled, key): found for key, found in filled.board.stability.items()}),
        f"Paper: {filled.printed.source}, Table {table.number}, judged by GPT-4." if with_paper else "",
        _left_out(filled),
        copies_note([*filled.left_out, *dict.fromkeys(model.run for row in filled.rows for model in row.models)]),
    ]
    lines = [" ".join(part for part in parts if part)]
    gaps = commands(filled)
    if gaps:
        lines += ["", *(f"{what}: {command}" for command, what in gaps.items())]
    return "\n".join(lines)


def commands(filled: Filled) -> dict[str, str]:
    """Command, or words on a way, to what it fills."""
    cells = filled.board.cells
    untrained: dict[str, list[str]] = {}
    for row in (row for row in filled.rows if row.printed_as in (BASE, *filled.printed.rows)):
        if any(cell.missing == NO_RUN for cell in cells[row.title].values()):
            for file in filled.table.trained_by(row.printed_as):
                untrained.setdefault(f"fedllm-bench run experiments/paper/{file}.toml", []).append(row.title)
    return {command: ", ".join(titles) for command, titles in untrained.items()} | ways(cells)


def document(filled: Filled, with_paper: bool) -> dict[str, Any]:
    """The whole table for machines."""
    return {
        "table": filled.table.number,
        "rows": rows_of(filled, with_paper),
        "stability": {column: asdict(found) for column, found in filled.board.stability.items()},
        "judges": list(filled.board.judges),
        "fill": [{"command": command, "what": what} for command, what in commands(filled).items()],
        "left_out": [str(run.path) for run in filled.left_out],
        "source": filled.printed.source,
    }


_NAMES = {"fedavg": "FedAvg", "local": "local training"}


def _cell(filled: Filled, row: Row, key: str, with_paper: bool, flat: bool) -> dict[str, Any]:
    cell = filled.board.cells[row.title][key]
    content = cell.flat() if flat else cell.row()
    return {**content, "paper": filled.printed.value(row.printed_as, key)} if with_paper else content


def _words(heading: Heading, against: str, runs: bool) -> Callable[[Mapping[str, Any]], str]:
    return lambda cell: cell_text(cell, METRICS[heading.parts[0].metric].digits, against, runs)


def _title(filled: Filled, key: str) -> str:
    return next(heading.title.replace("\n", " ") for heading in filled.table.headings if heading.key == key)


def _units(filled: Filled) -> dict[str, None]:
    """What each number is, once for columns that differ in language or kind of chat alone."""
    single = [(heading, *heading.parts) for heading in filled.table.headings if len(heading.parts) == 1]
    titles = [(METRICS[part.metric].title if part.language else heading.title, part.metric) for heading, part in single]
    return dict.fromkeys(f"{title.splitlines()[-1]}: {METRICS[metric].unit}" for title, metric in titles)


def _whose(filled: Filled) -> str:
    """Which models and data the numbers are of: seldom the paper's."""
    runs = [model.run.experiment for row in filled.rows for model in row.models]
    bases, data = ({run[table][key] for run in runs} for table, key in (("model", "base"), ("data", "name")))
    return f"Runs here: {', '.join(sorted(bases))} on {', '.join(sorted(data))}." if runs else ""


def _ambiguous(filled: Filled, against: str) -> str:
    titles = filled.ambiguous[against]
    return (
        f"Several rows are {', '.join(titles)}: nothing is compared with {'it' if len(titles) == 1 else 'them'}."
        if titles
        else ""
    )


def _left_out(filled: Filled) -> str:
    if not filled.left_out:
        return ""
    names = sorted({run.algorithm for run in filled.left_out})
    return f"{len(filled.left_out)} runs have no place in this table: {', '.join(names)}."
