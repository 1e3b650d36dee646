"""Numbers over clients: means with bootstrap intervals, tails, spread, paired differences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "mean_interval", "paired_change", "perplexity", "spread", "worst_decile"]

LEVEL = 0.95
RESAMPLES = 2000
SEED = 0  # intervals are part of a table: equal records give equal tables
CHUNK = 1 << 20  # drawn clients held in memory at a time

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the ends of its 95% percentile bootstrap interval."""

    mean: float
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def mean_interval(values: Sequence[float], weights: Sequence[float] | None = None) -> Interval:
    """The mean over clients and its bootstrap interval, clients being drawn with replacement.

    Args:
        values: one a client.
        weights: one a client, positive, drawn along with its value; None weighs clients equally.

    Raises:
        ValueError: there is no client.
    """
    if not values:
        raise ValueError("a mean over no clients")
    worth = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    means = _resampled_means(np.asarray(values, dtype=np.float64), worth)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(np.average(values, weights=worth)), float(low), float(high))


def _resampled_means(values: Floats, weights: Floats) -> Floats:
    generator = np.random.default_rng(SEED)
    count = len(values)
    at_once = max(1, CHUNK // count)
    means: list[Floats] = []
    for start in range(0, RESAMPLES, at_once):
        drawn = generator.integers(0, count, size=(min(at_once, RESAMPLES - start), count))  # [resamples, clients]
        means.append((values[drawn] * weights[drawn]).sum(axis=1) / weights[drawn].sum(axis=1))
    return np.concatenate(means)


def paired_change(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Client to its value after minus its value before, for the clients that have both.

    Args:
        before: client to value, such as its held-out loss under one method.
        after: the same under another.
    """
    return {client: after[client] - before[client] for client in sorted(before.keys() & after.keys())}


def worst_decile(values: Sequence[float]) -> float:
    """The mean over the tenth of clients with the highest values, over one client at least."""
    count = max(1, len(values) // 10)
    return math.fsum(sorted(values)[-count:]) / count


def spread(values: Sequence[float]) -> float:
    """The standard deviation over clients."""
    return float(np.std(np.asarray(values, dtype=np.float64)))


def perplexity(loss: float) -> float | None:
    """exp of a mean loss per token; None where that is too large for a float."""
    return math.exp(loss) if loss < 700 else None
