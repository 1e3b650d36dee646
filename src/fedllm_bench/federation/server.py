"""Server optimizers: pure pairs of `init` and `step` on flat tensor dicts, composed by `chain`."""

from collections.abc import Callable
from dataclasses import dataclass

from fedllm_bench.tensors import Tensors, add, prefixed, scale, unprefixed

__all__ = ["ServerOptimizer", "apply_update", "chain", "plain", "scaled"]


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
    """w' = w + step(D): the new adapter and the optimizer's new state."""
    change, after = optimizer.step(merged, state, round)
    return add(adapter, change), after


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
