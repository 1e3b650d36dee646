"""Judgements of many answers: asked once, asked again once where no score can be read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedllm_bench.evaluate.judging.budget import Budget, Forecast, forecast
from fedllm_bench.evaluate.judging.cache import Replies, keys_of, open_replies
from fedllm_bench.evaluate.judging.judge import Ask, Judge, Reply
from fedllm_bench.evaluate.judging.rubric import JudgeItem, Rubric
from fedllm_bench.evaluate.judging.verdict import score_of
from fedllm_bench.examples import Turn
from fedllm_bench.progress import SILENT, Progress

__all__ = ["Budget", "Forecast", "Judgment", "forecast", "judged"]

UNPAID = Reply("the budget is used up", "refused")


@dataclass(frozen=True, slots=True)
class Judgment:
    """What a judge says of an answer.

    Args:
        item: the answer.
        rubric: its identity.
        judge: its name.
        score: None where no score can be read.
        unscored: why; empty where there is a score.
        raw: the judge's replies.
    """

    item: JudgeItem
    rubric: str
    judge: str
    score: float | None
    unscored: str
    raw: tuple[str, ...]


def judged(
    judge: Judge,
    rubric: Rubric,
    items: Sequence[JudgeItem],
    cache: Path,
    budget: Budget | None = None,
    progress: Progress = SILENT,
    foretold: Callable[[Forecast], object] = lambda forecast: None,
) -> list[Judgment]:
    """The judgement of every answer, in their order.

    A reply is kept when it arrives, under the judge, the rubric's words and what was sent, so that nothing is asked
    twice. A reply without a score is asked for once more with a reminder of the form; then the answer is unscored.

    Args:
        judge: who judges.
        rubric: what it is told.
        items: the answers.
        cache: the cache folder; replies go to `judgements.sqlite` in it.
        budget: what is left to spend; None for any amount. It is less afterwards.
        progress: shows the replies as they arrive.
        foretold: told what is about to be asked, before it is.

    Raises:
        FedLLMError: the judge cannot go on; what has arrived is kept.
    """
    asks = [Ask(rubric.messages(item), item, rubric) for item in items]
    with open_replies(cache / "judgements.sqlite") as replies:
        court = _Court(judge, rubric, replies, budget or Budget(), progress, foretold)
        first = court.hear(asks)
        again = [at for at, one in enumerate(first) if _is_said(one) and _score(one, rubric) is None]
        second = dict(zip(again, court.hear([_reminded(asks[at], first[at].text) for at in again]), strict=True))
    identity = rubric.identity
    heard = ([one, second[at]] if at in second else [one] for at, one in enumerate(first))
    return [_judgment(judge.name, rubric, identity, item, each) for item, each in zip(items, heard, strict=True)]


@dataclass(frozen=True, slots=True)
class _Court:
    """Who is asked, by what, and at whose expense."""

    judge: Judge
    rubric: Rubric
    replies: Replies
    budget: Budget
    progress: Progress
    foretold: Callable[[Forecast], object]

    def hear(self, asks: Sequence[Ask]) -> list[Reply]:
        """The reply to every request, from the cache where it has one."""
        if not asks:
            return []
        keys = keys_of(self.judge, self.rubric, asks)
        known = self.replies.known(list(dict.fromkeys(keys)))
        missing = {key: ask for key, ask in zip(keys, asks, strict=True) if key not in known}
        # Replies that are shorter than foretold leave money for more requests.
        while heard := self._ask(missing):
            known.update(heard)
            missing = {key: ask for key, ask in missing.items() if key not in heard}
        return [known.get(key, UNPAID) for key in keys]

    def _ask(self, missing: Mapping[bytes, Ask]) -> dict[bytes, Reply]:
        """What the judge replies to the first requests, those that the budget is likely to pay for; it is kept."""
        found = forecast((ask.messages for ask in missing.values()), self.budget, self.judge.longest)
        requests = list(missing.items())[: found.requests]
        heard: dict[bytes, Reply] = {}

        def arrived(position: int, reply: Reply) -> None:
            key = requests[position][0]
            # JSON may hold half a letter, which is no text to a file.
            heard[key] = reply = replace(reply, text=reply.text.encode("utf-8", "replace").decode())
            if reply.ending != "odd":
                self.replies.keep(key, reply)

        if requests:
            self.foretold(found)
            self.judge.reply([ask for _, ask in requests], arrived, self.budget, self.progress)
        return heard


def _is_said(reply: Reply) -> bool:
    """Whether it is the judge's words."""
    return reply.ending != "refused"


def _score(reply: Reply, rubric: Rubric) -> float | None:
    return score_of(reply.text, rubric, reply.ending == "cut") if _is_said(reply) else None


def _judgment(judge: str, rubric: Rubric, identity: str, item: JudgeItem, heard: Sequence[Reply]) -> Judgment:
    scores = [score for one in heard if (score := _score(one, rubric)) is not None]
    reason = "" if scores else _why_unscored(heard[-1])
    raw = tuple(one.text for one in heard if _is_said(one))
    return Judgment(item, identity, judge, scores[0] if scores else None, reason, raw)


def _why_unscored(last: Reply) -> str:
    if not _is_said(last):
        return last.text
    return "no score in the reply" + (", which was cut: give it more tokens" if last.ending == "cut" else "")


def _reminded(ask: Ask, reply: str) -> Ask:
    reminder = ask.rubric.reminder_in(ask.item.question.language)
    said = (Turn("assistant", reply or "(nothing)"), Turn("user", reminder))
    return Ask((*ask.messages, *said), ask.item, ask.rubric)
