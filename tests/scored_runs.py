"""Run folders with made-up scores of benchmarks: what eval leaves, without a model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedllm_bench.benchmark_scores import METRICS, ItemScore, Scores, base_folder, write_scores
from fedllm_bench.experiment import Experiment
from run_folders import experiment, write_run

__all__ = ["METHODS", "SETTINGS", "made_scores", "write_base_scores", "write_scored", "write_table3"]

METHODS = ("fedavg", "fedprox", "scaffold", "fedavgm", "fedyogi", "fedadagrad", "fedadam")
SETTINGS = {"limit": None, "seed": 0, "judge": "scripted:made-up", "rubric": "v1", "answers": "", "judgments": ""}
ITEMS = {"mt-bench": 80, "vicuna": 80, "advbench": 520, "ref-judge": 50, "mmlu": 570, "humaneval": 164}
LANGUAGES = ("ar", "en", "es", "fr", "pt", "ru", "te", "zh")
RATINGS = ("mt-bench-1", "mt-bench-2", "mt-bench", "vicuna", "ref-judge")


def made_scores(
    benchmark: str,
    skill: float,
    name: str = "",
    seed: int = 0,
    unscored: int = 0,
    settings: dict[str, Any] | None = None,
) -> Scores:
    """Scores of a model on one benchmark; what an item asks of models does not depend on the model.

    Args:
        benchmark: its name.
        skill: added to every rating from 1 to 10; a tenth of it to a share of right answers.
        name: of the model, which decides its own noise.
        seed: of the run, likewise.
        unscored: items at the end that the judge gave no rating.
        settings: of the scores; `SETTINGS` if not given.
    """
    items = []
    for metric in (row for row in METRICS.values() if row.benchmark == benchmark and row.name in (*RATINGS, *ITEMS)):
        count = ITEMS[benchmark]
        ease = np.random.default_rng([*metric.name.encode()]).uniform(0, 1, count)
        noise = np.random.default_rng([seed, *metric.name.encode(), *name.encode()])
        if metric.name in RATINGS:
            values = np.clip(np.round(3 + 4 * ease + skill + noise.normal(0, 1, count)), 1, 10)
        else:
            values = (ease + noise.normal(0, 0.2, count) + skill / 10 > 0.6).astype(float)
        for place, value in enumerate(values):
            known = place < count - unscored
            items.append(
                ItemScore(
                    metric.name,
                    str(place),
                    float(value) if known else None,
                    "" if known else "no rating in the reply",
                    language=LANGUAGES[place % len(LANGUAGES)] if benchmark == "ref-judge" else "",
                )
            )
    return Scores(benchmark, tuple(items), SETTINGS if settings is None else settings)


def write_scored(
    above: Path, run: Experiment, skill: float, benchmarks: Sequence[str] = tuple(ITEMS), **more: Any
) -> Path:
    """A finished run with scores of these benchmarks; what else is given goes to `made_scores`."""
    folder = write_run(above, run, clients=4)
    for name in benchmarks:
        write_scores(folder, made_scores(name, skill, run.run_id, run.seed, **more))
    return folder


def write_base_scores(run: Path, skill: float, benchmarks: Sequence[str] = tuple(ITEMS)) -> Path:
    """Scores of the base model of a run."""
    folder = base_folder(run, json.loads((run / "experiment.json").read_text()))
    for name in benchmarks:
        write_scores(folder, made_scores(name, skill))
    return folder


def write_table3(above: Path, methods: Sequence[str] = METHODS, seeds: Sequence[int] = (0,)) -> list[Path]:
    """For each seed two local runs and one of each method: FedAdam far below the others, FedAdagrad a bit above."""
    skills = {"fedadam": -1.5, "fedadagrad": 0.3}
    made = []
    for seed in seeds:
        for size in (154, 65):
            local = experiment(seed=seed, algorithm={"name": "local"}, data={"client_samples": size})
            made.append(write_scored(above, local, -0.8))
        for name in methods:
            run = experiment(seed=seed, algorithm={"name": name})
            made.append(write_scored(above, run, skills.get(name, 0.0)))
    return made
