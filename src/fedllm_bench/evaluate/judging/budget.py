"""What judging will take, and what it may take."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedllm_bench.evaluate.judging.judge import Ask

__all__ = ["Budget", "Forecast", "forecast"]

# Bytes of a text in UTF-8, so that scripts with a token for each letter are not taken for cheap; English has about 4.
BYTES_A_TOKEN = 3
REPLY_TOKENS = 300  # of a judge that explains itself in a few sentences
SECONDS_A_REPLY = 3.0  # of a large model's server; the bar has the true pace


@dataclass(slots=True, eq=False)
class Budget:
    """What judging may still take: it shrinks with every request, whichever benchmark asks, and is never exceeded.

    A request is paid for before it is sent, with the longest reply that the judge may give. One that is repeated since
    the server failed counts once.

    Args:
        requests: most of them; None for any number.
        money: most of it; None for any.
        price_in: of a million tokens that are sent.
        price_out: of a million tokens that come back.
    """

    requests: int | None = None
    money: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """The price of so many tokens."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def pays(self, ask: Ask, longest: int) -> bool:
        """Take the price of a request off what is left; False where that is not enough.

        Args:
            ask: the request.
            longest: most tokens of its reply.
        """
        cost = self.cost(_tokens(ask), longest)
        if (self.requests is not None and self.requests < 1) or (self.money is not None and cost > self.money):
            return False
        if self.requests is not None:
            self.requests -= 1
        if self.money is not None:
            self.money -= cost
        return True


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is about to be asked; tokens are guessed from bytes, on the safe side.

    Args:
        requests: that the cache has no reply to.
        tokens_in: that are sent.
        tokens_out: that come back.
        cost: at the budget's prices.
    """

    requests: int
    tokens_in: int
    tokens_out: int
    cost: float

    def __str__(self) -> str:
        cost = f", cost about {self.cost:.2f}" if self.cost else ""
        seconds = self.requests * SECONDS_A_REPLY
        return (
            f"{self.requests:,} requests, about {self.tokens_in:,} tokens sent and {self.tokens_out:,} back{cost}; "
            f"at {SECONDS_A_REPLY:g} s a reply {seconds / 60:,.1f} min, shared by what is asked at once"
        )


def forecast(asks: Sequence[Ask], budget: Budget) -> Forecast:
    """What these requests will take."""
    tokens_in, tokens_out = sum(map(_tokens, asks)), REPLY_TOKENS * len(asks)
    return Forecast(len(asks), tokens_in, tokens_out, budget.cost(tokens_in, tokens_out))


def _tokens(ask: Ask) -> int:
    return sum(len(turn.content.encode()) for turn in ask.messages) // BYTES_A_TOKEN + 1
