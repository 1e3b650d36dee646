"""What a table lacks: columns without a number, and the commands that fill empty cells."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fedllm_bench.analysis.scoreboard import NO_RUN, NOT_EVALUATED, NOT_FINISHED, Board, Cell
from fedllm_bench.analysis.ways import FINISH, evaluations
from fedllm_bench.benchmark_scores import HARNESS

__all__ = ["unnumbered", "ways"]


def unnumbered(hidden: Mapping[str, Sequence[Cell]]) -> str:
    """Columns that are not shown, since no row has a number there, with the reasons; empty without such columns.

    Args:
        hidden: title of a column to its cells.
    """
    found: dict[str, list[str]] = {}
    for title, cells in hidden.items():
        reasons = dict.fromkeys(cell.missing for cell in cells if cell.missing)
        known = [reason for reason in reasons if reason != NO_RUN] or [NO_RUN]
        found.setdefault("; ".join(known), []).append(title)
    said = "; ".join(f"{', '.join(columns)} ({why})" for why, columns in found.items())
    return f"Without any number: {said}." if said else ""


def ways(board: Board, titles: Mapping[str, str]) -> dict[str, str]:
    """The commands, or words, by which empty cells are filled, to what they fill.

    Args:
        board: of the whole table.
        titles: column to title.
    """
    together = _commands(board)
    said: dict[str, dict[str, dict[str, None]]] = {}
    unfinished: dict[str, None] = {}
    for column, cell in _all(board):
        unfinished |= dict.fromkeys(cell.unfinished)
        if cell.missing not in ("", NO_RUN, NOT_EVALUATED, NOT_FINISHED):
            reasons = said.setdefault(cell.hint or "see the reason", {})
            reasons.setdefault(cell.missing, {})[titles[column]] = None
    finish = {f"{FINISH} (of {', '.join(_briefly(tuple(unfinished)))})": NOT_FINISHED} if unfinished else {}
    return dict.fromkeys(together, NOT_EVALUATED) | finish | {hint: _reasons(found) for hint, found in said.items()}


def _all(board: Board) -> Iterator[tuple[str, Cell]]:
    """Cells by column, but for averages: what these lack is lacking in the columns that they are of."""
    return (
        (column, board.cells[row][column])
        for row, own in board.slots.items()
        for column, slot in own.items()
        if len(slot.samples) == 1
    )


def _reasons(found: Mapping[str, Mapping[str, None]]) -> str:
    return "; ".join(f"{', '.join(titles)}: {reason}" for reason, titles in found.items())


def _lacking(board: Board) -> dict[tuple[str, ...], dict[str, bool]]:
    """Folders to the benchmarks that they lack, and whether these take a judge."""
    folders: dict[str, dict[str, None]] = {}
    judged: dict[str, bool] = {}
    for column, cell in _all(board):
        # What no run of a row has been given for another reason is said with that; a task that nobody could be asked
        # is not asked of others.
        wanted = cell.mean is not None or cell.missing == NOT_EVALUATED
        if cell.lacking and wanted and not (column == cell.benchmark and column.startswith(HARNESS)):
            folders.setdefault(cell.benchmark, {}).update(dict.fromkeys(cell.lacking))
            judged[cell.benchmark] = judged.get(cell.benchmark, False) or cell.judged
    found: dict[tuple[str, ...], dict[str, bool]] = {}
    for benchmark, own in folders.items():
        found.setdefault(_briefly(tuple(own)), {})[benchmark] = judged[benchmark]
    return found


def _commands(board: Board) -> list[str]:
    beside = board.beside
    return [
        command
        for folders, benchmarks in _lacking(board).items()
        for command in evaluations(folders, benchmarks, beside)
    ]


def _briefly(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Several runs by the folder above them: what is there already is not done again."""
    return tuple(dict.fromkeys(str(Path(folder).parent) for folder in folders)) if len(folders) > 1 else folders
