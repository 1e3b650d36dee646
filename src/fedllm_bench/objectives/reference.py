"""What the base model says about a row once and for all, so that training steps need not ask it again."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedllm_bench.model.base import LanguageModel
from fedllm_bench.objectives.protocol import Encoded, Row

__all__ = ["Reference"]


@dataclass(frozen=True)
class Reference:
    """Adds `reference` to a row: what the base with the adapter off scores its two answers, float64.

    Each row has a pass of its own: the numbers are then the same to the last bit whichever rows are asked for together.

    Args:
        model: the base.
        scores: of rows by the base alone, (rows, 2).
    """

    model: LanguageModel
    scores: Callable[[Sequence[Row]], Tensor]
    name = "reference"
    width = 2

    @property
    def key(self) -> str:
        """Everything beside the row that decides the numbers to the last bit; names the cache."""
        model = self.model
        kind = next(model.model.parameters()).dtype
        facts = (model.fingerprint, kind, model.packed, model.device.type, torch.get_num_threads())
        return f"reference-{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"

    @torch.no_grad()
    def __call__(self, row: Encoded) -> NDArray[np.float64]:
        """log pi_ref of the chosen and the rejected answer, (2,)."""
        scored: NDArray[np.float64] = self.scores([Row(row, owner=0)])[0].double().cpu().numpy()
        return scored
