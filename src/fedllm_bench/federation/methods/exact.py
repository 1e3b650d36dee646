"""Methods that merge the products B A exactly: what the adapter cannot hold goes into the base's layers."""

from collections.abc import Mapping

from torch import Tensor

from fedllm_bench.federation.aggregate import Gathering, Merged, Updates, at_once, mean_of, shares_of
from fedllm_bench.federation.algorithm import WEIGHTINGS, Algorithm, one_of
from fedllm_bench.model.factors import Pair, fresh, pairs, stacked
from fedllm_bench.tensors import add, subtract

__all__ = ["fedex_lora", "flora"]

_NEEDS = frozenset({"individual updates", "changed base"})


def flora(weighting: str = "size") -> Algorithm:
    """FLoRA: R <- R + sum_i p_i B_i A_i, with R added to the base's layers, and a fresh adapter in each round.

    Stacked side by side, the clients' factors are a pair for the sum, so nothing is lost: the next round's model is the
    mean of the clients' models. A is drawn anew and B is zero. Clients have the same rank here.

    Source: Wang et al. 2024 (FLoRA).

    Args:
        weighting: p_i as in fedavg.
    """
    one_of("weighting", weighting, WEIGHTINGS)
    return Algorithm(
        aggregate=at_once(_fresh_each_round), uniform=weighting == "uniform", needs=_NEEDS | {"new factors"}
    )


def fedex_lora(weighting: str = "uniform") -> Algorithm:
    """FedEx-LoRA: A and B are averaged as in FedAvg, and R <- R + sum_i p_i B_i A_i - B A, with A and B the averages.

    Without R, which is added to the base's layers, FedAvg's error is the difference of the last two.

    Source: Singhal et al. 2025 (FedEx-LoRA).

    Args:
        weighting: p_i as in fedavg.
    """
    one_of("weighting", weighting, WEIGHTINGS)
    return Algorithm(aggregate=at_once(_averages_and_rest), uniform=weighting == "uniform", needs=_NEEDS)


def _fresh_each_round(gathering: Gathering, updates: Updates) -> Merged:
    shapes = {name: (value.shape[0], value.shape[1]) for name, value in gathering.adapter.items()}
    adapter = fresh(shapes, gathering.seed, gathering.round)
    return Merged(subtract(adapter, gathering.adapter), _with_sum(gathering, updates, pairs(adapter)))


def _averages_and_rest(gathering: Gathering, updates: Updates) -> Merged:
    delta = mean_of(updates)
    # The averages as the adapter will hold them, rounded: the sum stays exact.
    return Merged(delta, _with_sum(gathering, updates, pairs(add(gathering.adapter, delta))))


def _with_sum(gathering: Gathering, updates: Updates, held: Mapping[str, Pair]) -> dict[str, Tensor]:
    """R + sum_i p_i B_i A_i - B A, with B A what the adapter will hold; summed in fp64, given in fp32, (out, in)."""
    ends = [pairs(add(gathering.adapter, delta)) for delta, _ in updates.values()]
    shares = shares_of(updates)
    change = {}
    for layer, (held_a, held_b) in held.items():
        a, b = stacked([*(end[layer] for end in ends), (held_a, held_b)], [*shares, -1.0])
        product = b @ a
        if layer in gathering.base:
            product += gathering.base[layer]
        change[layer] = product.float()
    return change
