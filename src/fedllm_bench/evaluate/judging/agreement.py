"""How far two judges, or two seeds of one, agree."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr

from fedllm_bench import records

__all__ = ["Agreement", "agreement", "agreements"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two judges on the same answers.

    Args:
        count: answers that both scored.
        kappa: Cohen's, with quadratic weights: 1 - sum w o / sum w e; not a number where all scores are equal.
        pearson: correlation of the scores.
        spearman: correlation of their ranks.
        within_one: share of answers whose scores differ by one at most.
    """

    count: int
    kappa: float
    pearson: float
    spearman: float
    within_one: float


def agreement(first: Sequence[float | None], second: Sequence[float | None]) -> Agreement:
    """The agreement of two judges (Cohen 1968).

    Args:
        first: a score for each answer, None where there is none.
        second: the other judge's, in the same order.
    """
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not pairs:
        return Agreement(0, math.nan, math.nan, math.nan, math.nan)
    x, y = np.array(pairs, dtype=np.float64).T
    by_chance = float(((x[:, None] - y[None]) ** 2).mean())
    kappa = 1 - float(((x - y) ** 2).mean()) / by_chance if by_chance else math.nan
    vary = len(pairs) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0
    return Agreement(
        count=len(pairs),
        kappa=kappa,
        pearson=float(pearsonr(x, y).statistic) if vary else math.nan,
        spearman=float(spearmanr(x, y).statistic) if vary else math.nan,
        within_one=float((np.abs(x - y) <= 1).mean()),
    )


def agreements(folder: Path) -> Iterator[dict[str, Any]]:
    """Each two judgements of the same answers of a model: file, judges, rubrics, and how far they agree.

    Args:
        folder: of a run or a base model.

    Raises:
        RunError: a file is broken; named.
    """
    files: dict[str, list[Path]] = {}
    for path in sorted((folder / "judgments").glob("*.jsonl")):
        files.setdefault(path.stem.rpartition("-")[0], []).append(path)
    for answers, paths in files.items():
        read = {path: {(row["question"], row["turn"]): row for row in records.read(path)} for path in paths}
        for first, second in combinations(paths, 2):
            both = sorted(read[first].keys() & read[second].keys())
            found = agreement(*([read[path][key]["score"] for key in both] for path in (first, second)))
            said = [next(iter(read[path].values()), {}) for path in (first, second)]
            yield {
                "model": folder.name,
                "answers": answers,
                "judges": [f"{one.get('judge')}, {one.get('rubric')}" for one in said],
                **{name: None if math.isnan(value) else value for name, value in asdict(found).items()},
            }
