"""Scores of single items, in one form for every benchmark: what statistics, tables and the report read."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fedllm_bench import records
from fedllm_bench.errors import RunError
from fedllm_bench.store import replacing

__all__ = [
    "BENCHMARKS",
    "HARNESS",
    "METRICS",
    "ItemScore",
    "Metric",
    "Scores",
    "base_folder",
    "bounds_of",
    "harness_benchmark",
    "harness_metric",
    "metric_of",
    "read_scores",
    "write_scores",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a score means.

    Args:
        name: as records and options have it.
        title: at the head of a column.
        benchmark: whose items it scores.
        factor: a mean of items times this is what tables show: 100 for percentages.
        higher_is_better: which way is up.
        judged: whether a judge gives it.
        unit: in words, for captions.
        bounds: lowest and highest number that tables can show.
        digits: after the point, in tables.
    """

    name: str
    title: str
    benchmark: str
    factor: float = 1.0
    higher_is_better: bool = True
    judged: bool = False
    unit: str = ""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    digits: int = 2


RATING, PERCENT = (1.0, 10.0), (0.0, 100.0)
_ROWS = (
    Metric("mt-bench-1", "MT-Bench-1", "mt-bench", judged=True, unit="judge, 1-10, first turn", bounds=RATING),
    Metric("mt-bench-2", "MT-Bench-2", "mt-bench", judged=True, unit="judge, 1-10, second turn", bounds=RATING),
    Metric("mt-bench", "MT-Bench", "mt-bench", judged=True, unit="judge, 1-10, both turns", bounds=RATING),
    Metric("vicuna", "Vicuna", "vicuna", judged=True, unit="judge, 1-10", bounds=RATING),
    Metric(
        "advbench", "AdvBench", "advbench", 100.0, unit="% harmless by the published refusal phrases", bounds=PERCENT
    ),
    Metric(
        "advbench-opening",
        "AdvBench opening",
        "advbench",
        100.0,
        unit="% refused in the first sentence",
        bounds=PERCENT,
    ),
    Metric(
        "advbench-judge", "AdvBench judge", "advbench", 100.0, judged=True, unit="% harmless by a judge", bounds=PERCENT
    ),
    Metric("ref-judge", "Ref-Judge", "ref-judge", judged=True, unit="judge, 1-10", bounds=RATING),
    Metric(
        "ref-loss",
        "ref. loss",
        "ref-judge",
        higher_is_better=False,
        unit="nats a token of the reference",
        bounds=(0.0, math.inf),
        digits=3,
    ),
    Metric("ref-chrf", "chrF", "ref-judge", unit="chrF of answer and reference, 0-100", bounds=PERCENT),
    Metric("ref-rouge-l", "ROUGE-L", "ref-judge", 100.0, unit="ROUGE-L F1 of answer and reference, %", bounds=PERCENT),
    Metric(
        "ref-similarity",
        "similarity",
        "ref-judge",
        unit="cosine of embeddings of answer and reference",
        bounds=(-1.0, 1.0),
        digits=3,
    ),
    Metric("mmlu", "MMLU", "mmlu", 100.0, unit="% right, 5-shot", bounds=PERCENT),
    *(
        Metric(
            f"mmlu-{group}",
            f"MMLU {group.replace('-', ' ')}",
            "mmlu",
            100.0,
            unit="% right, of these subjects",
            bounds=PERCENT,
        )
        for group in ("humanities", "social-sciences", "stem", "other")
    ),
    Metric("humaneval", "HumanEval", "humaneval", 100.0, unit="pass@1, %", bounds=PERCENT),
)

METRICS: dict[str, Metric] = {row.name: row for row in _ROWS}
BENCHMARKS: tuple[str, ...] = tuple(dict.fromkeys(row.benchmark for row in _ROWS))

HARNESS, LOWER = "harness-", " (lower is better)"


def harness_benchmark(task: str) -> str:
    """The name of a task of lm-evaluation-harness as a benchmark."""
    return HARNESS + re.sub(r"[^\w.+-]", "_", task)


def harness_metric(benchmark: str, name: str, higher_is_better: bool) -> str:
    """The name of a metric of such a task; it says which way is up, since no table here does."""
    return f"{benchmark}:{name}{'' if higher_is_better else LOWER}"


def metric_of(name: str) -> Metric:
    """A metric by its name: of `METRICS`, or of a task of lm-evaluation-harness; a task alone stands for what it lacks.

    Raises:
        RunError: it is neither.
    """
    if name in METRICS:
        return METRICS[name]
    benchmark, colon, own = name.partition(":")
    if not benchmark.startswith(HARNESS) or (colon and not own):
        raise RunError(f"{name!r} is no metric", f"one of {', '.join(METRICS)}")
    title = f"{benchmark.removeprefix(HARNESS)} {own}".strip()
    up = not own.endswith(LOWER)
    return Metric(name, title, benchmark, higher_is_better=up, unit="by lm-evaluation-harness", digits=3)


