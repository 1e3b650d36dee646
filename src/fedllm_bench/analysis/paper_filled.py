"""A table of the paper filled from runs: rows to columns to the scores behind each cell."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fedllm_bench.analysis.evaluated import Model, Sample, Slot, base_models, models
from fedllm_bench.analysis.frames import Run
from fedllm_bench.analysis.methods import group
from fedllm_bench.analysis.paper_results import Printed, printed
from fedllm_bench.analysis.paper_rows import BASE, chats, of_chat
from fedllm_bench.analysis.paper_tables import PaperTable, Part
from fedllm_bench.analysis.references import KINDS, asked_row
from fedllm_bench.analysis.scoreboard import Board, Slots, board
from fedllm_bench.benchmark_scores import METRICS

__all__ = ["Filled", "Row", "fill", "slots_of"]


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        title: with the settings that tell it from others of that name.
        printed_as: its title in the paper.
        models: all that it may take from.
    """

    title: str
    printed_as: str
    models: tuple[Model, ...]


@dataclass(frozen=True)
class Filled:
    """A table with what runs have for it.

    Args:
        table: which.
        printed: what the paper has there.
        rows: the paper's first, in its order, whether there are runs for them or not.
        board: the cells by title of the row and key of the column.
        left_out: runs that have no place in the table.
        against: what cells that cannot be told from it are marked for: `fedavg`, `local`, or the title of a row.
        ambiguous: `fedavg` or `local` to the rows that share a title, so that nothing is compared with them.
    """

    table: PaperTable
    printed: Printed
    rows: tuple[Row, ...]
    board: Board
    left_out: tuple[Run, ...]
    against: str
    ambiguous: Mapping[str, tuple[str, ...]]


def fill(table: PaperTable, runs: Sequence[Run], against: str = "fedavg") -> Filled:
    """Fill a table.

    Args:
        table: which.
        runs: finished or not, with scores or without.
        against: `fedavg`, `local`, or the title of a row.

    Raises:
        RunError: a file of scores is broken; named. Or no row is called what they are compared with.
    """
    facts = _as_rows(table, printed(table.number))
    placed = [(title, run) for run in runs if (title := table.row_of(run)) is not None]
    rows = tuple(_rows(table, facts, placed))
    chosen = asked_row(against, [row.title for row in rows])
    slots = slots_of(table, rows)
    references = {kind: _reference(table, rows, _title_of(table, kind)) for kind in KINDS}
    descending = [heading.key for heading in table.headings if not METRICS[heading.parts[0].metric].higher_is_better]
    kept = {id(run) for _, run in placed}
    return Filled(
        table,
        facts,
        rows,
        board(slots, references if chosen in KINDS else {**references, chosen: slots[chosen]}, descending),
        tuple(run for run in runs if id(run) not in kept),
        chosen,
        {kind: tuple(_rivals(table, rows, _title_of(table, kind))) for kind in KINDS},
    )


def slots_of(table: PaperTable, rows: Sequence[Row]) -> Slots:
    """Row to column to what the cell is the mean of."""
    return {
        row.title: {
            heading.key: Slot(tuple(_sample(table, row, part) for part in heading.parts)) for heading in table.headings
        }
        for row in rows
    }


def _sample(table: PaperTable, row: Row, part: Part) -> Sample:
    taken = tuple(model for model in row.models if table.takes(model.run, part.language, part.chat))
    return Sample(taken, METRICS[part.metric], part.language)


def _title_of(table: PaperTable, kind: str) -> Callable[[Part], str]:
    """What the paper calls the row that a part is compared with."""
    return table.alone if kind == "local" else lambda part: "FedAvg"


def _rivals(table: PaperTable, rows: Sequence[Row], title_of: Callable[[Part], str]) -> Iterator[str]:
    """Rows that share a title to be compared with."""
    sought = {title_of(part) for heading in table.headings for part in heading.parts}
    count = Counter(row.printed_as for row in rows)
    return (row.title for row in rows if row.printed_as in sought and count[row.printed_as] > 1)


def _reference(table: PaperTable, rows: Sequence[Row], title_of: Callable[[Part], str]) -> dict[str, Slot]:
    """Column to what its cells are compared with; columns that lack it, or have it twice, are left out."""
    by_title: dict[str, list[Row]] = {}
    for row in rows:
        by_title.setdefault(row.printed_as, []).append(row)
    found = {}
    for heading in table.headings:
        matches = [by_title.get(title_of(part), []) for part in heading.parts]
        if all(len(match) == 1 and match[0].models for match in matches):
            samples = (_sample(table, match[0], part) for match, part in zip(matches, heading.parts, strict=True))
            found[heading.key] = Slot(tuple(samples))
    return found


def _as_rows(table: PaperTable, facts: Printed) -> Printed:
    """The paper's numbers with its columns as rows, where the table is laid across."""
    if not table.across:
        return facts
    return Printed(
        facts.source,
        tuple(facts.rows),
        {title: tuple(row[place] for row in facts.rows.values()) for place, title in enumerate(facts.columns)},
    )


# --- rows


def _rows(table: PaperTable, facts: Printed, placed: Sequence[tuple[str, Run]]) -> Iterator[Row]:
    """Base models, then the paper's rows in its order, then what the paper does not have."""
    bases = base_models(run for _, run in placed)
    if bases and (BASE in facts.rows or any(model.scores for model in bases)):
        yield from _base_rows(table, bases)
    elif BASE in facts.rows:
        yield Row(BASE, BASE, ())
    for title in dict.fromkeys([*facts.rows, *(title for title, _ in placed)]):
        if title != BASE:
            yield from _method_rows(table, title, [run for other, run in placed if other == title])


def _kind(table: PaperTable, run: Run) -> str:
    """Runs of different kinds may be one row: those on one turn and on several, where columns keep them apart."""
    return chats(run) if table.takes is of_chat else ""


def _base_rows(table: PaperTable, bases: Sequence[Model]) -> Iterator[Row]:
    """One row; one for each where runs of one kind start from different bases, or answer for different data."""
    kinds = [_kind(table, model.run) for model in bases]
    if len(set(kinds)) == len(kinds):
        yield Row(BASE, BASE, tuple(bases))
        return
    for model in bases:
        experiment = model.run.experiment
        told = ", ".join([experiment["model"]["base"], experiment["data"]["name"], model.folder.name[-4:]])
        yield Row(f"{BASE} ({told})", BASE, (model,))


def _method_rows(table: PaperTable, title: str, runs: Sequence[Run]) -> Iterator[Row]:
    """A row for each group of runs that differ in more than seed and client; one without runs for a title of none."""
    by_details: dict[str, list[Run]] = {}
    for kind in sorted({_kind(table, run) for run in runs}):
        for method in group([run for run in runs if _kind(table, run) == kind]):
            if method.base is not None:
                details = method.name.partition(" ")[2]
                by_details.setdefault(details, []).extend(method.runs)
    for details, members in sorted(by_details.items()):
        yield Row(f"{title} {details}".strip(), title, tuple(models(members)))
    if not runs:
        yield Row(title, title, ())
