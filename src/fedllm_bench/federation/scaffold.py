"""SCAFFOLD's client side: control variates that take out the drift of local steps (Karimireddy et al. 2020)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedllm_bench.federation.hooks import Finished, Plain, TrainContext, expand
from fedllm_bench.tensors import Tensors, prefixed, subtract, unprefixed

__all__ = ["CORRECTIONS", "OPTIONS", "ControlVariate"]

_SUM = "scaffold.sum"
_OWN = "control"


@dataclass(frozen=True)
class ControlVariate(Plain):
    """Each step follows g_i(y) - c_i + c; at the end c_i becomes c_i' and c_i' - c_i is sent (lines 10-13).

    Args:
        option: how c_i' is found, a name of `OPTIONS`.
        correction: where c - c_i enters, a name of `CORRECTIONS`.
    """

    option: str
    correction: str

    @property
    def wants_gradient_at_anchor(self) -> bool:
        return self.option == "I"

    def on_gradients(self, ctx: TrainContext, params: Tensors, grads: Tensors) -> Tensors:
        for name, grad in grads.items():
            taken = expand(ctx.active, grad)
            if self.option == "gradients":
                key = f"{_SUM}/{name}"
                ctx.memory[key] = ctx.memory.get(key, torch.zeros_like(grad)) + grad * taken
            if self.correction == "gradient":
                grad.add_(_correction(ctx, name, grad) * taken)
        return grads

    def after_step(self, ctx: TrainContext, params: Tensors, lr: float) -> None:
        if self.correction == "after-step":
            with torch.no_grad():
                for name, value in params.items():
                    value.sub_(lr * _correction(ctx, name, value) * expand(ctx.active, value))

    def finish(self, ctx: TrainContext, position: int, end: Tensors, steps: int, lr: float) -> Finished:
        delta = super().finish(ctx, position, end, steps, lr).delta
        before = _own_control(ctx, position)
        after = OPTIONS[self.option](_Ended(ctx, position, delta, before, steps, lr))
        return Finished(delta, subtract(after, before), prefixed(_OWN, after))


@dataclass(frozen=True)
class _Ended:
    """A client whose training is over."""

    ctx: TrainContext
    position: int
    delta: Tensors
    before: Tensors
    steps: int
    lr: float


def _mean_gradient(at: _Ended) -> dict[str, Tensor]:
    """(1 / K) sum_k g_i(y_k)."""
    memory = at.ctx.memory
    return {name: memory[f"{_SUM}/{name}"][at.position].cpu() / at.steps for name in at.delta}


def _gradient_at_anchor(at: _Ended) -> dict[str, Tensor]:
    """g_i(x)."""
    return {name: at.ctx.at_anchor[name][at.position].cpu().clone() for name in at.delta}


def _displacement(at: _Ended) -> dict[str, Tensor]:
    """c_i - c + (x - y) / (K lr)."""
    shared = at.ctx.shared
    return {
        name: at.before[name] - shared[name].cpu() - change / (at.steps * at.lr) for name, change in at.delta.items()
    }


OPTIONS: Mapping[str, Callable[[_Ended], dict[str, Tensor]]] = {
    "gradients": _mean_gradient,
    "I": _gradient_at_anchor,
    "II": _displacement,
}
CORRECTIONS = ("gradient", "after-step")


def _own_control(ctx: TrainContext, position: int) -> dict[str, Tensor]:
    """c_i, zero before a client's first round."""
    kept = unprefixed(_OWN, ctx.own[position])
    return {name: kept.get(name, torch.zeros(value.shape)).cpu() for name, value in ctx.shared.items()}


def _correction(ctx: TrainContext, name: str, like: Tensor) -> Tensor:
    """c - c_i of every client, (clients, ...)."""
    key = f"scaffold.correction/{name}"
    if key not in ctx.memory:
        own = torch.stack([kept.get(f"{_OWN}/{name}", torch.zeros(like.shape[1:])).to(like.device) for kept in ctx.own])
        ctx.memory[key] = ctx.shared[name].to(like.device) - own
    return ctx.memory[key]
