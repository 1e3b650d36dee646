"""Methods whose clients train adapters of different ranks, each as large as it can bear."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from fedllm_bench import rng
from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.aggregate import Gathering, Merged, Updates, at_once, shares_of
from fedllm_bench.federation.algorithm import WEIGHTINGS, Algorithm, one_of
from fedllm_bench.federation.hooks import Finished, Plain, TrainContext
from fedllm_bench.model.factors import Pair, leading, named, pairs, stacked
from fedllm_bench.tensors import Tensors, add, subtract

__all__ = ["Truncated", "flexlora", "hetlora"]

_NEEDS = frozenset({"individual updates", "mixed ranks"})
_SHARES = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Truncated(Plain):
    """A client of rank r trains and sends the first r rows of A and columns of B alone.

    The others are zero at the start. They stay so: where a row of A and its column of B are zero, the loss depends on
    neither, and decay leaves zero as it is.

    Args:
        ranks: shares of the adapter's rank; which one is a client's is drawn once by the run's seed.
    """

    ranks: tuple[float, ...]

    def rank(self, seed: int, client: int, full: int) -> int:
        """r of a client, at least 1, of an adapter of rank `full`."""
        return max(1, round(self.ranks[rng.integer(seed, "rank", client) % len(self.ranks)] * full))

    def taken(self, adapter: Tensors, seed: int, client: int) -> dict[str, Tensor]:
        """The part of an adapter that a client has room for."""
        return {
            name: _first(name, value, self.rank(seed, client, _rank(name, value))) for name, value in adapter.items()
        }

    def start(self, ctx: TrainContext, params: Tensors) -> None:
        for name, stack in params.items():
            for position, client in enumerate(ctx.clients):
                components = _components(name, stack[position])
                components[self.rank(ctx.seed, client, len(components)) :] = 0

    def finish(self, ctx: TrainContext, position: int, end: Tensors, steps: int, lr: float) -> Finished:
        whole = super().finish(ctx, position, end, steps, lr)
        return replace(whole, delta=self.taken(whole.delta, ctx.seed, ctx.clients[position]))


def hetlora(ranks: tuple[float, ...] = _SHARES, weighting: str = "norm") -> Algorithm:
    """HetLoRA: A = sum_i p_i pad(A_i) and B = sum_i p_i pad(B_i), with zeros up to the full rank.

    Client i gets the first r_i components. Those beyond the largest rank that arrived stay as they were: nobody sent
    anything about them, and a component of zeros cannot learn. The published decay that shrinks clients' ranks over
    time is left out.

    Source: Cho et al. 2024 (HetLoRA).

    Args:
        ranks: r_i as shares of `model.lora.rank`, one of them drawn for each client.
        weighting: p_i in proportion to |B_i A_i|, over all layers, as published (`norm`), or as in fedavg.
    """
    one_of("weighting", weighting, ("norm", *WEIGHTINGS))
    truncated = Truncated(_checked(ranks))
    return Algorithm(
        client=truncated,
        taken=truncated.taken,
        aggregate=at_once(partial(_padded_mean, by_norm=weighting == "norm")),
        uniform=weighting == "uniform",
        needs=_NEEDS,
    )


def flexlora(ranks: tuple[float, ...] = _SHARES, weighting: str = "size") -> Algorithm:
    """FlexLoRA: B A = the best approximation of sum_i p_i B_i A_i at the full rank, B = U S and A = V^T.

    Client i gets the r_i components with the largest singular values. Where the sum has a smaller rank than the
    adapter, the rows of A beyond it stay as they were and their columns of B are zero, so that they can still learn.

    Source: Bai et al. 2024 (FlexLoRA).

    Args:
        ranks: r_i as shares of `model.lora.rank`, one of them drawn for each client.
        weighting: p_i as in fedavg.
    """
    one_of("weighting", weighting, WEIGHTINGS)
    truncated = Truncated(_checked(ranks))
    return Algorithm(
        client=truncated,
        taken=truncated.taken,
        aggregate=at_once(_leading_components),
        uniform=weighting == "uniform",
        needs=_NEEDS | {"new factors"},
    )


def _checked(ranks: Sequence[object]) -> tuple[float, ...]:
    shares = tuple(float(share) for share in ranks if isinstance(share, int | float) and 0 < share <= 1)
    if not shares or len(shares) < len(ranks):
        raise ExperimentError(
            f"ranks is {list(ranks)}", "it lists shares of model.lora.rank above 0 and up to 1, such as [0.25, 0.5, 1]"
        )
    return shares


def _padded_mean(gathering: Gathering, updates: Updates, by_norm: bool) -> Merged:
    ends = _ends(gathering, updates)
    shares = _shares_by_norm(ends) if by_norm else shares_of(updates)
    delta = {}
    for name, before in gathering.adapter.items():
        arrived = [_components(name, end[name]) for end in ends]
        mean = _components(name, before).double().clone()  # (rank, width)
        mean[: max(len(part) for part in arrived)] = 0
        for share, part in zip(shares, arrived, strict=True):
            mean[: len(part)] += share * part
        delta[name] = (_components(name, mean) - before).float()
    return Merged(delta)


def _leading_components(gathering: Gathering, updates: Updates) -> Merged:
    ends = [pairs(end) for end in _ends(gathering, updates)]
    shares = shares_of(updates)
    merged = {
        layer: _filled_up(leading(stacked([end[layer] for end in ends], shares), len(before[0])), before)
        for layer, before in pairs(gathering.adapter).items()
    }
    return Merged(subtract(named(merged), gathering.adapter))


def _filled_up(found: Pair, before: Pair) -> Pair:
    """As many components as before; those that were not found add nothing, and can learn."""
    (a, b), (a_before, b_before) = found, before
    missing = len(a_before) - len(a)
    return torch.cat([a, a_before[len(a) :]]), torch.cat([b, b_before.new_zeros(len(b), missing)], 1)


def _ends(gathering: Gathering, updates: Updates) -> list[dict[str, Tensor]]:
    """Each client's adapter after training, of the rank that it sent."""
    return [
        add({name: _first(name, gathering.adapter[name], _rank(name, value)) for name, value in delta.items()}, delta)
        for delta, _ in updates.values()
    ]


def _shares_by_norm(ends: Sequence[Tensors]) -> list[float]:
    """|B_i A_i| / sum_j |B_j A_j| over all layers; equal shares where every product is zero."""
    norms = [sum(_squared(a.double(), b.double()) for a, b in pairs(end).values()) ** 0.5 for end in ends]
    total = sum(norms)
    return [size / total if total else 1 / len(ends) for size in norms]


def _squared(a: Tensor, b: Tensor) -> float:
    """|B A|^2 = <B^T B, A A^T>."""
    return float((b.T @ b * (a @ a.T)).sum())


def _components(name: str, tensor: Tensor) -> Tensor:
    """A view with one row for each component, (rank, width), and back."""
    return tensor if name.endswith("lora_A.weight") else tensor.T


def _rank(name: str, tensor: Tensor) -> int:
    return len(_components(name, tensor))


def _first(name: str, tensor: Tensor, rank: int) -> Tensor:
    return _components(name, _components(name, tensor)[:rank]).contiguous()
