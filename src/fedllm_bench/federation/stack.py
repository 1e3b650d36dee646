"""The adapters of a cohort as one block of memory, seen as named tensors (clients, ...)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fedllm_bench.tensors import Tensors

__all__ = ["AdapterStack"]


class AdapterStack:
    """Parameters and gradients of several clients, each one tensor (clients, elements) with named views.

    Args:
        starts: what each client starts from.
        device: where they live.
        trains: names of the tensors that train; the others are the first client's, the same for all.
    """

    def __init__(self, starts: Sequence[Tensors], device: torch.device, trains: Callable[[str], bool]) -> None:
        self.shapes = {name: tuple(value.shape) for name, value in starts[0].items() if trains(name)}
        rows = [torch.cat([start[name].reshape(-1).float().to(device) for name in self.shapes]) for start in starts]
        self.flat = torch.stack(rows)  # (clients, elements)
        self.flat_grad = torch.zeros_like(self.flat)
        self.trained = {name: view.requires_grad_() for name, view in self._views(self.flat).items()}
        self.grads = self._views(self.flat_grad)
        for name, leaf in self.trained.items():
            leaf.register_post_accumulate_grad_hook(_adding_to(self.grads[name]))
        still = {name: value for name, value in starts[0].items() if not trains(name)}
        # Every client's view of the same tensor.
        frozen = {name: value.float().to(device).expand(len(starts), *value.shape) for name, value in still.items()}
        self.params = {name: {**self.trained, **frozen}[name] for name in starts[0]}

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        views, at = {}, 0
        for name, shape in self.shapes.items():
            size = int(torch.Size(shape).numel())
            views[name] = flat[:, at : at + size].view(-1, *shape)
            at += size
        return views

    def zero_gradients(self) -> None:
        self.flat_grad.zero_()

    def use_gradients(self, grads: Tensors) -> None:
        """Take over what a hook made of the gradients; the block's own views need no copy."""
        for name, value in grads.items():
            if value is not self.grads[name]:
                self.grads[name].copy_(value)

    def clip(self, largest: float) -> None:
        """Scale each client's gradient down to norm `largest`: g <- g * min(1, largest / (|g| + 1e-6))."""
        norms = torch.linalg.vector_norm(self.flat_grad, dim=1, keepdim=True)  # (clients, 1)
        self.flat_grad.mul_((largest / (norms + 1e-6)).clamp(max=1.0))

    def one(self, position: int) -> dict[str, Tensor]:
        """The tensors that one client trained, copied to the CPU."""
        return {name: value[position].detach().to("cpu", copy=True) for name, value in self.trained.items()}


def _adding_to(total: Tensor) -> Callable[[Tensor], None]:
    """Move what a backward pass gives into the block; torch warns of gradients laid out like the block's views."""

    # It must hold neither the leaf nor the stack: a tensor that its own hook leads back to is never freed.
    def move(leaf: Tensor) -> None:
        if leaf.grad is not None:
            total.add_(leaf.grad)
            leaf.grad = None

    return move
