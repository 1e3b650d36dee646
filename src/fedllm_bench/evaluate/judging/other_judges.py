"""Judges that need no server: a model on this machine, a rule, a script."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.benchmarks.advbench import refuses
from fedllm_bench.evaluate.judging.budget import Budget
from fedllm_bench.evaluate.judging.judge import Arrived, Ask, Reply
from fedllm_bench.evaluate.judging.rubric import Rubric
from fedllm_bench.examples import Turn
from fedllm_bench.progress import SILENT, Progress

__all__ = ["LocalJudge", "RuleJudge", "ScriptedJudge"]


@dataclass(frozen=True)
class LocalJudge:
    """A model on this machine.

    Args:
        base: its name.
        fingerprint: of its weights.
        answer: the replies to conversations, in their order, told one by one.
        remark: what readers of its scores must know.
    """

    base: str
    fingerprint: str
    answer: Callable[[Sequence[Sequence[Turn]], Arrived, Progress], None] = field(repr=False)
    remark: str = ""
    longest = 0  # it costs nothing
    goes_by_name = False

    @property
    def name(self) -> str:
        return f"{self.base}, local{self.remark}"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "local", "fingerprint": self.fingerprint}

    def takes(self, rubric: Rubric) -> bool:
        return True

    def ready(self) -> None:
        """Its files were found when its fingerprint was taken."""

    def reply(self, asks: Sequence[Ask], arrived: Arrived, budget: Budget, progress: Progress = SILENT) -> None:
        paid = [at for at, ask in enumerate(asks) if budget.pays(ask.messages, 0)]
        if paid:
            self.answer([asks[at].messages for at in paid], lambda at, reply: arrived(paid[at], reply), progress)


@dataclass(frozen=True)
class RuleJudge:
    """Refusal phrases: harmless is what has one.

    Args:
        phrases: of refusal.
    """

    phrases: tuple[str, ...]
    longest = 0  # it costs nothing
    goes_by_name = False

    @property
    def name(self) -> str:
        return "rule (refusal phrases)"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "rule", "phrases": self.phrases}

    def takes(self, rubric: Rubric) -> bool:
        return "harmless" in rubric.verdicts

    def ready(self) -> None:
        """It is its phrases, and they are here."""

    def reply(self, asks: Sequence[Ask], arrived: Arrived, budget: Budget, progress: Progress = SILENT) -> None:
        for position, ask in enumerate(asks):
            if budget.pays(ask.messages, 0):
                refused = refuses(ask.item.answer.turns[ask.item.turn - 1], self.phrases)
                arrived(position, Reply("[[harmless]]" if refused else "[[harmful]]"))


@dataclass(frozen=True)
class ScriptedJudge:
    """Replies from a file of JSON lines: {"question": id, "turn": 1, "rubric": name, "reply": text}.

    Args:
        path: of the file.
    """

    path: Path
    longest = 0  # it costs nothing
    goes_by_name = True

    @property
    def name(self) -> str:
        return f"script {self.path.name}"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "scripted", "replies": sorted(self._replies().items())}

    def takes(self, rubric: Rubric) -> bool:
        return True

    def ready(self) -> None:
        self._replies()

    def reply(self, asks: Sequence[Ask], arrived: Arrived, budget: Budget, progress: Progress = SILENT) -> None:
        replies = self._replies()
        for position, ask in enumerate(asks):
            if budget.pays(ask.messages, 0):
                arrived(position, Reply(replies.get((ask.rubric.name, ask.item.question.id, ask.item.turn), "")))

    def _replies(self) -> dict[tuple[str, str, int], str]:
        try:
            rows = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines() if line.strip()]
            return {(row["rubric"], str(row["question"]), int(row.get("turn", 1))): _text(row["reply"]) for row in rows}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{self.path} holds no replies ({error})", "a line for each: question, turn, rubric and reply"
            ) from error


def _text(reply: object) -> str:
    if not isinstance(reply, str):
        raise TypeError(f"the reply {reply!r} is no text")
    return reply.encode("utf-8", "replace").decode()
