"""The way to a table of the paper from runs of one's own: train, evaluate, print."""

from collections.abc import Iterator, Mapping

from fedllm_bench.analysis.gaps import ways
from fedllm_bench.analysis.paper_filled import Filled
from fedllm_bench.analysis.paper_rows import BASE
from fedllm_bench.analysis.scoreboard import NO_RUN
from fedllm_bench.analysis.ways import evaluations
from fedllm_bench.benchmark_scores import METRICS

__all__ = ["commands"]


def commands(filled: Filled, titles: Mapping[str, str]) -> dict[str, str]:
    """Command, or words on a way, to what it fills.

    Args:
        filled: the table.
        titles: column to title.
    """
    untrained: dict[str, list[str]] = {}
    for title, file in _untrained(filled):
        untrained.setdefault(file, []).append(title)
    run = {f"fedllm-bench run experiments/paper/{file}.toml": ", ".join(rows) for file, rows in untrained.items()}
    if any(row.models for row in filled.rows):
        return run | ways(filled.board, titles)
    return run | _after(filled, list(untrained))


def _untrained(filled: Filled) -> Iterator[tuple[str, str]]:
    """The paper's rows that have no run, with the files whose runs fill them; base models need no training."""
    for row in (row for row in filled.rows if row.printed_as in filled.printed.rows and row.printed_as != BASE):
        if any(cell.missing == NO_RUN for cell in filled.board.cells[row.title].values()):
            yield from ((row.title, file) for file in filled.table.trained_by(row.printed_as))


def _after(filled: Filled, files: list[str]) -> dict[str, str]:
    """What follows the training, from nothing to the table."""
    metrics = [METRICS[part.metric] for heading in filled.table.headings for part in heading.parts]
    judged: dict[str, bool] = {}
    for metric in metrics:
        judged[metric.benchmark] = judged.get(metric.benchmark, False) or metric.judged
    folders = [f"runs/paper-{file}" for file in files]
    return {
        **dict.fromkeys(evaluations(folders, judged, filled.board.beside), "then scores, those of base models too"),
        " ".join(["fedllm-bench table", str(filled.table.number), *folders, "--with-paper"]): "then this table",
    }
