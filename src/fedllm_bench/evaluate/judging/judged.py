"""Judgements of many answers: asked once, asked again once where no score can be read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedllm_bench.evaluate.judging.budget import Budget, Forecast, forecast
from fedllm_bench.evaluate.judging.cache import Replies, keys_of, open_replies
from fedllm_bench.evaluate.judging.judge import Ask, Judge
from fedllm_bench.evaluate.judging.rubric import JudgeItem, Rubric
from fedllm_bench.evaluate.judging.verdict import score_of
from fedllm_bench.examples import Turn
from fedllm_bench.progress import SILENT, Progress

__all__ = ["Budget", "Forecast", "Judgment", "forecast", "judged"]


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
        silent = [at for at, one in enumerate(first) if one.text is not None and score_of(one.text, rubric) is None]
        second = dict(zip(silent, court.hear([_again(asks[at], first[at].text) for at in silent]), strict=True))
    identity = rubric.identity
    heard = ([one, second[at]] if at in second else [one] for at, one in enumerate(first))
    return [_judgment(judge.name, rubric, identity, item, each) for item, each in zip(items, heard, strict=True)]


@dataclass(frozen=True, slots=True)
class _Heard:
    """A reply, or why there is none."""

    text: str | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Court:
    """Who is asked, by what, and at whose expense."""

    judge: Judge
    rubric: Rubric
    replies: Replies
    budget: Budget
    progress: Progress
    foretold: Callable[[Forecast], object]

    def hear(self, asks: Sequence[Ask]) -> list[_Heard]:
        """The reply to every request, from the cache where it has one."""
        if not asks:
            return []
        keys = keys_of(self.judge, self.rubric, asks)
        known = {key: _Heard(text) for key, text in self.replies.known(list(dict.fromkeys(keys))).items()}
        missing = {key: ask for key, ask in zip(keys, asks, strict=True) if key not in known}
        paid = [(key, ask) for key, ask in missing.items() if self.budget.pays(ask, self.judge.longest)]
        known.update(self._asked(paid))
        return [known.get(key, _Heard(None, "the budget is used up")) for key in keys]

    def _asked(self, requests: Sequence[tuple[bytes, Ask]]) -> dict[bytes, _Heard]:
        heard: dict[bytes, _Heard] = {}
        asks = [ask for _, ask in requests]

        def arrived(position: int, reply: str) -> None:
            key = requests[position][0]
            heard[key] = _Heard(reply)
            if reply:  # an empty reply may be a passing failure: it is asked for again another time
                self.replies.keep(key, reply)

        if asks:
            self.foretold(forecast(asks, self.budget))
            refused = self.judge.reply(asks, arrived, self.progress)
            heard.update({requests[position][0]: _Heard(None, why) for position, why in refused.items()})
        return heard


def _judgment(judge: str, rubric: Rubric, identity: str, item: JudgeItem, heard: Sequence[_Heard]) -> Judgment:
    raw = tuple(one.text for one in heard if one.text is not None)
    scores = [score for text in raw if (score := score_of(text, rubric)) is not None]
    reason = "" if scores else heard[-1].why or "no score in the reply"
    return Judgment(item, identity, judge, scores[0] if scores else None, reason, raw)


def _again(ask: Ask, reply: str | None) -> Ask:
    said = (Turn("assistant", reply or "(nothing)"), Turn("user", ask.rubric.reminder))
    return Ask((*ask.messages, *said), ask.item, ask.rubric)
