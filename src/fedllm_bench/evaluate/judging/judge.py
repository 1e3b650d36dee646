"""Who judges: a server, a model on this machine, a rule, or a script."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fedllm_bench.endpoint import Endpoint, answers, said
from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.benchmarks.advbench import refuses
from fedllm_bench.evaluate.judging.rubric import JudgeItem, Rubric
from fedllm_bench.examples import Turn
from fedllm_bench.progress import SILENT, Progress

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Ask", "EndpointJudge", "Judge", "LocalJudge", "RuleJudge", "ScriptedJudge"]

Arrived = Callable[[int, str], None]
TRIES = 3  # where the server sends half an answer
FORGIVEN = 4  # requests that may fail before the others are given up


@dataclass(frozen=True, slots=True)
class _Refused:
    """A request that the server does not take as it is: too long, or filtered."""

    why: str


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

    @property
    def longest(self) -> int:
        """Most tokens of a reply that is paid for."""
        ...

    def reply(self, asks: Sequence[Ask], arrived: Arrived, progress: Progress) -> Mapping[int, str]:
        """Tell `arrived` the position and the text of each reply as soon as it is there; an empty one says nothing.

        Returns:
            by position, why a request has no reply and will have none.

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

    @property
    def longest(self) -> int:
        return self.max_tokens

    def takes(self, rubric: Rubric) -> bool:
        return True

    def reply(self, asks: Sequence[Ask], arrived: Arrived, progress: Progress = SILENT) -> Mapping[int, str]:
        refused: dict[int, str] = {}

        def took(position: int, reply: str | _Refused) -> None:
            if isinstance(reply, _Refused):
                refused[position] = reply.why
            else:
                arrived(position, reply)

        answers(self.endpoint, asks, self._asker(), progress, "judgements", took, FORGIVEN)
        return refused

    def _asker(self) -> "Callable[[AsyncOpenAI, Ask], Awaitable[str | _Refused]]":
        import openai

        settings: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        if self.seed is not None:
            settings["seed"] = self.seed

        async def ask(client: "AsyncOpenAI", one: Ask) -> str | _Refused:
            messages: Any = [{"role": turn.role, "content": turn.content} for turn in one.messages]
            for attempt in range(TRIES):
                sent = dict(settings)
                try:
                    answer: Any = await client.chat.completions.create(model=self.model, messages=messages, **sent)
                    return answer.choices[0].message.content or ""
                except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                    if error.param == "max_tokens" and "max_tokens" in sent:  # newer models have another word for it
                        settings.pop("max_tokens", None)
                        settings["max_completion_tokens"] = self.max_tokens
                    elif error.param in {"model", *sent}:
                        raise  # our settings are wrong, not this text
                    else:
                        return _Refused(
                            f"the server does not take it ({error.status_code}: {said(error, self.endpoint)})"
                        )
                except (openai.APIResponseValidationError, ValueError, TypeError, AttributeError, IndexError):
                    if attempt + 1 == TRIES:
                        raise
                    await asyncio.sleep(0.5 * (attempt + 1))
            return ""

        return ask


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
    longest = 0  # it costs nothing
    remark: str = ""

    @property
    def name(self) -> str:
        return f"{self.base}, local{self.remark}"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "local", "fingerprint": self.fingerprint}

    def takes(self, rubric: Rubric) -> bool:
        return True

    def reply(self, asks: Sequence[Ask], arrived: Arrived, progress: Progress = SILENT) -> Mapping[int, str]:
        self.answer([ask.messages for ask in asks], arrived, progress)
        return {}


@dataclass(frozen=True)
class RuleJudge:
    """Refusal phrases: harmless is what has one.

    Args:
        phrases: of refusal.
    """

    phrases: tuple[str, ...]
    longest = 0  # it costs nothing

    @property
    def name(self) -> str:
        return "rule (refusal phrases)"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "rule", "phrases": self.phrases}

    def takes(self, rubric: Rubric) -> bool:
        return "harmless" in rubric.verdicts

    def reply(self, asks: Sequence[Ask], arrived: Arrived, progress: Progress = SILENT) -> Mapping[int, str]:
        for position, ask in enumerate(asks):
            refused = refuses(ask.item.answer.turns[ask.item.turn - 1], self.phrases)
            arrived(position, "[[harmless]]" if refused else "[[harmful]]")
        return {}


@dataclass(frozen=True)
class ScriptedJudge:
    """Replies from a file of JSON lines: {"question": id, "turn": 1, "rubric": name, "reply": text}.

    Args:
        path: of the file.
    """

    path: Path
    longest = 0  # it costs nothing

    @property
    def name(self) -> str:
        return f"script {self.path.name}"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "scripted", "replies": sorted(self._replies().items())}

    def takes(self, rubric: Rubric) -> bool:
        return True

    def reply(self, asks: Sequence[Ask], arrived: Arrived, progress: Progress = SILENT) -> Mapping[int, str]:
        replies = self._replies()
        for position, ask in enumerate(asks):
            arrived(position, replies.get((ask.rubric.name, ask.item.question.id, ask.item.turn), ""))
        return {}

    def _replies(self) -> dict[tuple[str, str, int], str]:
        try:
            rows = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines() if line.strip()]
            return {(row["rubric"], str(row["question"]), int(row.get("turn", 1))): _text(row["reply"]) for row in rows}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path} holds no replies ({error})", "a line for each: question, turn, rubric and reply"
            ) from error


def _text(reply: object) -> str:
    if not isinstance(reply, str):
        raise TypeError(f"the reply {reply!r} is no text")
    return reply
