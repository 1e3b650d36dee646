"""How the cohort's updates become one: a running mean that never holds two of them."""

from collections.abc import Callable
from typing import Protocol

from fedllm_bench.tensors import Tensors, axpy, scale

__all__ = ["Aggregate", "WeightedMean", "weighted_mean"]


class Aggregate(Protocol):
    """Takes updates one by one, in cohort order, and gives the merged one."""

    def add(self, update: Tensors, weight: float) -> None: ...

    def result(self) -> Tensors | None:
        """The merged update, or None where nothing was added."""
        ...


class WeightedMean:
    """D = sum_i p_i D_i, p_i = n_i / sum_j n_j over the cohort, summed in fp64 (McMahan et al. 2017, algorithm 1)."""

    def __init__(self) -> None:
        self._sum: Tensors | None = None
        self._weight = 0.0

    def add(self, update: Tensors, weight: float) -> None:
        wide = {name: value.double() for name, value in update.items()}
        self._sum = scale(wide, weight) if self._sum is None else axpy(weight, wide, self._sum)
        self._weight += weight

    def result(self) -> Tensors | None:
        if self._sum is None:
            return None
        return {name: (value / self._weight).float() for name, value in self._sum.items()}


weighted_mean: Callable[[], Aggregate] = WeightedMean
