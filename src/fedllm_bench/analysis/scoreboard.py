"""Methods against metrics: every cell with its interval, its difference to others on the same items, and its gaps."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fedllm_bench.analysis.comparison import Difference, Stability, difference, holm, stability
from fedllm_bench.analysis.evaluated import Model, Slot
from fedllm_bench.analysis.stats import LEVEL
from fedllm_bench.analysis.student import SEEDLESS
from fedllm_bench.analysis.terms import labels
from fedllm_bench.analysis.ways import FINISH, evaluation

__all__ = ["NOT_EVALUATED", "NOT_FINISHED", "NO_RUN", "Against", "Board", "Cell", "Slots", "board"]

NO_RUN = "no run"
NOT_EVALUATED = "not evaluated"
NOT_FINISHED = "not finished"
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
        kept = ("mean", "low", "high", "n", "unscored", "replicas", "missing")
        return {key: value for key, value in self.row().items() if key in kept} | differences


@dataclass(frozen=True)
class Board:
    """A table of scores.

    Args:
        cells: row to column to cell.
        stability: column to how firm its order is.
        judges: everybody who judged.
        mixed: columns whose rows are by different judges, or by different rubrics.
        unlike: columns whose rows answered different questions, or under different settings.
    """

    cells: Mapping[str, Mapping[str, Cell]]
    stability: Mapping[str, Stability]
    judges: tuple[str, ...]
    mixed: tuple[str, ...]
    unlike: tuple[str, ...]


def board(slots: Slots, references: Mapping[str, Mapping[str, Slot]], descending: Sequence[str] = ()) -> Board:
    """Statistics of every cell.

    Args:
        slots: what the cells are means of.
        references: name to column to what the cells of that column are compared with.
        descending: columns in which lower is better.
    """
    cells = {row: {column: _cell(slot) for column, slot in own.items()} for row, own in slots.items()}
    for name, reference in references.items():
        for (row, column), found in _against(slots, reference).items():
            cell = cells[row][column]
            cells[row][column] = replace(cell, against={**cell.against, name: found})
    columns = dict.fromkeys(column for own in slots.values() for column in own)
    firm = {column: _stability(slots, column, column not in descending) for column in columns}
    known = {column: [own[column] for own in slots.values() if own[column].known] for column in columns}
    return Board(
        cells,
        {column: found for column, found in firm.items() if found is not None},
        tuple(labels(judge for own in known.values() for slot in own for one in slot.judges for judge in one)),
        tuple(column for column, own in known.items() if len({slot.judges for slot in own}) > 1),
        tuple(column for column, own in known.items() if len({slot.terms for slot in own}) > 1),
    )


def _cell(slot: Slot) -> Cell:
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
        missing, hint = _why(slot)
        return replace(gaps, missing=missing, hint=hint)
    missing, hint = next((reason for sample in slot.samples for reason in sample.missing.items()), ("", ""))
    return replace(
        gaps,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        n=sum(sample.n for sample in slot.samples),
        replicas=max(len(sample.replicas) for sample in slot.samples),
        missing=missing,
        hint=hint,
    )


def _folders(models: Iterable[Model]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(model.run.path) for model in models))


def _why(slot: Slot) -> tuple[str, str]:
    """Why a cell is empty, and the command that fills it."""
    sample = next((sample for sample in slot.samples if not sample.known), None)
    if sample is None or not sample.models:
        return NO_RUN, ""
    benchmark, judged = (sample.metric.benchmark,), sample.metric.judged
    if sample.mixed or sample.unscored:
        why = sample.mixed or f"no item has a score ({sample.unscored.most_common(1)[0][0]})"
        return why, evaluation(_folders(sample.models), benchmark, judged)
    if sample.missing:
        return next(iter(sample.missing.items()))
    if not sample.lacking:
        return NOT_FINISHED, FINISH
    if sample.language and any(sample.metric.benchmark in model.scores for model in sample.models):
        return f"no item in {sample.language}", "data in that language, then fedllm-bench eval"
    return NOT_EVALUATED, evaluation(_folders(sample.lacking), benchmark, judged)


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
