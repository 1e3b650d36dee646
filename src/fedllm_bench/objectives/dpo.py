"""Direct preference optimisation: preferred answers become more likely than others (Rafailov et al. 2023)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedllm_bench import rng
from fedllm_bench.errors import ExperimentError
from fedllm_bench.examples import Example, PreferenceExample
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.layout import lay_out
from fedllm_bench.model.tokenise import Codec, Unusable
from fedllm_bench.objectives.preference import PairLoss
from fedllm_bench.objectives.protocol import Encoded, Row, RowLoss, of_kind
from fedllm_bench.objectives.reference import Reference
from fedllm_bench.tensors import Tensors

__all__ = ["DPO", "dpo"]

_RECIPE = 1  # raise it when the same pair comes to be encoded otherwise, so that no cache is stale


def dpo(
    beta: float = 0.1,
    loss: str = "sigmoid",
    label_smoothing: float = 0.0,
    gamma: float = 0.5,
    max_prompt_length: int = 128,
    cache_reference: bool = True,
) -> Callable[[Codec, str], "DPO"]:
    """Preference alignment on pairs of answers, against the base model with the adapter off.

    Args:
        beta: scale of the rewards.
        loss: a name from `preference.LOSSES`.
        label_smoothing: how often a preference is taken to be the wrong way round.
        gamma: margin that the loss `simpo` asks for.
        max_prompt_length: tokens that the truncation `paper-dpo` keeps of a prompt.
        cache_reference: whether the base's log-probabilities are computed once and kept, or anew in every step.

    Raises:
        ExperimentError: there is no such loss, or a number makes no sense.
    """
    pair_loss = PairLoss(loss, beta, label_smoothing, gamma)
    if max_prompt_length < 1:
        raise ExperimentError(f"max_prompt_length is {max_prompt_length}, not at least 1", "the paper uses 128")
    return lambda codec, key: DPO(
        replace(codec, max_prompt_length=max_prompt_length), f"{key}:{max_prompt_length}", pair_loss, cache_reference
    )


@dataclass(frozen=True)
class DPO:
    """loss of a pair = L(r(chosen) - r(rejected)), r(y) = beta * (log pi(y|x) - log pi_ref(y|x)); a row is one pair.

    Log-probabilities are summed over the tokens of an answer; pi_ref is the base with the adapter off.

    Args:
        codec: turns pairs into tokens.
        codec_key: what decides the codec's output (tokenizer, template, length, policy), for the cache.
        pair_loss: L and its settings.
        cache_reference: whether rows carry log pi_ref from the cache.
    """

    codec: Codec
    codec_key: str
    pair_loss: PairLoss = field(default_factory=PairLoss)
    cache_reference: bool = True

    @property
    def key(self) -> str:
        return f"dpo:{_RECIPE}:{self.codec_key}"

    def encode(self, example: Example) -> tuple[Encoded, str | None] | Unusable:
        pair = self.codec.encode_pair(of_kind(PreferenceExample, example, "dpo"))
        if isinstance(pair, Unusable):
            return pair
        return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}, pair.note

    def length(self, row: Encoded) -> int:
        return sum(self.sequences(row)[0])

    def weight(self, row: Encoded) -> float:
        return 1.0

    def sequences(self, row: Encoded) -> tuple[list[int], int]:
        prompt, chosen, rejected = (len(row[name]) for name in ("prompt", "chosen", "rejected"))
        return [prompt + chosen, prompt + rejected], chosen + rejected

    def annotation(self, model: LanguageModel) -> Reference | None:
        """The base's log-probabilities of both answers, where rows are to carry them."""
        if not (self.cache_reference and self.pair_loss.needs_reference):
            return None
        return Reference(model, lambda rows: self.log_probs(model, None, rows, training=False))

    def loss(
        self, model: LanguageModel, params: Tensors | None, rows: Sequence[Row], *, training: bool, metrics: bool
    ) -> RowLoss:
        reference = self._reference(model, rows)
        if params is None and reference is not None:
            log_probs = reference  # the base alone is its own reference
        else:
            log_probs = self.log_probs(model, params, rows, training=training)  # (pairs, 2)
        tokens = torch.tensor([[len(row.data["chosen"]), len(row.data["rejected"])] for row in rows]).to(log_probs)
        rewards = self.pair_loss.reward(log_probs, reference, tokens)
        margin = rewards[:, 0] - rewards[:, 1]
        total = self.pair_loss.of(margin)
        return RowLoss(total, torch.ones_like(total), _metrics(rewards, margin, tokens) if metrics else {})

    def log_probs(self, model: LanguageModel, params: Tensors | None, rows: Sequence[Row], *, training: bool) -> Tensor:
        """log pi(y|x), summed over the tokens of y, of the chosen and the rejected answer: (pairs, 2).

        Both answers of all pairs go through the model in one pass.
        """
        answers = [(row, name) for row in rows for name in ("chosen", "rejected")]
        layout = lay_out(
            [np.concatenate([row.data["prompt"], row.data[name]]) for row, name in answers],
            [_scored(row.data, name) for row, name in answers],
            [row.owner for row, _ in answers],
            [rng.integer(row.key, name) if training else 0 for row, name in answers],
            packed=model.packed,
            pad_id=model.pad_id,
            device=model.device,
        )
        with model.adapted(params, layout, training=training):
            logits = model.scored_logits(layout)  # (scored, vocabulary)
        token_log_probs = -cross_entropy(logits.float(), layout.targets, reduction="none")
        # Sums of a thousand tokens' log-probabilities are subtracted from one another: float32 would show.
        sums = torch.zeros(len(answers), dtype=torch.float64, device=logits.device)
        return sums.index_add(0, layout.target_rows, token_log_probs.double()).view(-1, 2)

    def _reference(self, model: LanguageModel, rows: Sequence[Row]) -> Tensor | None:
        """log pi_ref of both answers, (pairs, 2): from the rows where they carry it; None for a loss without."""
        if not self.pair_loss.needs_reference:
            return None
        if "reference" in rows[0].data:
            return torch.from_numpy(np.stack([row.data["reference"] for row in rows])).to(model.device)
        with torch.no_grad():
            return self.log_probs(model, None, rows, training=False)


def _scored(row: Encoded, answer: str) -> NDArray[np.bool_]:
    return np.arange(len(row["prompt"]) + len(row[answer])) >= len(row["prompt"])


def _metrics(rewards: Tensor, margin: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """Sums of each pair; where both answers have the same reward, the preferred one wins half."""
    return {
        "tokens": tokens.sum(1),
        "correct": (margin.detach().sign() + 1) / 2,
        "reward_chosen": rewards[:, 0].detach(),
        "reward_rejected": rewards[:, 1].detach(),
        "margin": margin.detach(),
    }
