"""What a method changes on the client's side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fedllm_bench.tensors import Tensors

__all__ = ["ClientHook", "Finished", "Plain", "TrainContext"]


@dataclass(frozen=True)
class TrainContext:
    """What a hook may read; stacked tensors have the cohort in front, (clients, ...).

    Args:
        round: number of the round.
        clients: positions in the dataset, in stack order.
        anchor: the global adapter that all start from, one client's shape.
        shared: what the server sent besides.
        own: what each client kept from its last round, in stack order.
        active: which clients take the current step, bool, (clients,).
    """

    round: int
    clients: Sequence[int]
    anchor: Tensors
    shared: Tensors
    own: Sequence[Tensors]
    active: Tensor


@dataclass(frozen=True)
class Finished:
    """One client's result: `delta` and `extra` leave it, `own` stays."""

    delta: Tensors
    extra: Tensors
    own: Tensors


class ClientHook(Protocol):
    """Three places in local training where a method has its say."""

    def on_gradients(self, ctx: TrainContext, params: Tensors, grads: Tensors) -> Tensors:
        """Gradients to use instead, stacked (clients, ...); called before clipping."""
        ...

    def after_step(self, ctx: TrainContext, params: Tensors, lr: float) -> None:
        """Change the stacked parameters in place after an optimizer step."""
        ...

    def finish(self, ctx: TrainContext, position: int, end: Tensors, steps: int, lr: float) -> Finished:
        """What the client at `position` of the stack sends and keeps, given its adapter at the end."""
        ...


class Plain:
    """Local training as it is: nothing added, the difference sent."""

    def on_gradients(self, ctx: TrainContext, params: Tensors, grads: Tensors) -> Tensors:
        return grads

    def after_step(self, ctx: TrainContext, params: Tensors, lr: float) -> None:
        pass

    def finish(self, ctx: TrainContext, position: int, end: Tensors, steps: int, lr: float) -> Finished:
        delta = {name: torch.sub(value, ctx.anchor[name].to(value.device)).cpu() for name, value in end.items()}
        return Finished(delta, {}, {})
