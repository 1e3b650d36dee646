"""Cells of scores in words."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fedllm_bench.analysis.scoreboard import NOT_EVALUATED, NOT_FINISHED, Cell

__all__ = ["SAME", "brief_text", "cell_text", "is_same", "several_runs"]

SAME = "~"  # what cannot be told from the reference


def cell_text(cell: Mapping[str, Any], digits: int, against: str = "fedavg", runs: bool = False) -> str:
    """The mean over its interval and counts, then the paper's value; a dash where there is none.

    Args:
        cell: as `Cell.row` gives it, with `paper` where that stands beside.
        digits: after the point.
        against: cells that cannot be told from this are marked.
        runs: say how many runs are behind the mean.
    """
    return "\n".join(_lines(cell, digits, against, runs))


def brief_text(cell: Mapping[str, Any], digits: int, against: str = "fedavg") -> str:
    """The mean alone with its mark, and the paper's value in parentheses: what a printed table has room for."""
    paper = cell.get("paper")
    return _mean(cell, digits, against) + ("" if paper is None else f" ({paper})")


def several_runs(cells: Iterable[Cell]) -> bool:
    """Whether cells that stand together have to say how many runs are behind them."""
    return any(cell.replicas > 1 for cell in cells)


def is_same(found: Mapping[str, Any] | None) -> bool:
    """Whether a difference, as `Cell.row` gives it, is none that can be told."""
    return found is not None and found["holm"] >= 0.05


def _lines(cell: Mapping[str, Any], digits: int, against: str, runs: bool) -> Iterator[str]:
    yield _mean(cell, digits, against)
    if cell["mean"] is not None:
        yield f"[{cell['low']:.{digits}f}, {cell['high']:.{digits}f}]"
        yield ", ".join([f"n={cell['n']}", *(_counted(cell, "seeds") if runs else ())])
        yield from (words for what in ("clients", "groups") if cell[what] > 1 for words in _counted(cell, what))
    if cell["unscored"]:
        yield f"{cell['unscored']} unscored"
    for key, word in (("lacking", NOT_EVALUATED), ("unfinished", NOT_FINISHED)):
        if cell["mean"] is not None and cell[key]:
            yield f"{len(cell[key])} {word}"
    if cell.get("paper") is not None:
        yield f"paper {cell['paper']}"


def _mean(cell: Mapping[str, Any], digits: int, against: str) -> str:
    if cell["mean"] is None:
        return "-"
    mark = f" {SAME}" if is_same(cell["against"].get(against)) else ""
    return f"{cell['mean']:.{digits}f}{mark}"


def _counted(cell: Mapping[str, Any], what: str) -> Iterator[str]:
    """`1 seed`, `2 clients`; nothing for the base, which no seed made."""
    count = cell[what]
    if count:
        yield f"{count} {what if count > 1 else what.removesuffix('s')}"
