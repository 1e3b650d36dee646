"""A filled table of the paper as rows, columns and a caption."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from fedllm_bench.analysis.apart import judges_of
from fedllm_bench.analysis.frames import Run, copies_note
from fedllm_bench.analysis.gaps import unnumbered
from fedllm_bench.analysis.methods import group
from fedllm_bench.analysis.paper_filled import Filled, Row
from fedllm_bench.analysis.paper_tables import Heading
from fedllm_bench.analysis.paper_ways import commands
from fedllm_bench.analysis.score_cells import brief_text, cell_text, several_runs
from fedllm_bench.analysis.score_words import notes, units_note
from fedllm_bench.analysis.tables import Column, column
from fedllm_bench.benchmark_scores import METRICS

__all__ = ["caption", "columns_of", "document", "rows_of"]


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


def columns_of(filled: Filled, with_paper: bool = False, form: str = "text") -> list[Column]:
    """The columns of `rows_of` for people; as text those alone that have some number."""

    def words(heading: Heading, runs: bool) -> Callable[[Mapping[str, Any]], str]:
        digits = METRICS[heading.parts[0].metric].digits
        if form == "tex":
            return lambda cell: brief_text(cell, digits, filled.against)
        return lambda cell: cell_text(cell, digits, filled.against, runs)

    if filled.table.across:
        in_words = words(filled.table.headings[0], several_runs(filled.board.all_cells))
        rows = [row for row in filled.rows if form != "text" or _row_has_number(filled, row, with_paper)]
        return [
            column("metric", "metric", titles_of(filled).__getitem__),
            *(column(row.title, row.title, in_words, numeric=True) for row in rows),
        ]
    headings = [each for each in filled.table.headings if form != "text" or _has_number(filled, each, with_paper)]
    return [
        column("method", "method"),
        *(
            column(
                each.title,
                each.key,
                words(each, several_runs(filled.board.of_column(each.key))),
                numeric=True,
            )
            for each in headings
        ),
    ]


def caption(filled: Filled, with_paper: bool, form: str = "text") -> str:
    """What the numbers are, who judged, how firm the order is, and what would fill the gaps, on lines."""
    table, board, against = filled.table, filled.board, filled.against
    titles = titles_of(filled)
    numbered = {each.key: titles[each.key] for each in table.headings if board.has_number(each.key)}
    shown = [each for each in table.headings if _has_number(filled, each, with_paper)]
    lines = [
        f"Table {table.number}: {table.about}.",
        units_note(_units(shown)),
        _whose(filled),
        table.note,
        *notes(
            board, numbered, against, _NAMES.get(against, against), filled.ambiguous.get(against, ()), form == "tex"
        ),
        _paper(filled, form) if with_paper else "",
        _without(filled, with_paper) if form == "text" else "",
        _left_out(filled),
        copies_note(_runs(filled)),
    ]
    gaps = [f"{what}: {command}" for command, what in commands(filled, titles).items()]
    return "\n".join([*filter(None, lines), *(["", *gaps] if gaps else [])])


def document(filled: Filled, with_paper: bool) -> dict[str, Any]:
    """The whole table for machines."""
    titles = titles_of(filled)
    return {
        "table": filled.table.number,
        "rows": rows_of(filled, with_paper),
        "stability": {column: asdict(found) for column, found in filled.board.stability.items()},
        "judges": judges_of(filled.board.slots, titles),
        "fill": [{"command": command, "what": what} for command, what in commands(filled, titles).items()],
        "left_out": [str(run.path) for run in filled.left_out],
        "source": filled.printed.source,
    }


def titles_of(filled: Filled) -> dict[str, str]:
    """Key of a column to its title on one line."""
    return {heading.key: heading.title.replace("\n", " ") for heading in filled.table.headings}


_NAMES = {"fedavg": "FedAvg", "local": "local training"}


def _cell(filled: Filled, row: Row, key: str, with_paper: bool, flat: bool) -> dict[str, Any]:
    cell = filled.board.cells[row.title][key]
    content = cell.flat() if flat else cell.row()
    return {**content, "paper": filled.printed.value(row.printed_as, key)} if with_paper else content


def _has_number(filled: Filled, heading: Heading, with_paper: bool) -> bool:
    return with_paper or filled.board.has_number(heading.key)


def _row_has_number(filled: Filled, row: Row, with_paper: bool) -> bool:
    own = filled.board.cells[row.title].values()
    return (with_paper and row.printed_as in filled.printed.rows) or any(cell.mean is not None for cell in own)


def _units(headings: list[Heading]) -> dict[str, str]:
    """What each number is, once for columns that differ in language or kind of chat alone."""
    single = [(heading, *heading.parts) for heading in headings if len(heading.parts) == 1]
    titles = [(METRICS[part.metric].title if part.language else heading.title, part.metric) for heading, part in single]
    return {title.splitlines()[-1]: METRICS[metric].unit for title, metric in titles}


def _runs(filled: Filled) -> list[Run]:
    return [*filled.left_out, *dict.fromkeys(model.run for row in filled.rows for model in row.models)]


def _whose(filled: Filled) -> str:
    """Which models and data the numbers are of: seldom the paper's."""
    runs = [model.run.experiment for row in filled.rows for model in row.models]
    bases, data = ({run[table][key] for run in runs} for table, key in (("model", "base"), ("data", "name")))
    return f"Runs here: {', '.join(sorted(bases))} on {', '.join(sorted(data))}." if runs else ""


def _paper(filled: Filled, form: str) -> str:
    where = "In parentheses" if form == "tex" else "Paper"
    return f"{where}: {filled.printed.source}, Table {filled.table.number}, judged by GPT-4."


def _without(filled: Filled, with_paper: bool) -> str:
    """Which columns are not shown, and why; laid across, rows without a run stand with the command that trains them."""
    if filled.table.across:
        hidden = [row.title for row in filled.rows if row.models and not _row_has_number(filled, row, with_paper)]
        return unnumbered({title: list(filled.board.cells[title].values()) for title in hidden})
    titles = titles_of(filled)
    absent = [each.key for each in filled.table.headings if not _has_number(filled, each, with_paper)]
    return unnumbered({titles[key]: filled.board.of_column(key) for key in absent})


def _left_out(filled: Filled) -> str:
    """Runs without a place, by the settings that tell them from those that have one."""
    if not filled.left_out:
        return ""
    count, lost = len(filled.left_out), {id(run) for run in filled.left_out}
    names = [
        method.name if " " in method.name else f"{method.name}{run.variant}"
        for method in group(_runs(filled))
        for run in method.runs[:1]
        if method.base is not None and any(id(each) in lost for each in method.runs)
    ]
    return f"{count} {'runs have' if count > 1 else 'run has'} no place in this table: {', '.join(names)}."
