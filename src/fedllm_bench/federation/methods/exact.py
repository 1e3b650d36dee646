"""Methods that merge the products B A exactly: what the adapter cannot hold goes into the base's layers."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fedllm_bench import rng
from fedllm_bench.federation.aggregate import Gathering, Merged, Updates, at_once, mean_of, shares_of
from fedllm_bench.federation.algorithm import WEIGHTINGS, Algorithm, one_of
from fedllm_bench.model.factors import Pair, named, pairs, stacked
from fedllm_bench.tensors import Tensors, add, subtract

__all__ = ["fedex_lora", "flora"]

_NEEDS = frozenset({"individual updates", "changed base"})


def flora(weighting: str = "size") -> Algorithm:
    """FLoRA: R <- R + sum_i p_i B_i A_i, with R added to the base's layers, and a fresh adapter in each round.

    Stacked side by side, the clients' factors are a pair for the sum, so nothing is lost: the mean of the clients' models
    is the next round's model. A is drawn anew and B is zero. Where ranks are the same for all, this is as published.

    Source: Wang et al. 2024 (FLoRA), section 3.

    Args:
        weighting: p_i as in fedavg.
    """
    one_of("weighting", weighting, WEIGHTINGS)
    return Algorithm(aggregate=at_once(_fresh_each_round), uniform=weighting == "uniform", needs=_NEEDS)


def fedex_lora(weighting: str = "size") -> Algorithm:
    """FedEx-LoRA: A and B are averaged as in FedAvg, and R <- R + sum_i p_i B_i A_i - B A, with A and B the averages.

    Without R, which is added to the base's layers, FedAvg's error is the difference of the last two.

    Source: Singhal et al. 2025 (FedEx-LoRA), section 4.

    Args:
        weighting: p_i as in fedavg; published with `uniform`.
    """
    one_of("weighting", weighting, WEIGHTINGS)
    return Algorithm(aggregate=at_once(_averages_and_rest), uniform=weighting == "uniform", needs=_NEEDS)


def _fresh_each_round(gathering: Gathering, updates: Updates) -> Merged:
    fresh = _fresh(gathering)
    return Merged(subtract(fresh, gathering.adapter), _with_sum(gathering, updates, pairs(fresh)))


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


def _fresh(gathering: Gathering) -> Tensors:
    """An adapter as at the start of a run, drawn for this round: A uniform in +-1/sqrt(in), B zero."""
    fresh = {}
    for name, before in gathering.adapter.items():
        if name.endswith(".lora_A.weight"):
            bound = 1.0 / before.shape[1] ** 0.5
            draw = rng.stream(gathering.seed, "adapter", gathering.round, name)
            fresh[name] = torch.from_numpy(draw.uniform(-bound, bound, tuple(before.shape)).astype(np.float32))
        else:
            fresh[name] = torch.zeros_like(before)
    return fresh
