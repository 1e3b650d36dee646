"""Local optimizers over a stack of clients."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fedllm_bench.federation.stack import AdapterStack
from fedllm_bench.tensors import Tensors

__all__ = ["SGD", "AdamW", "AdamWHF", "LocalOptimizer", "Memory"]

_KEPT = "optimizer/"


@dataclass(frozen=True)
class Memory:
    """What an optimizer remembers of its steps, changed in place.

    Args:
        moments: by name, (clients, elements) each.
        steps: taken by each client, (clients, 1).
    """

    moments: dict[str, Tensor]
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


class _Remembering(ABC):
    """Starts moments at zero or where a client left them, and hands them back."""

    @property
    @abstractmethod
    def moments(self) -> tuple[str, ...]:
        """Their names."""

    def start(self, stack: AdapterStack, own: Sequence[Tensors]) -> Memory:
        moments = {name: torch.zeros_like(stack.flat) for name in self.moments}
        memory = Memory(moments, torch.zeros(len(own), 1, dtype=torch.float64, device=stack.flat.device))
        for position, kept in enumerate(own):
            if f"{_KEPT}steps" in kept:
                for name, value in _named(memory).items():
                    value[position] = kept[_KEPT + name].to(value)
        return memory

    def state(self, memory: Memory, position: int) -> Tensors:
        return {_KEPT + name: value[position].to("cpu", copy=True) for name, value in _named(memory).items()}


def _named(memory: Memory) -> dict[str, Tensor]:
    return {**memory.moments, "steps": memory.steps}


@dataclass(frozen=True)
class SGD(_Remembering):
    """Gradient descent with heavy-ball momentum and weight decay as part of the gradient (PyTorch's form).

    g' = g + decay w;  m = momentum m + g';  w = w - lr m
    """

    momentum: float = 0.0
    weight_decay: float = 0.0

    @property
    def moments(self) -> tuple[str, ...]:
        return ("first",) if self.momentum else ()

    @torch.no_grad()
    def step(self, stack: AdapterStack, memory: Memory, count: int, lr: float) -> None:
        weights, grad = stack.flat[:count], stack.flat_grad[:count]
        change = grad.add(weights, alpha=self.weight_decay) if self.weight_decay else grad
        if self.momentum:
            change = memory.moments["first"][:count].mul_(self.momentum).add_(change)
        memory.steps[:count] += 1
        weights.sub_(change, alpha=lr)


@dataclass(frozen=True)
class _Adam(_Remembering):
    """The two moments of Adam (Kingma and Ba 2015, algorithm 1).

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    @property
    def moments(self) -> tuple[str, ...]:
        return ("first", "second")

    def _advance(self, stack: AdapterStack, memory: Memory, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """m and v of the first clients after this step, (count, elements), and 1 - b1^t and 1 - b2^t, (count, 1)."""
        b1, b2 = self.betas
        grad, steps = stack.flat_grad[:count], memory.steps[:count]
        first, second = memory.moments["first"][:count], memory.moments["second"][:count]
        steps += 1
        first.lerp_(grad, 1 - b1)
        second.mul_(b2).addcmul_(grad, grad, value=1 - b2)
        return first, second, 1 - b1**steps, 1 - b2**steps


@dataclass(frozen=True)
class AdamW(_Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2; PyTorch's form).

    w = w - lr (decay w + (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps))
    """

    @torch.no_grad()
    def step(self, stack: AdapterStack, memory: Memory, count: int, lr: float) -> None:
        weights = stack.flat[:count]
        first, second, left1, left2 = self._advance(stack, memory, count)
        root = second.sqrt().div_(left2.sqrt().float()).add_(self.eps)
        weights.mul_(1 - lr * self.weight_decay)
        weights.sub_((first / root).mul_((lr / left1).float()))


@dataclass(frozen=True)
class AdamWHF(_Adam):
    """AdamW as Hugging Face transformers had it up to version 4: eps is not bias-corrected, and decay comes last.

    w = w - lr (sqrt(1 - b2^t) / (1 - b1^t)) m / (sqrt(v) + eps);  w = w - lr decay w
    """

    @torch.no_grad()
    def step(self, stack: AdapterStack, memory: Memory, count: int, lr: float) -> None:
        weights = stack.flat[:count]
        first, second, left1, left2 = self._advance(stack, memory, count)
        root = second.sqrt().add_(self.eps)
        weights.sub_((first / root).mul_((lr * left2.sqrt() / left1).float()))
        weights.mul_(1 - lr * self.weight_decay)
