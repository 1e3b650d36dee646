"""What is said below a table of scores, a line for each thing."""

from collections.abc import Iterator, Mapping, Sequence

from fedllm_bench.analysis.apart import Apart, judged_apart, judges_of, unlike
from fedllm_bench.analysis.comparison import Stability
from fedllm_bench.analysis.extent import extent_notes
from fedllm_bench.analysis.score_cells import several_runs
from fedllm_bench.analysis.scoreboard import Board, Cell

__all__ = ["notes", "units_note"]


def units_note(units: Mapping[str, str]) -> str:
    """What each number is, once for columns that have the same.

    Args:
        units: title of a column to its unit.
    """
    found: dict[str, list[str]] = {}
    for title, unit in units.items():
        found.setdefault(unit, []).append(title)
    return "; ".join(f"{', '.join(titles)}: {unit}" for unit, titles in found.items()) + "." if found else ""


def notes(
    board: Board, titles: Mapping[str, str], against: str, name: str, ambiguous: Sequence[str] = (), brief: bool = False
) -> Iterator[str]:
    """What stands in the cells besides their means, what it is of, who judged, and how far it goes.

    Args:
        board: of the whole table.
        titles: column to title, of those that have a number.
        against: what cells are compared with.
        name: of that, in words.
        ambiguous: the rows that it could be, where it is none of them.
        brief: cells have their means alone.
    """
    cells = [cell for column in titles for cell in board.of_column(column)]
    yield from _statistics([cell for cell in cells if cell.mean is not None], against, name, brief)
    if ambiguous:
        # Their own titles tell rows apart, and any of them can be asked for.
        yield f'Several rows are {name}: nothing is compared with it. Choose one, such as --against "{ambiguous[0]}".'
    if judges := judges_of(board.slots, titles):
        yield f"Judged by {'; '.join(judges)}."
    for apart in judged_apart(board.slots, titles):
        yield _said(apart, "are by different judges or rubrics")
    for apart in unlike(board.slots, titles):
        yield _said(apart, "answered different questions or under different settings")
    yield from extent_notes(board.slots, titles)
    yield from _stability({titles[column]: firm for column, firm in board.stability.items() if column in titles})


def _statistics(known: Sequence[Cell], against: str, name: str, brief: bool) -> Iterator[str]:
    compared = [cell.against[against] for cell in known if against in cell.against]
    counts = [word for word, holds in _counts(known).items() if holds]
    said = {
        "Brackets: 95% bootstrap interval over items and over runs of a row; n: items scored.": not brief,
        f"{', '.join(counts)}: of the runs behind a number.": bool(counts) and not brief,
        "An interval of no width: all items have one score; more items may differ.": not brief
        and any(cell.low == cell.high for cell in known),
        "Items without a score are left out; csv and json have counts and intervals.": brief
        and any(cell.unscored for cell in known),
        f"~: cannot be told from {name} on the same items (paired, Holm's correction, 5%).": bool(compared),
        "Where a row has one run, or is compared with one, nothing is said of other seeds.": any(
            each.runs == 1 for each in compared
        ),
    }
    yield from (sentence for sentence, holds in said.items() if holds and known)


def _counts(known: Sequence[Cell]) -> Mapping[str, bool]:
    return {
        "seeds": several_runs(known) and any(cell.seeds for cell in known),
        "clients (each trained alone)": any(cell.clients > 1 for cell in known),
        "groups": any(cell.groups > 1 for cell in known),
    }


def _said(apart: Apart, what: str) -> str:
    return f"Rows of {', '.join(apart.columns)} {what} and are not compared: {apart.words}."


def _stability(found: Mapping[str, Stability]) -> Iterator[str]:
    """How firm the order of each column is."""
    if found:
        yield (
            "How firm the order is (who is first, in what share of resamples; Kendall's tau to the order shown; "
            "n: items that all rows have):"
        )
    for title, each in found.items():
        yield f"{title}: {each.first} in {each.first_share:.0%}, tau {each.tau:.2f}, n={each.n}."
