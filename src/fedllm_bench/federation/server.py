"""Server optimizers: pure pairs of `init` and `step` on flat tensor dicts, composed by `chain`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedllm_bench.tensors import Tensors, add, prefixed, scale, unprefixed, zeros_like, zip_map

__all__ = ["SECOND_MOMENTS", "ServerOptimizer", "adaptive", "apply_update", "chain", "momentum", "plain", "scaled"]


@dataclass(frozen=True)
class ServerOptimizer:
    """How the merged update changes the global adapter.

    Args:
        init: adapter -> state, a flat dict of tensors.
        step: (merged update, state, round from 1) -> (what is added to the adapter, new state).
    """

    init: Callable[[Tensors], Tensors]
    step: Callable[[Tensors, Tensors, int], tuple[Tensors, Tensors]]


def apply_update(
    optimizer: ServerOptimizer, adapter: Tensors, merged: Tensors, state: Tensors, round: int
) -> tuple[Tensors, Tensors]:
    """w' = w + step(D): the new adapter and the optimizer's new state; tensors that D lacks stay as they are."""
    change, after = optimizer.step(merged, state, round)
    moved = add({name: adapter[name] for name in change}, change)
    return {**adapter, **moved}, after


def plain() -> ServerOptimizer:
    """w' = w + D, with D the merged update (McMahan et al. 2017, FedAvg)."""
    return ServerOptimizer(lambda _: {}, lambda merged, state, _: (merged, state))


def scaled(rate: float) -> ServerOptimizer:
    """w' = w + rate * D: a server learning rate."""
    return ServerOptimizer(lambda _: {}, lambda merged, state, _: (scale(merged, rate), state))


def chain(*parts: ServerOptimizer) -> ServerOptimizer:
    """Each part changes what the one before it gives; their states are kept apart by position."""

    def init(adapter: Tensors) -> Tensors:
        state: dict[str, object] = {}
        for position, part in enumerate(parts):
            state |= prefixed(str(position), part.init(adapter))
        return state  # type: ignore[return-value]

    def step(merged: Tensors, state: Tensors, round: int) -> tuple[Tensors, Tensors]:
        after: dict[str, object] = {}
        for position, part in enumerate(parts):
            merged, own = part.step(merged, unprefixed(str(position), state), round)
            after |= prefixed(str(position), own)
        return merged, after  # type: ignore[return-value]

    return ServerOptimizer(init, step)


def momentum(beta: float, *, damping: bool = False, warm_start: bool = False) -> ServerOptimizer:
    """m' = beta m + D, and m' is the change (Hsu et al. 2019, FedAvgM).

    Args:
        beta: what stays of the momentum.
        damping: m' = beta m + (1 - beta) D instead.
        warm_start: m' = D at the first update, whatever beta.
    """

    def step(merged: Tensors, state: Tensors, round: int) -> tuple[Tensors, Tensors]:
        after = _moving(merged, unprefixed("m", state), _is_first(state), beta, damping, warm_start)
        return after, {**prefixed("m", after), "updates": state["updates"] + 1}

    return ServerOptimizer(lambda adapter: {**prefixed("m", zeros_like(adapter)), **_none_yet()}, step)


def adaptive(
    rule: str,
    server_lr: float,
    betas: tuple[float, float],
    tau: float,
    *,
    moment_of: str = "delta",
    warm_start: bool = False,
    bias_correction: bool = False,
) -> ServerOptimizer:
    """m' = b1 m + (1 - b1) D, v' by `rule`, and server_lr * m' / (sqrt(v') + tau) is the change.

    Reddi et al. 2021, algorithm 2; v starts at tau^2.

    Args:
        rule: how v moves, a name of `SECOND_MOMENTS`.
        server_lr: eta.
        betas: b1 and b2.
        tau: degree of adaptivity.
        moment_of: the square in v is that of the merged update ("delta", as published) or of m' ("momentum").
        warm_start: m' = D at the first update.
        bias_correction: m' / (1 - b1^t) and v' / (1 - b2^t) are used after t updates.
    """
    b1, b2 = betas
    move = SECOND_MOMENTS[rule]

    def init(adapter: Tensors) -> Tensors:
        v = {name: torch.full_like(value, tau * tau) for name, value in adapter.items()}
        return {**prefixed("m", zeros_like(adapter)), **prefixed("v", v), **_none_yet()}

    def step(merged: Tensors, state: Tensors, round: int) -> tuple[Tensors, Tensors]:
        m = _moving(merged, unprefixed("m", state), _is_first(state), b1, True, warm_start)
        squared = m if moment_of == "momentum" else merged
        v = zip_map(lambda before, value: move(before, value.square(), b2), unprefixed("v", state), squared)
        updates = state["updates"] + 1
        t = int(updates) if bias_correction else None
        change = zip_map(
            lambda first, second: (
                server_lr
                * (first if t is None else first / (1 - b1**t))
                / ((second if t is None else second / (1 - b2**t)).sqrt() + tau)
            ),
            m,
            v,
        )
        return change, {**prefixed("m", m), **prefixed("v", v), "updates": updates}

    return ServerOptimizer(init, step)


# v' from v, the square s, and b2.
SECOND_MOMENTS: Mapping[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "adagrad": lambda v, s, b2: v + s,
    "yogi": lambda v, s, b2: v - (1 - b2) * s * torch.sign(v - s),
    "adam": lambda v, s, b2: b2 * v + (1 - b2) * s,
}


def _moving(
    merged: Tensors, before: Tensors, first: bool, beta: float, damping: bool, warm_start: bool
) -> dict[str, Tensor]:
    if first and warm_start:
        return dict(merged)
    share = 1 - beta if damping else 1.0
    return zip_map(lambda m, d: beta * m + share * d, before, merged)


def _none_yet() -> dict[str, Tensor]:
    # Counted here: a round in which nobody's update arrived makes no step.
    return {"updates": torch.zeros((), dtype=torch.int64)}


def _is_first(state: Tensors) -> bool:
    return int(state["updates"]) == 0
