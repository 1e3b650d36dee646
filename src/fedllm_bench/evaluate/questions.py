"""What a benchmark asks, and what a model answers."""

from dataclasses import asdict, dataclass
from typing import Any

from fedllm_bench.examples import Turn

__all__ = ["Answer", "Question"]


@dataclass(frozen=True, slots=True)
class Question:
    """One item of a benchmark that a model answers in words.

    Args:
        id: unlike any other of the benchmark.
        turns: what the user says, in order; the model's own answers come in between.
        category: such as "writing"; empty where the benchmark has none.
        language: BCP 47 code; empty where unknown.
        references: an answer for each turn that is right or written by a human; empty where there is none.
        disputed: the reference is reported to be wrong.
        history: what was said before the first turn.
    """

    id: str
    turns: tuple[str, ...]
    category: str = ""
    language: str = ""
    references: tuple[str, ...] = ()
    disputed: bool = False
    history: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answers to all turns of a question.

    Args:
        question: its id.
        turns: one text a turn.
        stopped: for each whether the model ended it by itself; False: it was cut at `max_new_tokens` or at the
            longest text that the model takes.
        tokens: of each, as generated.
        cut: for each whether the beginning of the conversation was left out, since the model takes no longer one.
    """

    question: str
    turns: tuple[str, ...]
    stopped: tuple[bool, ...]
    tokens: tuple[int, ...]
    cut: tuple[bool, ...]

    def record(self) -> dict[str, Any]:
        """As plain values, for JSON lines."""
        return asdict(self)
