"""Rows of a column that do not go together: by different judges, or asked differently."""

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedllm_bench.analysis.evaluated import Slot
from fedllm_bench.analysis.scoreboard import Slots
from fedllm_bench.analysis.terms import differing, names_of

__all__ = ["Apart", "judged_apart", "judges_of", "unlike"]

LONGEST = 24  # characters of a setting; what is longer is told by a hash

Label = Callable[[Slot], str]


@dataclass(frozen=True, slots=True)
class Apart:
    """Columns whose rows are not compared.

    Args:
        columns: their titles.
        kinds: what tells kinds of rows apart, to the rows of each.
    """

    columns: tuple[str, ...]
    kinds: Mapping[str, tuple[str, ...]]

    @property
    def words(self) -> str:
        """Each kind with its rows; the one that has most of them has the others."""
        common = max(self.kinds, key=lambda kind: len(self.kinds[kind]))
        rest = common if len(self.kinds) > 1 and len(self.kinds[common]) > 1 else None
        kinds = sorted(self.kinds, key=lambda kind: kind == rest)
        return "; ".join(f"{'others' if kind == rest else ', '.join(self.kinds[kind])}: {kind}" for kind in kinds)


def judges_of(slots: Slots, titles: Mapping[str, str]) -> list[str]:
    """Everybody who judged, by name.

    Args:
        slots: of the table.
        titles: column to title, of the columns that are shown.
    """
    known = (slot for column in titles for slot in _known(slots, column).values())
    return sorted(set(names_of(judge for slot in known for judges in slot.judges for judge in judges).values()))


def judged_apart(slots: Slots, titles: Mapping[str, str]) -> list[Apart]:
    """Columns whose rows are by different judges or rubrics; see `judges_of`."""
    return _apart(slots, titles, lambda slot: slot.judges, _judge_label)


def unlike(slots: Slots, titles: Mapping[str, str]) -> list[Apart]:
    """Columns whose rows answered different questions, or under different settings; see `judges_of`."""
    return _apart(slots, titles, lambda slot: slot.terms, _terms_label)


def _known(slots: Slots, column: str) -> dict[str, Slot]:
    return {row: own[column] for row, own in slots.items() if column in own and own[column].known}


def _apart(
    slots: Slots,
    titles: Mapping[str, str],
    kind_of: Callable[[Slot], Hashable],
    label_among: Callable[[Sequence[Slot]], Label],
) -> list[Apart]:
    """Columns that are apart in the same way together."""
    found: dict[tuple[tuple[str, tuple[str, ...]], ...], list[str]] = {}
    for column, title in titles.items():
        known = _known(slots, column)
        if len(set(map(kind_of, known.values()))) > 1:
            label = label_among(list(known.values()))
            kinds: dict[str, tuple[str, ...]] = {}
            for row, slot in known.items():
                kinds[label(slot)] = (*kinds.get(label(slot), ()), row)
            found.setdefault(tuple(kinds.items()), []).append(title)
    return [Apart(tuple(columns), dict(kinds)) for kinds, columns in found.items()]


def _judge_label(among: Sequence[Slot]) -> Label:
    names = names_of(judge for slot in among for own in slot.judges for judge in own)
    rubrics = any(len({judge.rubric for own in part for judge in own}) > 1 for part in _parts(among, "judges"))
    told = {judge: f"{name} by rubric {judge.rubric}" if rubrics else name for judge, name in names.items()}
    return lambda slot: _of_parts(" and ".join(sorted(told[judge] for judge in own)) for own in slot.judges)


def _terms_label(among: Sequence[Slot]) -> Label:
    keys = {key for part in _parts(among, "terms") for key in differing(terms for own in part for terms in own)}

    def of_part(own: Iterable[Iterable[tuple[str, str]]]) -> Iterator[str]:
        return (f"{name} {_brief(json.loads(value))}" for terms in own for name, value in terms if name in keys)

    return lambda slot: _of_parts(", ".join(of_part(own)) for own in slot.terms)


def _parts(among: Sequence[Slot], what: str) -> Iterator[tuple[Any, ...]]:
    """What all rows have of each sample of an average."""
    return zip(*(getattr(slot, what) for slot in among), strict=True)


def _of_parts(words: Iterable[str]) -> str:
    """Of an average: once where its parts have the same, else in their order."""
    found = list(words)
    return found[0] if len(set(found)) == 1 else " / ".join(found)


def _brief(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= LONGEST else hashlib.sha256(text.encode()).hexdigest()[:8]