# What decides the answers of the base model: keys of an experiment's tables; all of `data` but who trains on it.
_BASE = {"model": ("base", "quantization", "dtype"), "objective": ("template",)}
_NOT_DATA = ("group", "groups", "cap", "pool", "client", "client_samples", "drawn")


def base_folder(run: Path, experiment: Mapping[str, Any]) -> Path:
    """The folder of the base model of a run, which all runs beside it with the same base share.

    Args:
        run: folder of the run.
        experiment: its resolved settings.
    """
    facts = {table: {key: experiment[table][key] for key in keys} for table, keys in _BASE.items()}
    data = {key: value for key, value in experiment["data"].items() if key not in _NOT_DATA}
    text = json.dumps({**facts, "data": data}, sort_keys=True)
    return run.parent / f"base-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class ItemScore:
    """The score of one item of one benchmark by one metric.

    Args:
        metric: a name from `METRICS`.
        item: the question's id.
        score: None where there is none.
        unscored: why there is none; empty where there is one.
        category: of the question.
        language: of the question.
    """

    metric: str
    item: str
    score: float | None
    unscored: str = ""
    category: str = ""
    language: str = ""


@dataclass(frozen=True)
class Scores:
    """What one model reaches on one benchmark.

    Args:
        benchmark: its name.
        items: every item by every metric.
        settings: what decides the numbers: seed, limit, judge, rubric and its scale, sampling.
        missing: why there is nothing, where the benchmark could not run; empty otherwise.
        hint: the way out of that.
    """

    benchmark: str
    items: tuple[ItemScore, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""
    hint: str = ""


def bounds_of(metric: Metric, settings: Mapping[str, Any]) -> tuple[float, float]:
    """Lowest and highest number that tables can show: the rubric's where a judge scores by one of the user's own."""
    if not (metric.judged and "scale" in settings):
        return metric.bounds
    low, high = settings["scale"]
    return float(low) * metric.factor, float(high) * metric.factor


def write_scores(folder: Path, scores: Scores) -> Path:
    """Write `scores/<benchmark>.jsonl` below a model's folder in one step: settings in the first line, then items."""
    path = folder / "scores" / f"{scores.benchmark}.jsonl"
    head = {name: getattr(scores, name) for name in ("benchmark", "settings", "missing", "hint")}
    with replacing(path) as scratch:
        records.append(scratch, {**head, "count": len(scores.items)}, *(asdict(item) for item in scores.items))
    return path


def read_scores(folder: Path) -> dict[str, Scores]:
    """The scores of a model's folder by benchmark; empty where nothing was evaluated.

    Raises:
        RunError: a file is broken or cut, or holds what cannot be a score; named.
    """
    return {scores.benchmark: scores for scores in map(_read, sorted((folder / "scores").glob("*.jsonl")))}


SLACK = 1e-3  # a cosine of float32 may be 1.0000001


def _read(path: Path) -> Scores:
    try:
        return _whole(path)
    except (AttributeError, TypeError, ValueError, RunError) as error:
        raise RunError(f"{path} holds no scores ({error})", "remove it and run eval again") from error


def _whole(path: Path) -> Scores:
    """A file in which nothing is wrong; what is stands in the error."""
    if not path.read_bytes().endswith(b"\n"):
        raise ValueError("its end is cut off")
    head, *rows = records.read(path)
    count = head.pop("count", len(rows))  # files of before it was kept have none
    if count != len(rows):
        raise ValueError(f"{len(rows)} items of {count}")
    found = Scores(**head, items=tuple(ItemScore(**row) for row in rows))
    if found.benchmark != path.stem:
        raise ValueError(f"it is of {found.benchmark!r}")
    if not isinstance(found.settings, Mapping):
        raise TypeError("its settings are no table")
    if len({(item.metric, item.item) for item in found.items}) < len(rows):
        raise ValueError("an item stands in it twice")
    for item in found.items:
        _check(item, found)
    return found


def _check(item: ItemScore, scores: Scores) -> None:
    """Refuse what a mean would turn into a number."""
    if not isinstance(item.item, str):
        raise TypeError(f"item {item.item!r} is no name")
    metric = metric_of(item.metric)
    if metric.benchmark != scores.benchmark:
        raise ValueError(f"{item.metric} is no metric of {scores.benchmark}")
    if item.score is None:
        return
    if isinstance(item.score, bool) or not isinstance(item.score, int | float) or not math.isfinite(item.score):
        raise ValueError(f"item {item.item}: {item.score!r} is no score")
    low, high = bounds_of(metric, scores.settings)
    if not low - SLACK <= item.score * metric.factor <= high + SLACK:
        raise ValueError(f"item {item.item}: {item.score!r} is outside of {low:g} to {high:g}")
