"""Linear layers whose weights are laid out once as the processor's library wants them, for many small products.

A step of generation multiplies each weight with few rows. On a CPU the usual product then spends its time on laying
out the weight; on processors that torch's other library does not know well it is slow besides.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["prepacked"]

ROWS = 32  # that the layout is made for; any number can be multiplied
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@contextmanager
def prepacked(model: nn.Module) -> Iterator[int]:
    """Multiply by laid-out copies of the weights inside the block; yields how many layers have one.

    The copies take as much memory as the weights. Layers off the CPU, quantized ones, and all where the library gives
    other results on random numbers, stay as they are.
    """
    layers = [layer for layer in model.modules() if type(layer) is nn.Linear and _can(layer)]
    swapped = layers if layers and _agrees(layers[0]) else []
    copies: dict[tuple[int, ...], Any] = {}
    for layer in swapped:
        key = (layer.weight.data_ptr(), *layer.weight.shape)  # a head may share the table of embeddings
        if key not in copies:
            copies[key] = _packed(layer.weight)
        vars(layer)["forward"] = _product(copies[key], layer.bias)
    try:
        yield len(swapped)
    finally:
        for layer in swapped:
            del vars(layer)["forward"]


def _can(layer: nn.Linear) -> bool:
    return (
        layer.weight.device.type == "cpu"
        and layer.weight.dtype in TOLERANCE
        and "forward" not in vars(layer)
        and torch.backends.mkldnn.is_available()
    )


def _packed(weight: Tensor) -> Any:
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)


def _product(weight: Any, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return result

    return forward


@torch.inference_mode()
def _agrees(layer: nn.Linear) -> bool:
    """Whether the library is there and its product is the usual one, up to rounding."""
    x = torch.linspace(-1, 1, 3 * layer.in_features, dtype=layer.weight.dtype).view(3, -1)
    usual = nn.functional.linear(x, layer.weight, layer.bias).float()
    try:
        other = _product(_packed(layer.weight), layer.bias)(x).float()
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool((usual - other).abs().max() <= TOLERANCE[layer.weight.dtype] * usual.abs().max())
