"""Cells of scores and what is said below them, in words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedllm_bench.analysis.comparison import Stability
from fedllm_bench.analysis.scoreboard import NO_RUN, NOT_EVALUATED, NOT_FINISHED, Cell
from fedllm_bench.analysis.ways import FINISH, evaluation

__all__ = ["SAME", "cell_text", "judges_note", "several_runs", "stability_note", "statistics_note", "ways"]

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


def several_runs(cells: Iterable[Cell]) -> bool:
    """Whether cells that stand together have to say how many runs are behind them."""
    return any(cell.replicas > 1 for cell in cells)


def statistics_note(cells: Sequence[Cell], against: str, name: str) -> str:
    """What stands in the cells besides their means, and how far it goes.

    Args:
        cells: of the whole table.
        against: `fedavg` or `local`.
        name: of that, in words.
    """
    known = [cell for cell in cells if cell.mean is not None]
    compared = [cell.against[against] for cell in known if against in cell.against]
    said = {
        "Brackets: 95% bootstrap interval over items and over runs of a row; n: items scored.": bool(known),
        "runs: seeds, or clients that trained alone.": several_runs(known),
        f"~: cannot be told from {name} on the same items (paired, Holm's correction, 5%).": bool(compared),
        "Where a row has one run, or is compared with one, nothing is said of other seeds.": any(
            each.runs == 1 for each in compared
        ),
        "An interval of no width: all items have one score; more items may differ.": any(
            cell.low == cell.high for cell in known
        ),
    }
    return " ".join(sentence for sentence, holds in said.items() if holds)


def judges_note(judges: Sequence[str], mixed: Sequence[str], unlike: Sequence[str]) -> str:
    """Who judged, and which rows do not go together.

    Args:
        judges: everybody.
        mixed: titles of columns whose rows are by different judges or rubrics.
        unlike: of those whose rows answered different questions, or under different settings.
    """
    said = [f"Judged by {'; '.join(judges)}."] if judges else []
    if mixed:
        said.append(f"Rows of {', '.join(mixed)} are by different judges or rubrics and are not compared.")
    if unlike:
        said.append(
            f"Rows of {', '.join(unlike)} answered different questions or under different settings and are not "
            "compared."
        )
    return " ".join(said)


def stability_note(found: Mapping[str, Stability]) -> str:
    """How firm the order of each column is."""
    if not found:
        return ""
    said = (
        f"{title}: {each.first} in {each.first_share:.0%}, {each.tau:.2f}, n={each.n}" for title, each in found.items()
    )
    return (
        "How firm the order is (who is first, in what share of resamples, Kendall's tau of their order to the one "
        f"shown, items that all rows have): {'; '.join(said)}."
    )


def ways(cells: Mapping[str, Mapping[str, Cell]]) -> dict[str, str]:
    """The commands, or words, by which empty cells are filled, to what they fill.

    Args:
        cells: row to column to cell.
    """
    together = _commands(_lacking(cells))
    said: dict[str, dict[str, None]] = {}
    unfinished: dict[str, None] = {}
    for cell in _all(cells):
        unfinished |= dict.fromkeys(cell.unfinished)
        if cell.missing not in ("", NO_RUN, NOT_EVALUATED, NOT_FINISHED):
            said.setdefault(cell.hint or "see the reason", {})[cell.missing] = None
    finish = {f"{FINISH} (of {', '.join(_briefly(tuple(unfinished)))})": NOT_FINISHED} if unfinished else {}
    return dict.fromkeys(together, NOT_EVALUATED) | finish | {hint: "; ".join(why) for hint, why in said.items()}


def _all(cells: Mapping[str, Mapping[str, Cell]]) -> Iterator[Cell]:
    return (cell for own in cells.values() for cell in own.values())


def _lacking(cells: Mapping[str, Mapping[str, Cell]]) -> dict[tuple[str, ...], dict[str, bool]]:
    """Folders to the benchmarks that they lack, and whether these take a judge."""
    folders: dict[str, dict[str, None]] = {}
    judged: dict[str, bool] = {}
    for cell in _all(cells):
        # What no run of a row has been given for another reason is said with that.
        if cell.lacking and (cell.mean is not None or cell.missing == NOT_EVALUATED):
            folders.setdefault(cell.benchmark, {}).update(dict.fromkeys(cell.lacking))
            judged[cell.benchmark] = judged.get(cell.benchmark, False) or cell.judged
    found: dict[tuple[str, ...], dict[str, bool]] = {}
    for benchmark, own in folders.items():
        found.setdefault(_briefly(tuple(own)), {})[benchmark] = judged[benchmark]
    return found


def _commands(lacking: Mapping[tuple[str, ...], Mapping[str, bool]]) -> list[str]:
    return [evaluation(folders, benchmarks, any(benchmarks.values())) for folders, benchmarks in lacking.items()]


def _briefly(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Several runs by the folder above them: what is there already is not done again."""
    return tuple(dict.fromkeys(str(Path(folder).parent) for folder in folders)) if len(folders) > 1 else folders


def _lines(cell: Mapping[str, Any], digits: int, against: str, runs: bool) -> Iterator[str]:
    if cell["mean"] is None:
        yield "-"
    else:
        found = cell["against"].get(against)
        mark = f" {SAME}" if found is not None and found["holm"] >= 0.05 else ""
        yield f"{cell['mean']:.{digits}f}{mark}"
        yield f"[{cell['low']:.{digits}f}, {cell['high']:.{digits}f}]"
        yield f"n={cell['n']} runs={cell['replicas']}" if runs else f"n={cell['n']}"
    if cell["unscored"]:
        yield f"{cell['unscored']} unscored"
    for key, word in (("lacking", NOT_EVALUATED), ("unfinished", NOT_FINISHED)):
        if cell["mean"] is not None and cell[key]:
            yield f"{len(cell[key])} {word}"
    if cell.get("paper") is not None:
        yield f"paper {cell['paper']}"
