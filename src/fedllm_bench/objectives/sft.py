"""Supervised fine-tuning: the mean negative log-likelihood of the answers' tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedllm_bench.examples import ChatExample, Example
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.layout import lay_out
from fedllm_bench.model.tokenise import Codec, Unusable
from fedllm_bench.objectives.protocol import Encoded, Row, RowLoss, of_kind
from fedllm_bench.tensors import Tensors

__all__ = ["SFT", "sft"]

_RECIPE = 2  # raise it when the same conversation comes to be encoded otherwise, so that no cache is stale


def sft() -> Callable[[Codec, str], "SFT"]:
    """Supervised fine-tuning on the answers of conversations."""
    return SFT


@dataclass(frozen=True)
class SFT:
    """loss = - sum over trained tokens t of log p(t | tokens before it), divided by their number per client and step.

    Args:
        codec: turns conversations into tokens.
        codec_key: what decides the codec's output (tokenizer, template, length, policy), for the cache.
    """

    codec: Codec
    codec_key: str

    @property
    def key(self) -> str:
        return f"sft:{_RECIPE}:{self.codec_key}"

    def encode(self, example: Example) -> tuple[Encoded, str | None] | Unusable:
        tokens = self.codec.encode(of_kind(ChatExample, example, "sft"))
        if isinstance(tokens, Unusable):
            return tokens
        if not tokens.trained[1:].any():
            return Unusable("empty response")
        return {"ids": tokens.ids, "trained": tokens.trained}, tokens.note

    def length(self, row: Encoded) -> int:
        return len(row["ids"])

    def weight(self, row: Encoded) -> float:
        return float(np.count_nonzero(row["trained"][1:]))

    def sequences(self, row: Encoded) -> tuple[list[int], int]:
        return [self.length(row)], int(self.weight(row))

    def annotation(self, model: LanguageModel) -> None:
        return None

    def loss(
        self, model: LanguageModel, params: Tensors | None, rows: Sequence[Row], *, training: bool, metrics: bool
    ) -> RowLoss:
        layout = lay_out(
            [row.data["ids"] for row in rows],
            [row.data["trained"] for row in rows],
            [row.owner for row in rows],
            [row.key for row in rows],
            packed=model.packed,
            pad_id=model.pad_id,
            device=model.device,
        )
        with model.adapted(params, layout, training=training):
            logits = model.scored_logits(layout)  # (scored, vocabulary)
        token_loss = cross_entropy(logits.float(), layout.targets, reduction="none")

        def per_row(values: Tensor) -> Tensor:
            return torch.zeros(len(rows), device=values.device).index_add(0, layout.target_rows, values)

        scored = per_row(torch.ones_like(token_loss))
        correct = per_row((logits.argmax(-1) == layout.targets).float()) if metrics else scored
        return RowLoss(per_row(token_loss), scored, {"tokens": scored, "correct": correct} if metrics else {})
