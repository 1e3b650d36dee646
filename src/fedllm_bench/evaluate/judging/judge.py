"""Who judges: what every judge is asked and gives, and the judge behind a server."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fedllm_bench.endpoint import Endpoint, answers, said
from fedllm_bench.errors import FedLLMError
from fedllm_bench.evaluate.judging.budget import Budget
from fedllm_bench.evaluate.judging.rubric import JudgeItem, Rubric
from fedllm_bench.examples import Turn
from fedllm_bench.extras import needed
from fedllm_bench.patience import nothing_sent
from fedllm_bench.progress import SILENT, Progress

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

__all__ = ["Arrived", "Ask", "EndpointJudge", "Judge", "JudgeError", "Reply", "told_of_judge"]

FORGIVEN = 4  # requests that may fail before the others are given up
TOO_LARGE = 413
GREETING = 10.0  # seconds for a server's first sign of life
ENDINGS: Mapping[object, Literal["whole", "cut"]] = {"stop": "whole", "length": "cut", "content_filter": "whole"}
OTHER_WORD = re.compile(r"max_tokens\b.*(?:unsupported|not supported|instead)|unsupported.*max_tokens\b", re.DOTALL)


class JudgeError(FedLLMError):
    """The judge cannot go on; nothing is missing, and what has arrived is kept."""


@contextmanager
def told_of_judge() -> Iterator[None]:
    """Turn what a judge cannot do into `JudgeError`s."""
    try:
        yield
    except FedLLMError as error:
        raise JudgeError(error.message, error.hint) from error


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


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Args:
        text: the judge's words; where it is refused, the server's.
        ending: whole; cut at the most tokens of a reply; refused: the server does not take such a request; odd: it
            says nothing for no known reason, and may say something another time.
    """

    text: str
    ending: Literal["whole", "cut", "refused", "odd"] = "whole"


Arrived = Callable[[int, Reply], None]


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

    @property
    def goes_by_name(self) -> bool:
        """Whether it replies to the question's id, not to what it is told."""
        ...

    def ready(self) -> None:
        """See that it is there, before models spend hours on what it is to judge.

        Raises:
            FedLLMError: it is not.
        """
        ...

    def reply(self, asks: Sequence[Ask], arrived: Arrived, budget: Budget, progress: Progress) -> None:
        """Tell `arrived` the position and the reply of each request, each as soon as it is there.

        A request that the budget does not pay for is not sent, and has no reply.

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
    goes_by_name = False

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

    def ready(self) -> None:
        """Any answer to a request that costs nothing is a sign of life, be it a refusal."""
        openai: Any = needed("openai", "analysis", f"requests to {self.endpoint.server}")

        async def greet(client: "AsyncOpenAI", address: str) -> None:
            with suppress(openai.APIStatusError):
                await client.get(address, cast_to=str)

        answers(replace(self.endpoint, retries=1, timeout=GREETING), ["/models"], greet)

    def reply(self, asks: Sequence[Ask], arrived: Arrived, budget: Budget, progress: Progress = SILENT) -> None:
        openai: Any = needed("openai", "analysis", f"requests to {self.endpoint.server}")
        settings: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        if self.seed is not None:
            settings["seed"] = self.seed
        unbilled: set[int] = set()  # paid for, and refused: to send it again is free

        async def send(client: "AsyncOpenAI", position: int) -> Reply | None:
            messages, sent = asks[position].messages, dict(settings)
            if position in unbilled:
                unbilled.remove(position)
            elif not budget.pays(messages, self.max_tokens):
                return None
            told: Any = [{"role": turn.role, "content": turn.content} for turn in messages]
            try:
                answer: Any = await client.chat.completions.create(model=self.model, messages=told, **sent)
            except openai.APIStatusError as error:
                unbilled.add(position)
                if self._wants_other_word(error, sent):
                    settings["max_completion_tokens"] = settings.pop("max_tokens", self.max_tokens)
                    return await send(client, position)
                refused = self._refused(error, sent)
                if refused is None:
                    raise
                budget.settles(messages, self.max_tokens, (0, 0))
                return refused
            except openai.APIConnectionError as error:
                if nothing_sent(error):
                    unbilled.add(position)
                raise
            used = _used(answer)
            if used is not None:
                budget.settles(messages, self.max_tokens, used)
            return _reply(answer)

        def took(position: int, reply: Reply | None) -> None:
            if reply is not None:
                arrived(position, reply)

        answers(self.endpoint, range(len(asks)), send, progress, "judgements", took, FORGIVEN)

    def _wants_other_word(self, error: "APIStatusError", sent: Mapping[str, Any]) -> bool:
        """Newer models have another word for `max_tokens`."""
        if error.status_code not in (400, 422) or "max_tokens" not in sent:
            return False
        return error.param == "max_tokens" or OTHER_WORD.search(said(error, self.endpoint).lower()) is not None

    def _refused(self, error: "APIStatusError", sent: Mapping[str, Any]) -> Reply | None:
        """What the server says of a text that is too long, or filtered; None where it is not the text that is wrong."""
        settings_are_wrong = isinstance(error.param, str) and error.param in {"model", "max_tokens", *sent}
        if error.status_code not in (400, TOO_LARGE, 422) or settings_are_wrong:
            return None
        return Reply(f"the server does not take it ({error.status_code}: {said(error, self.endpoint)})", "refused")


def _reply(answer: Any) -> Reply:
    """The reply in a server's answer; an error where it is of another form than the protocol's."""
    choice = answer.choices[0]
    content = "" if choice.message.content is None else choice.message.content
    if not isinstance(content, str):
        raise TypeError(f"a reply that is no text but {type(content).__name__}")
    ending = getattr(choice, "finish_reason", None)
    known = ENDINGS.get(ending) if isinstance(ending, str) else None
    return Reply(content, known or ("whole" if content else "odd"))


def _used(answer: Any) -> tuple[int, int] | None:
    """Tokens that were sent and that came back, where the server says so."""
    usage = getattr(answer, "usage", None)
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    sent, back, total = (count if isinstance(count, int) and count >= 0 else 0 for count in counts)
    # What a model thinks is in the total alone on some servers. Nothing sent is nothing counted.
    return (sent, max(back, total - sent)) if sent and (back or total > sent) else None
