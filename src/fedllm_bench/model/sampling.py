"""How tokens are drawn."""

from dataclasses import dataclass

__all__ = ["Sampling"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn.

    Args:
        temperature: the logits are divided by it; 0 takes the likeliest token.
        max_new_tokens: most tokens of one answer.
        top_p: draws are from the fewest tokens that have this probability together.
    """

    temperature: float
    max_new_tokens: int
    top_p: float = 1.0
