"""Cells of scores and what is said below them, in words."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedllm_bench.analysis.comparison import Stability
from fedllm_bench.analysis.scoreboard import NO_RUN, NOT_EVALUATED, Cell

__all__ = ["SAME", "cell_text", "judges_note", "stability_note", "ways"]

SAME = "~"  # what cannot be told from the reference


def cell_text(cell: Mapping[str, Any], digits: int, against: str = "fedavg") -> str:
    """The mean over its interval and counts, then the paper's value; a dash where there is none.

    Args:
        cell: as `Cell.row` gives it, with `paper` where that stands beside.
        digits: after the point.
        against: cells that cannot be told from this are marked.
    """
    return "\n".join(_lines(cell, digits, against))


def judges_note(judges: Sequence[str], mixed: Sequence[str]) -> str:
    """Who judged.

    Args:
        judges: everybody.
        mixed: titles of columns whose rows are by different judges or rubrics.
    """
    said = [f"Judged by {'; '.join(judges)}."] if judges else []
    if mixed:
        said.append(f"Rows of {', '.join(mixed)} are by different judges or rubrics and are not compared.")
    return " ".join(said)


def stability_note(found: Mapping[str, Stability]) -> str:
    """How firm the order of each column is."""
    if not found:
        return ""
    said = (f"{title}: {each.first} in {each.first_share:.0%}, {each.tau:.2f}" for title, each in found.items())
    return (
        "How firm the order is (who is first, in what share of resamples, Kendall's tau of their order to the one "
        f"shown): {'; '.join(said)}."
    )


def ways(cells: Mapping[str, Mapping[str, Cell]]) -> dict[str, str]:
    """The commands, or words, by which empty cells are filled, to what they fill.

    Args:
        cells: row to column to cell.
    """
    evaluated: dict[str, dict[str, None]] = {}  # benchmark to the folders that lack it, as an ordered set
    said: dict[str, dict[str, None]] = {}
    for cell in (cell for own in cells.values() for cell in own.values()):
        if cell.lacking and cell.missing in ("", NOT_EVALUATED):
            evaluated.setdefault(cell.benchmark, {}).update(dict.fromkeys(cell.lacking))
        elif cell.missing not in ("", NO_RUN):
            said.setdefault(cell.hint or "see the reason", {})[cell.missing] = None
    together: dict[tuple[str, ...], list[str]] = {}
    for benchmark, folders in evaluated.items():
        together.setdefault(_briefly(tuple(folders)), []).append(benchmark)
    commands = {
        f"fedllm-bench eval {' '.join(folders)} {' '.join(f'--suite {name}' for name in names)}": "not evaluated"
        for folders, names in together.items()
    }
    return commands | {hint: "; ".join(reasons) for hint, reasons in said.items()}


def _briefly(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Several runs by the folder above them: what is there already is not done again."""
    return tuple(dict.fromkeys(str(Path(folder).parent) for folder in folders)) if len(folders) > 1 else folders


def _verbatim(value: float) -> str:
    """As printed: two digits, or four in Table 8."""
    return f"{value:.2f}" if round(value, 2) == value else f"{value:.4f}"


def _lines(cell: Mapping[str, Any], digits: int, against: str) -> Iterator[str]:
    if cell["mean"] is None:
        yield "-"
    else:
        found = cell["against"].get(against)
        mark = f" {SAME}" if found is not None and found["holm"] >= 0.05 else ""
        yield f"{cell['mean']:.{digits}f}{mark}"
        yield f"[{cell['low']:.{digits}f}, {cell['high']:.{digits}f}]"
        yield f"n={cell['n']}"
    if cell["unscored"]:
        yield f"{cell['unscored']} unscored"
    if cell["mean"] is not None and cell["lacking"]:
        yield f"{len(cell['lacking'])} not evaluated"
    if cell.get("paper") is not None:
        yield f"paper {_verbatim(cell['paper'])}"
