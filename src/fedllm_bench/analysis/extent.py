"""How far scores go: how many questions were asked, how long answers may be, how many were cut short."""

from collections.abc import Iterator, Mapping
from typing import Any

from fedllm_bench.analysis.evaluated import Model
from fedllm_bench.analysis.scoreboard import Slots
from fedllm_bench.benchmark_scores import Scores, metric_of

__all__ = ["extent_notes"]

# Row to the scores of its models on one benchmark.
ByRow = Mapping[str, list[Scores]]


def extent_notes(slots: Slots, columns: Mapping[str, str]) -> list[str]:
    """Sentences on benchmarks whose scores are of a part of the questions, or of answers with an end of their own.

    Args:
        slots: what the cells of a table are means of.
        columns: those that are shown.
    """
    found = _by_benchmark(slots, columns)
    limits: dict[str, list[str]] = {}
    for benchmark, rows in found.items():
        if words := _limits(benchmark, rows):
            limits.setdefault(words, []).append(metric_of(benchmark).title)
    cut = [f"{metric_of(name).title} {words}" for name, rows in found.items() if (words := _cut(rows))]
    return [
        *(f"{', '.join(titles)}: {words}." for words, titles in limits.items()),
        *([f"Answers cut short: {'; '.join(cut)}."] if cut else []),
    ]


def _by_benchmark(slots: Slots, columns: Mapping[str, str]) -> dict[str, dict[str, list[Scores]]]:
    """Each model once, whatever columns it is in."""
    models: dict[str, dict[str, dict[int, Model]]] = {}
    for row, own in slots.items():
        for sample in (sample for column in columns if column in own for sample in own[column].samples):
            of_row = models.setdefault(sample.metric.benchmark, {}).setdefault(row, {})
            of_row.update({id(model): model for model in sample.models})
    return {
        benchmark: {
            row: [model.scores[benchmark] for model in found.values() if _is_there(model, benchmark)]
            for row, found in rows.items()
        }
        for benchmark, rows in models.items()
    }


def _is_there(model: Model, benchmark: str) -> bool:
    return benchmark in model.scores and bool(model.scores[benchmark].items)


def _limits(benchmark: str, rows: ByRow) -> str:
    """Of all rows; of each kind where they differ."""
    words = (", ".join(_limit(benchmark, scores.settings)) for own in rows.values() for scores in own)
    return " or ".join(filter(None, dict.fromkeys(words)))


def _limit(benchmark: str, settings: Mapping[str, Any]) -> Iterator[str]:
    if settings.get("limit") is not None:
        of = " of each subject" if benchmark == "mmlu" else ""
        yield f"at most {settings['limit']} questions{of} (seed {settings.get('seed', 0)})"
    # MMLU and the harness's tasks have no answers to cut.
    if settings.get("answers") and settings.get("max_new_tokens") is not None:
        yield f"answers of at most {settings['max_new_tokens']} tokens"


def _cut(rows: ByRow) -> str:
    """How many answers of how many, and whose are most of them."""
    cut = {row: sum(scores.settings.get("cut", 0) for scores in own) for row, own in rows.items()}
    asked = {row: sum(map(_answers, own)) for row, own in rows.items()}
    if not any(cut.values()):
        return ""
    most = max(cut, key=lambda row: cut[row])
    alone = sum(map(bool, asked.values())) == 1
    return f"{sum(cut.values())} of {sum(asked.values())}" + (
        "" if alone else f" ({most}: {cut[most]} of {asked[most]})"
    )


def _answers(scores: Scores) -> int:
    """Questions that a model was asked, each as often as it was."""
    samples: int = scores.settings.get("samples", 1)
    return len({item.item for item in scores.items}) * samples
