"""Methods that bound what a few arbitrarily bad clients can do; every client counts the same."""

import math
from collections.abc import Callable
from functools import partial

import torch

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.aggregate import Gathering, Merged, Updates, at_once, mean_of
from fedllm_bench.federation.algorithm import Algorithm, at_least

__all__ = ["krum", "median", "trimmed_mean"]

_NEEDS = frozenset({"individual updates"})


def median() -> Algorithm:
    """Coordinate-wise median: D[k] = median_i D_i[k]; for an even number the mean of the middle two.

    Source: Yin et al. 2018, algorithm 1, option I.
    """
    # Of two, the median is the mean.
    return _of_middle(lambda clients: (clients - 1) // 2, least=3)


def trimmed_mean(trim: float = 0.1) -> Algorithm:
    """Coordinate-wise trimmed mean: D[k] = the mean of D_i[k] without the largest and smallest trim * n of them.

    Of the n that arrive, rounded down are left out on each side; with fewer than 1 / trim it would be the mean.

    Source: Yin et al. 2018, algorithm 1, option II.

    Args:
        trim: share left out on each side, above 0 and below 0.5.
    """
    if not 0 < trim < 0.5:
        raise ExperimentError(f"trim is {trim:g}", "it must be above 0 and below 0.5")
    # A product such as 0.29 * 100 may come out a hair too small.
    return _of_middle(lambda clients: int(trim * clients + 1e-9), least=math.ceil(1 / trim - 1e-9))


def krum(byzantine: int = 1, selected: int = 1) -> Algorithm:
    """Krum: D = the mean of the updates with the least s_i, s_i = sum of |D_i - D_j|^2 over the n - f - 2 closest j.

    f clients out of n >= 2 f + 3 may be arbitrarily bad. In a round where fewer arrive nothing can be promised, and the
    adapter stays as it is. Equal scores go to the first in cohort order.

    Source: Blanchard et al. 2017, section 4; more than one selected is their Multi-Krum.

    Args:
        byzantine: f.
        selected: how many updates are averaged; no more than n - f, as many as are good.
    """
    at_least("byzantine", byzantine, 0)
    at_least("selected", selected, 1)
    least = max(2 * byzantine + 3, selected + byzantine)
    chosen = partial(_closest, byzantine=byzantine, selected=selected, least=least)
    return Algorithm(aggregate=at_once(chosen), uniform=True, needs=_NEEDS, least_cohort=least)


def _of_middle(cut: Callable[[int], int], least: int) -> Algorithm:
    """The mean of the values in the middle, coordinate by coordinate, `cut(clients)` left out on each side."""

    def merge(gathering: Gathering, updates: Updates) -> Merged:
        deltas = [delta for delta, _ in updates.values()]
        out = cut(len(deltas))
        merged = {}
        for name in deltas[0]:
            ordered = torch.stack([delta[name] for delta in deltas]).sort(0).values  # (clients, ...)
            merged[name] = ordered[out : len(deltas) - out].double().mean(0).float()
        return Merged(merged)

    return Algorithm(aggregate=at_once(merge), uniform=True, needs=_NEEDS, least_cohort=least)


def _closest(gathering: Gathering, updates: Updates, byzantine: int, selected: int, least: int) -> Merged | None:
    if len(updates) < least:
        return None
    apart = _squared_distances(updates)  # (clients, clients)
    # The nearest of each is itself, at zero.
    scores = apart.sort(1).values[:, 1 : len(updates) - byzantine - 1].sum(1)
    best = scores.argsort(stable=True)[:selected].tolist()
    clients = list(updates)
    return Merged(mean_of({clients[place]: updates[clients[place]] for place in best}))


def _squared_distances(updates: Updates) -> torch.Tensor:
    """|D_i - D_j|^2 over all tensors, (clients, clients), in fp64."""
    deltas = [delta for delta, _ in updates.values()]
    return sum(
        (
            torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square()
            for name in deltas[0]
            for rows in [torch.stack([delta[name].double().flatten() for delta in deltas])]  # (clients, elements)
        ),
        torch.zeros(len(deltas), len(deltas), dtype=torch.float64),
    )
