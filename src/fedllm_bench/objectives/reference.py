"""What the base model says about rows once and for all, so that training steps need not ask it again."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.layout import plan_micro_batches
from fedllm_bench.objectives.protocol import Encoded, Row

__all__ = ["Reference"]


@dataclass(frozen=True)
class Reference:
    """Adds `reference` to each row: what the base with the adapter off scores it, float64.

    Args:
        model: the base.
        length: tokens that a row costs.
        scores: of rows by the base alone, (rows, values).
        token_budget: most tokens in one pass.
    """

    model: LanguageModel
    length: Callable[[Encoded], int]
    scores: Callable[[Sequence[Row]], Tensor]
    token_budget: int

    @property
    def key(self) -> str:
        """Everything beside the rows that decides the numbers to the last bit; names the cache."""
        model = self.model
        kind = next(model.model.parameters()).dtype
        facts = (model.fingerprint, kind, model.packed, model.device.type, self.token_budget, torch.get_num_threads())
        return f"reference-{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"

    @torch.no_grad()
    def __call__(self, rows: Sequence[Encoded], on_rows: Callable[[int], None]) -> list[Encoded]:
        """One array a row, in order."""
        found: dict[int, Encoded] = {}
        for chosen in plan_micro_batches([self.length(row) for row in rows], self.token_budget):
            scores = self.scores([Row(rows[i], owner=0) for i in chosen]).double().cpu().numpy()
            found |= {i: {"reference": np.ascontiguousarray(score)} for i, score in zip(chosen, scores, strict=True)}
            on_rows(len(chosen))
        return [found[i] for i in range(len(rows))]
