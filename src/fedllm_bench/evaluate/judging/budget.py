"""What judging will take, and what it may take."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fedllm_bench.examples import Turn

__all__ = ["Budget", "Forecast", "Messages", "forecast"]

Messages = Sequence[Turn]
MESSAGE_TOKENS = 8  # of a template, around each message
BYTES_A_TOKEN = 3  # a guess, on the safe side: English has about 4
REPLY_TOKENS = 300  # of a judge that explains itself in a few sentences
SECONDS_A_REPLY = 3.0  # of a large model's server; the bar has the true pace


@dataclass(slots=True, eq=False)
class Budget:
    """What judging may still take: it shrinks with every request, whichever benchmark asks, and is never exceeded.

    A request is paid for before it is sent, at the most that it can cost: a token for each byte and the longest reply
    that the judge may give. What the server then says it was less comes back.

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

    def pays(self, messages: Messages, longest: int) -> bool:
        """Take the most that a request can cost off what is left; False where that is not enough.

        Args:
            messages: that are sent.
            longest: most tokens of the reply.
        """
        cost = self.cost(_most(messages), longest)
        if (self.requests is not None and self.requests < 1) or (self.money is not None and cost > self.money):
            return False
        if self.requests is not None:
            self.requests -= 1
        if self.money is not None:
            self.money -= cost
        return True

    def settles(self, messages: Messages, longest: int, used: tuple[int, int]) -> None:
        """Give back what a request that was paid for has not cost.

        Args:
            messages: as paid for.
            longest: as paid for.
            used: tokens that were sent and that came back.
        """
        if self.money is not None:
            self.money += self.cost(_most(messages), longest) - self.cost(*used)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is about to be asked, at most; tokens are guessed from bytes, on the safe side.

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


def forecast(requests: Iterable[Messages], budget: Budget, longest: int) -> Forecast:
    """What the first of these requests will take, those that the budget is likely to pay for.

    Args:
        requests: in the order in which they are asked.
        budget: what is left; it stays as it is.
        longest: most tokens of a reply that is paid for; 0 where none is.
    """
    left, count, tokens_in = replace(budget), 0, 0
    reply = min(REPLY_TOKENS, longest or REPLY_TOKENS)
    for messages in requests:
        if not left.pays(messages, longest):
            break
        likely = sum(len(turn.content.encode()) for turn in messages) // BYTES_A_TOKEN + 1
        left.settles(messages, longest, (likely, reply if longest else 0))
        count, tokens_in = count + 1, tokens_in + likely
    tokens_out = count * reply
    return Forecast(count, tokens_in, tokens_out, budget.cost(tokens_in, tokens_out))


def _most(messages: Messages) -> int:
    """No tokenizer makes more tokens of a text than it has bytes."""
    return sum(len(turn.content.encode()) + MESSAGE_TOKENS for turn in messages)
