"""The seam behind which every objective stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from fedllm_bench.examples import ChatExample
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.tokenise import Unusable
from fedllm_bench.tensors import Tensors

__all__ = ["Encoded", "Objective", "Row", "RowLoss"]

Encoded = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """An encoded example on its way through the model.

    Args:
        data: the arrays that the objective's `encode` made.
        owner: the position of its client in the adapter stack.
        key: seeds the row's dropout.
    """

    data: Encoded
    owner: int
    key: int = 0


@dataclass(frozen=True)
class RowLoss:
    """Loss of each row, to be summed and divided by the weights per client.

    Args:
        total: summed loss of each row, with gradient, (rows,).
        weight: what a row counts: scored tokens, or pairs, (rows,).
        metrics: further sums per row, without gradient, each (rows,).
    """

    total: Tensor
    weight: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """Encode once, then lay out and score as often as needed."""

    @property
    def key(self) -> str:
        """Everything that decides how examples are encoded; names the cache."""
        ...

    def encode(self, example: ChatExample) -> tuple[Encoded, str | None] | Unusable:
        """Arrays of an example and a note on what truncation did, or why it cannot be used."""
        ...

    def length(self, row: Encoded) -> int:
        """Tokens that a row costs."""
        ...

    def weight(self, row: Encoded) -> float:
        """What a row counts in its client's mean loss."""
        ...

    def loss(
        self, model: LanguageModel, params: Tensors | None, rows: Sequence[Row], *, training: bool, metrics: bool
    ) -> RowLoss:
        """Score rows; `params` stacked (clients, ...), None for the base alone."""
        ...
