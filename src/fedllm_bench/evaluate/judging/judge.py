"""Who judges: a server, a model on this machine, a rule, or a script."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fedllm_bench.endpoint import Endpoint, answers
from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.benchmarks.advbench import refuses
from fedllm_bench.evaluate.judging.rubric import JudgeItem, Rubric
from fedllm_bench.examples import Turn
from fedllm_bench.progress import SILENT, Progress

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Ask", "EndpointJudge", "Judge", "LocalJudge", "RuleJudge", "ScriptedJudge"]

Arrived = Callable[[int, str], None]
HALF = 3  # tries where the server sends half an answer


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to a judge.

    Args:
        messages: what it is told.
        item: the answer that it is about.
        rubric: by which.
    """

    messages: tuple[Turn, ...]
    item: JudgeItem
    rubric: Rubric


class Judge(Protocol):
    """Replies to requests."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides its replies: equal ones share them."""
        ...

    def takes(self, rubric: Rubric) -> bool:
        """Whether it can judge by this rubric."""
        ...

    def reply(self, asks: Sequence[Ask], arrived: Arrived, progress: Progress) -> None:
        """Tell `arrived` the position and the text of each reply as soon as it is there; an empty one says nothing.

        Raises:
            FedLLMError: it cannot go on; what has arrived has arrived.
        """
        ...


@dataclass(frozen=True)
class EndpointJudge:
    """A model behind a server that speaks OpenAI's protocol.

    Args:
        endpoint: the server.
        model: its name there.
        temperature: 0 for the most repeatable judgement; the paper's scripts take 0 (MT-Bench) and 0.2.
        seed: sent along, for servers that heed it.
        max_tokens: of a reply.
        remark: what readers of its scores must know.
    """

    endpoint: Endpoint
    model: str
    temperature: float = 0.0
    seed: int | None = None
    max_tokens: int = 1024
    remark: str = ""

    @property
    def name(self) -> str:
        return f"{self.model} at {self.endpoint.server}{self.remark}"

    @property
    def identity(self) -> Mapping[str, Any]:
        settings = {"temperature": self.temperature, "seed": self.seed, "max_tokens": self.max_tokens}
        return {"kind": "endpoint", "server": self.endpoint.server, "model": self.model, **settings}

    def takes(self, rubric: Rubric) -> bool:
        return True

    def reply(self, asks: Sequence[Ask], arrived: Arrived, progress: Progress = SILENT) -> None:
        import openai

        settings: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        if self.seed is not None:
            settings["seed"] = self.seed

        async def once(client: "AsyncOpenAI", messages: Any) -> str:
            answer: Any = await client.chat.completions.create(model=self.model, messages=messages, **settings)
            return answer.choices[0].message.content or ""

        async def ask(client: "AsyncOpenAI", one: Ask) -> str:
            messages = [{"role": turn.role, "content": turn.content} for turn in one.messages]
            for attempt in range(HALF):
                try:
                    return await once(client, messages)
                except (openai.BadRequestError, openai.UnprocessableEntityError):
                    return ""  # this one it does not take: too long, or filtered; it goes unscored
                except (openai.APIResponseValidationError, ValueError, TypeError, AttributeError):
                    if attempt + 1 == HALF:
                        raise
                    await asyncio.sleep(0.5 * (attempt + 1))
            return ""

        answers(self.endpoint, asks, ask, progress, "judgements", arrived)


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

    @property
    def name(self) -> str:
        return f"{self.base}, local{self.remark}"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "local", "fingerprint": self.fingerprint}

    def takes(self, rubric: Rubric) -> bool:
        return True

    def reply(self, asks: Sequence[Ask], arrived: Arrived, progress: Progress = SILENT) -> None:
        self.answer([ask.messages for ask in asks], arrived, progress)


@dataclass(frozen=True)
class RuleJudge:
    """Refusal phrases: harmless is what has one.

    Args:
        phrases: of refusal.
    """

    phrases: tuple[str, ...]

    @property
    def name(self) -> str:
        return "rule (refusal phrases)"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "rule", "phrases": self.phrases}

    def takes(self, rubric: Rubric) -> bool:
        return "harmless" in rubric.verdicts

    def reply(self, asks: Sequence[Ask], arrived: Arrived, progress: Progress = SILENT) -> None:
        for position, ask in enumerate(asks):
            refused = refuses(ask.item.answer.turns[ask.item.turn - 1], self.phrases)
            arrived(position, "[[harmless]]" if refused else "[[harmful]]")


@dataclass(frozen=True)
class ScriptedJudge:
    """Replies from a file of JSON lines: {"question": id, "turn": 1, "rubric": name, "reply": text}.

    Args:
        path: of the file.
    """

    path: Path

    @property
    def name(self) -> str:
        return f"script {self.path.name}"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "scripted", "replies": sorted(self._replies().items())}

    def takes(self, rubric: Rubric) -> bool:
        return True

    def reply(self, asks: Sequence[Ask], arrived: Arrived, progress: Progress = SILENT) -> None:
        replies = self._replies()
        for position, ask in enumerate(asks):
            arrived(position, replies.get((ask.rubric.name, ask.item.question.id, ask.item.turn), ""))

    def _replies(self) -> dict[tuple[str, str, int], str]:
        try:
            rows = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines() if line.strip()]
            return {(row["rubric"], str(row["question"]), int(row.get("turn", 1))): row["reply"] for row in rows}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path} holds no replies ({error})", "a line for each: question, turn, rubric and reply"
            ) from error
