"""Local optimizers over a stack of clients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fedllm_bench.federation.stack import AdapterStack
from fedllm_bench.tensors import Tensors

__all__ = ["AdamW", "LocalOptimizer", "Memory"]

_KEPT = "optimizer/"


@dataclass
class Memory:
    """An optimizer's moments, (clients, elements), and each client's step count, (clients, 1)."""

    first: Tensor
    second: Tensor
    steps: Tensor


class LocalOptimizer(Protocol):
    """Steps the first `count` clients of a stack, in place."""

    def start(self, stack: AdapterStack, own: Sequence[Tensors]) -> Memory:
        """Fresh memory, or what clients kept in `own`."""
        ...

    def step(self, stack: AdapterStack, memory: Memory, count: int, lr: float) -> None: ...

    def state(self, memory: Memory, position: int) -> Tensors:
        """What one client keeps until its next round."""
        ...


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2; PyTorch's form).

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
    w = w - lr (decay w + (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps))
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def start(self, stack: AdapterStack, own: Sequence[Tensors]) -> Memory:
        memory = Memory(
            torch.zeros_like(stack.flat),
            torch.zeros_like(stack.flat),
            torch.zeros(len(own), 1, dtype=torch.float64, device=stack.flat.device),
        )
        for position, kept in enumerate(own):
            if f"{_KEPT}steps" in kept:
                memory.first[position] = kept[f"{_KEPT}first"].to(memory.first)
                memory.second[position] = kept[f"{_KEPT}second"].to(memory.second)
                memory.steps[position] = kept[f"{_KEPT}steps"].to(memory.steps)
        return memory

    @torch.no_grad()
    def step(self, stack: AdapterStack, memory: Memory, count: int, lr: float) -> None:
        b1, b2 = self.betas
        weights, grad = stack.flat[:count], stack.flat_grad[:count]
        first, second, steps = memory.first[:count], memory.second[:count], memory.steps[:count]
        steps += 1
        first.lerp_(grad, 1 - b1)
        second.mul_(b2).addcmul_(grad, grad, value=1 - b2)
        root = second.sqrt().div_((1 - b2**steps).sqrt().float()).add_(self.eps)
        weights.mul_(1 - lr * self.weight_decay)
        weights.sub_((first / root).mul_((lr / (1 - b1**steps)).float()))

    def state(self, memory: Memory, position: int) -> Tensors:
        kept = {"first": memory.first, "second": memory.second, "steps": memory.steps}
        return {_KEPT + name: value[position].to("cpu", copy=True) for name, value in kept.items()}
