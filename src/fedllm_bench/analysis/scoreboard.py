"""Methods against metrics: every cell with its interval, its difference to others on the same items, and its gaps."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fedllm_bench.analysis.beside import Beside
from fedllm_bench.analysis.comparison import Difference, Stability, difference, holm, stability
from fedllm_bench.analysis.evaluated import Model, Slot
from fedllm_bench.analysis.stats import LEVEL
from fedllm_bench.analysis.student import SEEDLESS
from fedllm_bench.analysis.ways import FINISH, evaluation

__all__ = ["NOT_EVALUATED", "NOT_FINISHED", "NO_RUN", "Against", "Board", "Cell", "Slots", "board"]

NO_RUN = "no run"
NOT_EVALUATED = "not evaluated"
NOT_FINISHED = "not finished"
ANOTHER = "another --judge, or more --judge-tokens, for all rows alike"  # the same would say the same again
# Row to column to what the cell is the mean of.
Slots = Mapping[str, Mapping[str, Slot]]


@dataclass(frozen=True, slots=True)
class Against:
    """What a cell has more than the cell it is compared with.

    Args:
        mean: of the difference.
        low: end of its 95% interval.
        high: its other end.
        n: items that both have.
        runs: behind the side that has fewer.
        p: of no difference.
        holm: p corrected for all comparisons of the table with the same.
    """

    mean: float
    low: float
    high: float
    n: int
    runs: int
    p: float
    holm: float

    @property
    def distinguishable(self) -> bool:
        """Whether the corrected p is below 5%."""
        return self.holm < 1 - LEVEL


@dataclass(frozen=True)
class Cell:
    """One number of a table, or why there is none.

    Args:
        mean: None where there is none.
        low: end of its 95% interval.
        high: its other end.
        n: items scored.
        unscored: items of models without a score, counted apart; reason to how many.
        replicas: models behind the number: seeds, clients that trained alone.
        seeds: different ones among them.
        clients: that trained alone, different ones among them.
        groups: of clients that trained together, likewise.
        missing: why there is no number, or why one of the runs has none.
        hint: the way to it.
        against: name of what it is compared with to the difference.
        benchmark: that it needs.
        judged: whether that takes a judge.
        lacking: folders of finished runs without scores of that benchmark.
        unfinished: folders of runs that have to be finished first.
    """

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unscored: Mapping[str, int] = field(default_factory=dict)
    replicas: int = 0
    seeds: int = 0
    clients: int = 0
    groups: int = 0
    missing: str = ""
    hint: str = ""
    against: Mapping[str, Against] = field(default_factory=dict)
    benchmark: str = ""
    judged: bool = False
    lacking: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {**asdict(self), "unscored": sum(self.unscored.values()), "reasons": dict(self.unscored)}

    def flat(self) -> dict[str, Any]:
        """As plain numbers and texts, for CSV."""
        differences = {
            f"{key}_{part}": getattr(found, part)
            for key, found in self.against.items()
            for part in ("mean", "low", "high", "holm")
        }
        kept = ("mean", "low", "high", "n", "unscored", "replicas", "seeds", "clients", "groups", "missing")
        return {key: value for key, value in self.row().items() if key in kept} | differences


@dataclass(frozen=True)
class Board:
    """A table of scores.

    Args:
        cells: row to column to cell.
        stability: column to how firm its order is.
        slots: what the cells are means of.
    """

    cells: Mapping[str, Mapping[str, Cell]]
    stability: Mapping[str, Stability]
    slots: Slots

    @property
    def all_cells(self) -> list[Cell]:
        """Row by row."""
        return [cell for own in self.cells.values() for cell in own.values()]

    @property
    def beside(self) -> Beside:
        """All scores of the table."""
        return _beside(self.slots)

    def of_column(self, column: str) -> list[Cell]:
        """Row by row."""
        return [own[column] for own in self.cells.values() if column in own]

    def has_number(self, column: str) -> bool:
        """Whether some row has a number there."""
        return any(cell.mean is not None for cell in self.of_column(column))


def board(slots: Slots, references: Mapping[str, Mapping[str, Slot]], descending: Sequence[str] = ()) -> Board:
    """Statistics of every cell.

    Args:
        slots: what the cells are means of.
        references: name to column to what the cells of that column are compared with.
        descending: columns in which lower is better.
    """
    beside = _beside(slots)
    cells = {row: {column: _cell(slot, beside) for column, slot in own.items()} for row, own in slots.items()}
    for name, reference in references.items():
        for (row, column), found in _against(slots, reference).items():
            cell = cells[row][column]
            cells[row][column] = replace(cell, against={**cell.against, name: found})
    columns = dict.fromkeys(column for own in slots.values() for column in own)
    firm = {column: _stability(slots, column, column not in descending) for column in columns}
    return Board(cells, {column: found for column, found in firm.items() if found is not None}, slots)


def _beside(slots: Slots) -> Beside:
    found = (
        model for own in slots.values() for slot in own.values() for sample in slot.samples for model in sample.models
    )
    models = {model.folder: model for model in found}
    return Beside(tuple(scores for model in models.values() for scores in model.scores.values()))


def _cell(slot: Slot, beside: Beside) -> Cell:
    lacks = next((sample for sample in slot.samples if sample.lacking or sample.unfinished), None)
    gaps = Cell(unscored=sum((sample.unscored for sample in slot.samples), Counter()))
    if lacks is not None:
        gaps = replace(
            gaps,
            benchmark=lacks.metric.benchmark,
            judged=lacks.metric.judged,
            lacking=_folders(lacks.lacking),
            unfinished=_folders(lacks.unfinished),
        )
    interval = slot.interval()
    if interval is None:
        missing, hint = _why(slot, beside)
        # What an average lacks stands in the columns that it is of.
        unscored = gaps.unscored if len(slot.samples) == 1 else {}
        return replace(gaps, unscored=unscored, missing=missing, hint=hint)
    missing, hint = next((reason for sample in slot.samples for reason in sample.missing.items()), ("", ""))
    return replace(
        gaps,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        n=sum(sample.n for sample in slot.samples),
        replicas=max(len(sample.replicas) for sample in slot.samples),
        seeds=max(sample.seeds for sample in slot.samples),
        clients=max(sample.clients for sample in slot.samples),
        groups=max(sample.groups for sample in slot.samples),
        missing=missing,
        hint=hint,
    )


def _folders(models: Iterable[Model]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(model.run.path) for model in models))


def _why(slot: Slot, beside: Beside) -> tuple[str, str]:
    """Why a cell is empty, and the command that fills it."""
    sample = next((sample for sample in slot.samples if not sample.known), None)
    if sample is None or not sample.models:
        return NO_RUN, ""
    benchmark, judged = sample.metric.benchmark, sample.metric.judged
    if sample.mixed or sample.unscored:
        why = sample.mixed or f"no item has a score ({sample.unscored.most_common(1)[0][0]})"
        return why, ANOTHER if sample.in_vain else evaluation(_folders(sample.models), benchmark, judged, beside)
    if sample.missing:
        return next(iter(sample.missing.items()))
    if not sample.lacking:
        return NOT_FINISHED, FINISH
    if sample.language and any(sample.metric.benchmark in model.scores for model in sample.models):
        return f"no item in {sample.language}", "data in that language, then fedllm-bench eval"
    return NOT_EVALUATED, evaluation(_folders(sample.lacking), benchmark, judged, beside)


def _against(slots: Slots, reference: Mapping[str, Slot]) -> dict[tuple[str, str], Against]:
    """Row and column to the difference, p corrected for all of them."""
    found = list(_differences(slots, reference))
    corrected = holm([each.p for _, _, each in found])
    return {
        place: Against(each.interval.mean, each.interval.low, each.interval.high, each.n, runs, each.p, p)
        for (place, runs, each), p in zip(found, corrected, strict=True)
    }


def _differences(slots: Slots, reference: Mapping[str, Slot]) -> Iterator[tuple[tuple[str, str], int, Difference]]:
    for row, own in slots.items():
        for column, slot in own.items():
            other = reference.get(column)
            if other is None or other == slot or not (slot.known and other.known and slot.is_like(other)):
                continue
            if (found := difference(slot.parts, other.parts)) is not None:
                counts = (len(part) for part in (*slot.parts, *other.parts) if SEEDLESS not in part)
                yield (row, column), min(counts, default=1), found


def _stability(slots: Slots, column: str, higher_is_better: bool) -> Stability | None:
    known = {row: own[column] for row, own in slots.items() if column in own and own[column].known}
    if len({(slot.judges, slot.terms) for slot in known.values()}) > 1:
        return None
    return stability({row: slot.parts for row, slot in known.items()}, higher_is_better)
