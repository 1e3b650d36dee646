"""The seam behind which every objective stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedllm_bench.errors import DataError
from fedllm_bench.examples import ChatExample, Example, PreferenceExample
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.tokenise import Unusable
from fedllm_bench.tensors import Tensors

__all__ = ["Annotation", "Encoded", "Objective", "Row", "RowLoss", "of_kind"]

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
        metrics: further sums per row, without gradient, each (rows,); `tokens` (scored) and `correct` (of what the
            weight counts) are among them.
    """

    total: Tensor
    weight: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


class Annotation(Protocol):
    """Numbers that the model adds to encoded rows once, and that are kept beside them."""

    @property
    def name(self) -> str:
        """Of the array that rows carry afterwards."""
        ...

    @property
    def width(self) -> int:
        """Numbers of a row."""
        ...

    @property
    def key(self) -> str:
        """Everything beside the row that decides its numbers; names the cache."""
        ...

    def __call__(self, row: Encoded) -> NDArray[np.float64]:
        """The numbers of a row, (width,); they depend on no other row."""
        ...


class Objective(Protocol):
    """Encode once, then lay out and score as often as needed."""

    @property
    def key(self) -> str:
        """Everything that decides how examples are encoded; names the cache."""
        ...

    def encode(self, example: Example) -> tuple[Encoded, str | None] | Unusable:
        """Arrays of an example and a note on what truncation did, or why it cannot be used.

        Raises:
            DataError: the objective learns from another kind of example.
        """
        ...

    def length(self, row: Encoded) -> int:
        """Tokens that a row costs."""
        ...

    def weight(self, row: Encoded) -> float:
        """What a row counts in its client's mean loss."""
        ...

    def sequences(self, row: Encoded) -> tuple[list[int], int]:
        """Lengths of the sequences that a row puts through the model, and how many of their tokens are scored."""
        ...

    def annotation(self, model: LanguageModel) -> Annotation | None:
        """What the model adds to encoded rows once and for all; None if nothing."""
        ...

    def loss(
        self, model: LanguageModel, params: Tensors | None, rows: Sequence[Row], *, training: bool, metrics: bool
    ) -> RowLoss:
        """Score rows; `params` stacked (clients, ...), None for the base alone."""
        ...


Kind = TypeVar("Kind", bound=Example)
_WORDS: Mapping[type, str] = {ChatExample: "conversation", PreferenceExample: "preference pair"}
_HINTS: Mapping[type, str] = {
    ChatExample: 'choose a dataset of conversations, or set objective.name = "dpo"',
    PreferenceExample: 'choose a dataset of preference pairs, or set objective.name = "sft"',
}


def of_kind(kind: type[Kind], example: Example, objective: str) -> Kind:
    """The example, if it is what an objective learns from.

    Raises:
        DataError: it is of another kind; both are named.
    """
    if isinstance(example, kind):
        return example
    raise DataError(
        f"the objective {objective} learns from {_WORDS[kind]}s, but example {example.id!r} is a "
        f"{_WORDS[type(example)]}",
        _HINTS[kind],
    )
