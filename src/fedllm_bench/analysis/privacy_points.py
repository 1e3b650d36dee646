"""Runs as points of Figure 6: privacy against a metric, beside FedAvg without noise and training alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fedllm_bench.analysis.evaluated import Sample, Slot, models
from fedllm_bench.analysis.frames import Run, pooled
from fedllm_bench.analysis.methods import group
from fedllm_bench.analysis.stats import Interval, mean_interval
from fedllm_bench.benchmark_scores import METRICS

__all__ = ["LOSS", "Point", "Spent", "drawn", "points", "spent", "used"]

LOSS = "loss"
NAMES = {"fedavg": "FedAvg", "local": "local training"}


@dataclass(frozen=True, slots=True)
class Spent:
    """What privacy a run has spent.

    Args:
        epsilon: guaranteed, or else claimed.
        guaranteed: whether an accountant stands behind it; else the paper's formula claims it.
        delta: of that epsilon; None where it is not kept.
    """

    epsilon: float
    guaranteed: bool
    delta: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """What runs of one noise reach.

    Args:
        spent: None for runs without noise.
        name: of the method, with the settings besides noise that tell it from others.
        value: of the metric, with its interval.
        n: items, or clients, behind the value.
        runs: behind it.
    """

    spent: Spent | None
    name: str
    value: Interval
    n: int
    runs: int


# What was spent, the method's name without and with its noise.
Place = tuple[Spent | None, str, str]


def points(runs: Sequence[Run], metric: str) -> list[Point]:
    """A point for each epsilon, a line for FedAvg without noise and for training alone, where they have the metric.

    Args:
        runs: of any kind; those that have no place in the figure are left out.
        metric: a name from `METRICS`, or `LOSS`.
    """
    found = sorted(_by_place(runs).items(), key=lambda item: _order(item[0]))
    return [
        Point(place[0], _title(place), value, n, len(members))
        for place, members in found
        for value, n in _values(members, metric)
    ]


def drawn(runs: Sequence[Run]) -> list[Run]:
    """FedAvg and local training, each without channels or with an epsilon."""
    known = (run for run in runs if run.algorithm in NAMES)
    return [run for run in known if not run.experiment.get("channel") or spent(run) is not None]


def used(runs: Sequence[Run]) -> list[Run]:
    """The runs behind the points."""
    return [run for members in _by_place(runs).values() for run in members]


def spent(run: Run) -> Spent | None:
    """The epsilon that is guaranteed, or else the one claimed; None for a run that has neither."""
    known = run.privacy or {}
    if known.get("epsilon") is not None:
        return Spent(float(known["epsilon"]), True, known.get("delta"))
    claimed, delta = next(_claims(run), (None, None))
    epsilon = known.get("claimed_epsilon") or claimed
    return None if not epsilon else Spent(float(epsilon), False, known.get("delta") or delta)


def _claims(run: Run) -> Iterator[tuple[float, float | None]]:
    for channel in run.experiment.get("channel", ()):
        if channel["name"] == "paper-noise" and channel["options"].get("epsilon"):
            yield channel["options"]["epsilon"], channel["options"].get("delta")


def _by_place(runs: Sequence[Run]) -> dict[Place, list[Run]]:
    """Runs that differ in seed and client alone."""
    noiseless = {
        run.path: " ".join([NAMES[run.algorithm], *method.name.split()[1:]])
        for method in group([replace(run, experiment={**run.experiment, "channel": []}) for run in drawn(runs)])
        for run in (method.runs if method.base is not None else ())
    }
    found: dict[Place, list[Run]] = {}
    for method in group(drawn(runs)):
        for run in method.used if method.base is not None else ():
            found.setdefault((spent(run), noiseless[run.path], method.name), []).append(run)
    return found


def _title(place: Place) -> str:
    privacy, name, _ = place
    return f"{name} without noise" if privacy is None and not name.startswith(NAMES["local"]) else name


def _order(place: Place) -> tuple[float, str, str]:
    privacy, name, full = place
    return privacy.epsilon if privacy else math.inf, name, full


def _values(runs: Sequence[Run], metric: str) -> Iterator[tuple[Interval, int]]:
    """The value with its count; nothing where there is none."""
    if metric == LOSS:
        losses = [score.loss for score in pooled(run.latest for run in runs).values()]
        if losses:
            yield mean_interval(losses), len(losses)
        return
    sample = Sample(tuple(models(runs)), METRICS[metric])
    if (value := Slot((sample,)).interval()) is not None:
        yield value, sample.n
