"""Client hooks that pull the local model towards a reference."""

from dataclasses import dataclass

import torch

from fedllm_bench.federation.hooks import Plain, TrainContext
from fedllm_bench.tensors import Tensors

__all__ = ["CosinePull", "Proximal"]


@dataclass(frozen=True)
class Proximal(Plain):
    """loss + strength / 2 * |w - w_g|^2, with w_g what the server sent (Li et al. 2020, equation 2).

    Args:
        strength: mu, or lambda for the personal model of Ditto.
    """

    strength: float

    def on_gradients(self, ctx: TrainContext, params: Tensors, grads: Tensors) -> Tensors:
        if self.strength == 0:
            return grads
        return {
            name: grad.add_(params[name].detach() - ctx.anchor[name], alpha=self.strength)
            for name, grad in grads.items()
        }


@dataclass(frozen=True)
class CosinePull(Plain):
    """loss - strength * cos(w, u), with u what the client started from (after Ye et al. 2023, pFedGraph).

    Args:
        strength: lambda.
    """

    strength: float

    def start(self, ctx: TrainContext, params: Tensors) -> None:
        ctx.memory["pull.start"] = _flat(params).clone()

    def on_gradients(self, ctx: TrainContext, params: Tensors, grads: Tensors) -> Tensors:
        if self.strength == 0:
            return grads
        start, here = ctx.memory["pull.start"], _flat(params)  # (clients, elements)
        lengths = torch.linalg.vector_norm(here, dim=1, keepdim=True)
        reach = lengths * torch.linalg.vector_norm(start, dim=1, keepdim=True)
        cosine = (here * start).sum(1, keepdim=True) / reach
        slope = cosine * here / lengths.square() - start / reach  # of -cos(w, u)
        at = 0
        for grad in grads.values():
            size = grad[0].numel()
            grad.add_(slope[:, at : at + size].view_as(grad), alpha=self.strength)
            at += size
        return grads


def _flat(stacked: Tensors) -> torch.Tensor:
    return torch.cat([value.detach().flatten(1) for value in stacked.values()], 1)
