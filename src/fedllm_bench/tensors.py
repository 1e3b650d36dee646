"""Algebra on flat dicts of named tensors: the one currency between clients, channels and servers."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = [
    "Tensors",
    "add",
    "all_finite",
    "axpy",
    "nbytes",
    "norm",
    "prefixed",
    "require_same_names",
    "scale",
    "subtract",
    "unprefixed",
    "zeros_like",
    "zip_map",
]

Tensors = Mapping[str, Tensor]


def require_same_names(*parts: Tensors) -> None:
    """Refuse dicts whose names differ, naming the difference.

    Raises:
        KeyError: a name is in one dict and not in another.
    """
    first = parts[0].keys()
    for other in parts[1:]:
        if other.keys() != first:
            raise KeyError(f"tensor names differ: {sorted(first ^ other.keys())}")


def zip_map(fn: Callable[..., Tensor], *parts: Tensors) -> dict[str, Tensor]:
    """Apply `fn` name by name to dicts with equal names."""
    require_same_names(*parts)
    return {name: fn(*(part[name] for part in parts)) for name in parts[0]}


def add(a: Tensors, b: Tensors) -> dict[str, Tensor]:
    """a + b."""
    return zip_map(torch.add, a, b)


def subtract(a: Tensors, b: Tensors) -> dict[str, Tensor]:
    """a - b."""
    return zip_map(torch.sub, a, b)


def scale(a: Tensors, factor: float) -> dict[str, Tensor]:
    """factor * a."""
    return {name: value * factor for name, value in a.items()}


def axpy(factor: float, x: Tensors, y: Tensors) -> dict[str, Tensor]:
    """y + factor * x."""
    return zip_map(lambda a, b: torch.add(b, a, alpha=factor), x, y)


def zeros_like(a: Tensors) -> dict[str, Tensor]:
    """A dict of zeros with the names, shapes and types of `a`."""
    return {name: torch.zeros_like(value) for name, value in a.items()}


def norm(a: Tensors) -> float:
    """The Euclidean norm over every element of every tensor, accumulated in float64."""
    return math.sqrt(sum(float(value.double().square().sum()) for value in a.values()))


def all_finite(a: Tensors) -> bool:
    """Whether no element is infinite or not a number."""
    return all(bool(torch.isfinite(value).all()) for value in a.values())


def nbytes(a: Tensors) -> int:
    """Bytes that the elements take."""
    return sum(value.numel() * value.element_size() for value in a.values())


def prefixed(prefix: str, a: Tensors) -> dict[str, Tensor]:
    """Names put behind `prefix/`, so that several dicts fit in one file."""
    return {f"{prefix}/{name}": value for name, value in a.items()}


def unprefixed(prefix: str, a: Tensors) -> dict[str, Tensor]:
    """The entries behind `prefix/`, with the prefix taken off."""
    return {name.removeprefix(f"{prefix}/"): value for name, value in a.items() if name.startswith(f"{prefix}/")}
