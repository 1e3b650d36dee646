"""How sure a mean difference is that rests on few seeds: Student's t with Satterthwaite's degrees of freedom."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from fedllm_bench.analysis.stats import LEVEL, Interval

__all__ = ["SEEDLESS", "Means", "Spread", "spread"]

SEEDLESS = "base"  # the replica of a model that no seed made: there are no others of its kind
# Replica to the mean of its items.
Means = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Spread:
    """The variance V of a mean difference, and the degrees of freedom f by which V is known.

    Args:
        variance: V.
        freedom: f.
    """

    variance: float
    freedom: float

    def p(self, found: float) -> float:
        """2 P(T_f > |found| / sqrt(V)), T_f of Student's distribution."""
        if self.variance == 0:
            return 1.0 if found == 0 else 0.0
        return float(2 * stdtr(self.freedom, -abs(found) / math.sqrt(self.variance)))

    def interval(self, found: float) -> Interval:
        """found +- t_f sqrt(V), where p is 5% at an end that is 0."""
        half = 0.0
        if self.variance > 0:
            half = float(stdtrit(self.freedom, (1 + LEVEL) / 2)) * math.sqrt(self.variance)
        return Interval(found, found - half, found + half)


def spread(total: float, items: int, pairs: Sequence[tuple[Means, Means]]) -> Spread:
    """V = v_0 + sum_k v_k and f = V^2 / (v_0^2 / f_0 + sum_k v_k^2 / f_k) (Satterthwaite, Biometrics Bulletin 1946).

    v_k = s_k^2 / R_k is the variance of the mean over R_k seeds, f_k = R_k - 1; methods with equal seeds are paired, so
    that s_k is of their differences. v_0 is what of the bootstrap's variance seeds do not explain: that of items.
    Where one side has a single seed and the other R of them, the single one is taken to vary as the others do:
    v_k = s_k^2 (1 / R + 1). Where both have one, nothing is known of seeds and V is of items alone.

    Args:
        total: variance of the difference over resamples of items and seeds.
        items: degrees of freedom of items: how many, less one for each part.
        pairs: of each part, the means of ours and of theirs.
    """
    seeds = list(_seeds(pairs))
    of_items = max(0.0, total - sum(own for own, _, _ in seeds))
    parts = [(of_items, max(1, items)), *((own + lent, freedom) for own, lent, freedom in seeds)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Spread(0.0, math.inf)
    return Spread(variance, variance**2 / sum(part**2 / freedom for part, freedom in parts))


def _seeds(pairs: Sequence[tuple[Means, Means]]) -> Iterator[tuple[float, float, int]]:
    """For each set of seeds: its variance, what of it a single seed borrows, and degrees of freedom."""
    own: dict[tuple[str, ...], NDArray[np.float64]] = {}
    lent: dict[tuple[str, ...], NDArray[np.float64]] = {}
    for ours, theirs in pairs:
        for sign, side, other in ((1, ours, theirs), (-1, theirs, ours)):
            names = tuple(sorted(side))
            means = sign * np.array([side[name] for name in names]) / len(pairs)
            own[names] = own.get(names, 0.0) + means
            if len(other) == 1 and SEEDLESS not in other:
                lent[names] = lent.get(names, 0.0) + means
    for names, means in own.items():
        if len(names) > 1:
            variance = float(np.var(means, ddof=1))
            borrowed = float(np.var(lent[names], ddof=1)) if names in lent else 0.0
            yield variance / len(names), borrowed, len(names) - 1
