"""Scores of items over seeds: intervals, paired differences, corrections for many of them, and how firm an order is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fedllm_bench.analysis.stats import LEVEL, Interval
from fedllm_bench.analysis.student import Means, spread

__all__ = [
    "Difference",
    "Replicas",
    "Stability",
    "difference",
    "holm",
    "mean",
    "score_interval",
    "stability",
]

RESAMPLES = 5000
FEWEST = 5  # items from which an order may be drawn anew: one question orders any methods, and always the same way
CHUNK = 1 << 21  # drawn counts held in memory at a time

Floats = NDArray[np.float64]
# Replica (a seed, or a seed and the client that trained) to item to score.
Replicas = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Difference:
    """What one model has more than another on the same items.

    Args:
        interval: of the difference.
        n: items that both have.
        p: two-sided, of no difference.
    """

    interval: Interval
    n: int
    p: float


@dataclass(frozen=True, slots=True)
class Stability:
    """How firm the order of methods is when items and seeds are drawn anew.

    Args:
        first: the name of the best.
        first_share: share of resamples in which no other is better.
        order_share: share of resamples that have all methods in the order found.
        tau: mean of Kendall's tau between the order found and that of a resample; equal methods have no order.
        n: items that all methods have: what the order is drawn anew from.
    """

    first: str
    first_share: float
    order_share: float
    tau: float
    n: int


def mean(parts: Sequence[Replicas]) -> float:
    """The mean over parts of the mean over replicas of the mean over items, each counted the same.

    Args:
        parts: such as one for each language of an average; one alone for a plain number.

    Raises:
        ValueError: a part has no score.
    """
    return float(np.mean([_observed(_table([part], _items(part)))[0] for part in parts]))


def score_interval(parts: Sequence[Replicas]) -> Interval:
    """The mean with its 95% percentile bootstrap interval over items and over replicas.

    Items are drawn with replacement, the same for all replicas, which answered the same items; replicas are drawn
    besides (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007). The deviations of n items are
    stretched by sqrt(n / (n - 1)), and those of R replicas by sqrt(R / (R - 1)), without which the bootstrap of a few
    is too narrow; a single one says nothing about others.

    Args:
        parts: see `mean`.

    Raises:
        ValueError: a part has no score.
    """
    middle = mean(parts)
    return _interval(middle, _joint([[part] for part in parts])[0])


def difference(ours: Sequence[Replicas], theirs: Sequence[Replicas]) -> Difference | None:
    """Ours minus theirs on the items that both have; None where a part has no such item.

    The variance is the paired bootstrap's: both see the same drawn items, and the same drawn seeds where they have the
    same; few seeds are made up for by Student's t (`student.spread`). p is the larger of two: of that t, and of the
    permutation that swaps the two answers to an item at random, which is exact for items but takes seeds for given.

    Args:
        ours: see `mean`.
        theirs: as many parts.
    """
    pairs = [_common([mine, other]) for mine, other in zip(ours, theirs, strict=True)]
    if not pairs or any(not _items(mine) for mine, _ in pairs):
        return None
    found = mean([mine for mine, _ in pairs]) - mean([other for _, other in pairs])
    ours_drawn, theirs_drawn = _joint(pairs)
    deltas = [_item_differences(mine, other) for mine, other in pairs]
    count = sum(map(len, deltas))
    means = [(_by_replica(mine), _by_replica(other)) for mine, other in pairs]
    firm = spread(float(np.var(ours_drawn - theirs_drawn)), count - len(pairs), means)
    return Difference(firm.interval(found), count, max(_permutation_p(deltas), firm.p(found)))


def holm(values: Sequence[float]) -> list[float]:
    """Each p-value corrected for all of them (Holm, Scandinavian Journal of Statistics 1979).

    Sorted p_1 <= ... <= p_m become max over j <= i of min(1, (m - j + 1) p_j).
    """
    corrected, highest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return corrected


def stability(methods: Mapping[str, Sequence[Replicas]], higher_is_better: bool = True) -> Stability | None:
    """How often the order of methods comes back, on the items that all of them have.

    Args:
        methods: name to its parts, as many for each.
        higher_is_better: which way is up.

    Returns:
        None for fewer than two methods, where all are equal, where a part has no item that all have, or where all parts
        together have fewer than `FEWEST`.
    """
    if len(methods) < 2:
        return None
    names = list(methods)
    parts = [_common(list(samples)) for samples in zip(*methods.values(), strict=True)]
    counts = [len(_items(samples[0])) for samples in parts]
    if 0 in counts or sum(counts) < FEWEST:
        return None
    sign = 1.0 if higher_is_better else -1.0
    means = sign * np.array([mean([samples[place] for samples in parts]) for place in range(len(names))])
    draws = sign * _joint(parts)
    best = int(np.argmax(means))
    left, right = np.triu_indices(len(names), 1)
    apart = _rounded(means[left] - means[right]) != 0
    left, right = left[apart], right[apart]
    if not len(left):
        return None
    found = np.sign(means[left] - means[right])
    agree = found[:, None] * np.sign(_rounded(draws[left] - draws[right]))  # (pairs, resamples)
    return Stability(
        names[best],
        float(np.mean(draws[best] >= draws.max(axis=0) - 1e-12)),
        float(np.mean((agree > 0).all(axis=0))),
        float(agree.mean()),
        sum(counts),
    )


# --- resamples


def _joint(parts: Sequence[Sequence[Replicas]]) -> Floats:
    """Means of methods in every resample, averaged over parts. (methods, resamples)

    Args:
        parts: for each the samples of all methods; what they share is drawn for all alike.
    """
    drawn = np.array([_part(samples, place) for place, samples in enumerate(parts)])
    averaged: Floats = drawn.mean(axis=0)
    return averaged


def _part(samples: Sequence[Replicas], place: int) -> Floats:
    table = _table(samples, sorted(set().union(*map(_items, samples))))
    by_replica = _drawn_means(table, np.random.default_rng([0, place]))
    starts = np.cumsum([0, *map(len, samples)])
    return np.array(
        [
            (by_replica[:, start:end] * _replica_weights(sample)).sum(axis=1)
            for sample, start, end in zip(samples, starts[:-1], starts[1:], strict=True)
        ]
    )


def _drawn_means(table: Floats, generator: np.random.Generator) -> Floats:
    """The mean of each replica over drawn items. (resamples, replicas)

    Items with equal scores everywhere are drawn together, as many as they are: MMLU's 14,042 become a few dozen.
    """
    known = ~np.isnan(table)
    rows, counts = np.unique(np.hstack([np.where(known, table, 0.0), known]), axis=0, return_counts=True)
    values, mask = np.hsplit(rows, 2)
    plain = _replica_means(table)
    stretch = math.sqrt(counts.sum() / max(1, counts.sum() - 1))
    at_once = max(1, CHUNK // len(rows))
    found: list[Floats] = []
    for start in range(0, RESAMPLES, at_once):
        drawn = generator.multinomial(counts.sum(), counts / counts.sum(), size=min(at_once, RESAMPLES - start))
        total, weight = drawn @ values, drawn @ mask
        # A replica none of whose items was drawn says what it says of all.
        means = np.where(weight > 0, total / np.maximum(weight, 1), plain)
        found.append(plain + stretch * (means - plain))
    return np.concatenate(found)


def _replica_weights(sample: Replicas) -> Floats:
    """What each replica counts in every resample, in all 1; equal for methods that have equal seeds. (resamples, R)"""
    count = len(sample)
    if count == 1:
        return np.ones((1, 1))
    generator = np.random.default_rng([1, crc32("\n".join(sorted(sample)).encode())])
    drawn = generator.multinomial(count, [1 / count] * count, size=RESAMPLES) / count
    weights: Floats = 1 / count + math.sqrt(count / (count - 1)) * (drawn - 1 / count)
    return weights


def _table(samples: Sequence[Replicas], items: Sequence[str]) -> Floats:
    """Scores, not a number where there is none. (items, replicas of all samples, each's in the order of their names)"""
    columns = [
        [sample[replica].get(item, math.nan) for item in items] for sample in samples for replica in sorted(sample)
    ]
    return np.array(columns, dtype=np.float64).T


def _replica_means(table: Floats) -> Floats:
    known = ~np.isnan(table)
    means: Floats = np.where(known, table, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return means


def _by_replica(sample: Replicas) -> Means:
    means = _replica_means(_table([sample], _items(sample)))
    return dict(zip(sorted(sample), means.tolist(), strict=True))


def _observed(table: Floats) -> list[float]:
    if table.size == 0 or np.isnan(table).all(axis=0).any():
        raise ValueError("a mean over no scores")
    return [float(_replica_means(table).mean())]


def _interval(middle: float, draws: Floats) -> Interval:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(middle, float(low), float(high))


# --- pairs


def _items(sample: Replicas) -> list[str]:
    return sorted(set().union(*sample.values()))


def _common(samples: Sequence[Replicas]) -> list[Replicas]:
    """The samples with the items that all have; replicas that have none of them are left out."""
    shared = set.intersection(*(set(_items(sample)) for sample in samples))
    kept = [
        {name: {item: score for item, score in scores.items() if item in shared} for name, scores in sample.items()}
        for sample in samples
    ]
    return [{name: scores for name, scores in sample.items() if scores} for sample in kept]


def _item_differences(mine: Replicas, other: Replicas) -> Floats:
    """For each item the mean over replicas of mine minus that of the other."""
    items = _items(mine)
    one, two = (np.nanmean(_table([sample], items), axis=1) for sample in (mine, other))
    return np.asarray(one - two, dtype=np.float64)


def _permutation_p(deltas: Sequence[Floats]) -> float:
    """Share of sign flips whose mean difference is as large as the one found, itself counted."""
    generator = np.random.default_rng(2)
    flipped = np.zeros(RESAMPLES)
    for delta in deltas:
        sizes, counts = np.unique(np.abs(_rounded(delta)), return_counts=True)
        signs = 2 * generator.binomial(counts, 0.5, size=(RESAMPLES, len(counts))) - counts
        flipped += signs @ sizes / len(delta)
    found = abs(sum(float(delta.mean()) for delta in deltas))
    return float((1 + np.count_nonzero(np.abs(flipped) >= found - 1e-9)) / (1 + RESAMPLES))


def _rounded(values: Floats) -> Floats:
    """Differences of equal means differ by what floats lose; they are equal."""
    rounded: Floats = np.round(values, 12)
    return rounded
