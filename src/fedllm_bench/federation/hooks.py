"""What a method changes on the client's side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fedllm_bench.tensors import Tensors

__all__ = ["ClientHook", "Finished", "Plain", "TrainContext", "expand"]


@dataclass(frozen=True)
class TrainContext:
    """What a hook may read; stacked tensors have the cohort in front, (clients, ...).

    Args:
        seed: of the run.
        round: number of the round.
        clients: positions in the dataset, in stack order.
        anchor: the global adapter that the server sent, one client's shape.
        shared: what the server sent besides.
        own: what each client kept from its last round, in stack order.
        active: which clients take the current step, bool, (clients,).
        memory: what the hook keeps from step to step of this training; empty at first.
        at_anchor: each client's mean gradient at the start, over the examples of all its steps, stacked (clients, ...);
            only for hooks that ask for it.
    """

    seed: int
    round: int
    clients: Sequence[int]
    anchor: Tensors
    shared: Tensors
    own: Sequence[Tensors]
    active: Tensor
    memory: dict[str, Tensor]
    at_anchor: Tensors


@dataclass(frozen=True)
class Finished:
    """One client's result: `delta` and `extra` leave it, `own` stays."""

    delta: Tensors
    extra: Tensors
    own: Tensors


class ClientHook(Protocol):
    """Four places in local training where a method has its say; it sees only the tensors that leave the client."""

    @property
    def wants_gradient_at_anchor(self) -> bool:
        """Whether `TrainContext.at_anchor` is to be computed, at the price of as many passes again."""
        ...

    def start(self, ctx: TrainContext, params: Tensors) -> None:
        """Change what clients start from, in place, stacked (clients, ...)."""
        ...

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

    @property
    def wants_gradient_at_anchor(self) -> bool:
        return False

    def start(self, ctx: TrainContext, params: Tensors) -> None:
        pass

    def on_gradients(self, ctx: TrainContext, params: Tensors, grads: Tensors) -> Tensors:
        return grads

    def after_step(self, ctx: TrainContext, params: Tensors, lr: float) -> None:
        pass

    def finish(self, ctx: TrainContext, position: int, end: Tensors, steps: int, lr: float) -> Finished:
        delta = {name: torch.sub(value, ctx.anchor[name].to(value.device)).cpu() for name, value in end.items()}
        return Finished(delta, {}, {})


def expand(flags: Tensor, like: Tensor) -> Tensor:
    """One flag or number a client, (clients,), shaped so that it multiplies a stacked tensor (clients, ...)."""
    return flags.view(-1, *[1] * (like.dim() - 1))
