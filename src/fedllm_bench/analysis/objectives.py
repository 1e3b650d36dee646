"""What the numbers of an objective are called."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["OBJECTIVES", "Words", "joined"]


@dataclass(frozen=True, slots=True)
class Words:
    """Words for the numbers of one objective.

    Args:
        loss: the held-out loss, at the start of a sentence.
        unit: of the loss, behind a number or in brackets.
        scores_tokens: whether the loss is a mean negative log-likelihood of tokens, so that exp of it is a perplexity
            and the accuracy is one of tokens; else both are of pairs.
    """

    loss: str
    unit: str
    scores_tokens: bool


OBJECTIVES: Mapping[str, Words] = {
    "sft": Words("Loss in nats per held-out token", "nats per token", True),
    "dpo": Words("DPO loss per held-out pair", "per pair", False),
}


def joined(words: Iterable[str]) -> str:
    """Different words once each, for runs of several objectives."""
    return " or ".join(dict.fromkeys(words))
