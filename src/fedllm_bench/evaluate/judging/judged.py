"""Judgements of many answers: asked once, kept for ever, asked again once where no score can be read."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.judging.judge import Ask, Judge
from fedllm_bench.evaluate.judging.rubric import JudgeItem, Rubric
from fedllm_bench.evaluate.judging.verdict import score_of
from fedllm_bench.examples import Turn
from fedllm_bench.progress import SILENT, Progress

__all__ = ["Budget", "Forecast", "Judgment", "forecast", "judged"]

WAIT = 60.0  # seconds for another process that writes
AT_ONCE = 500  # keys in one question to the cache
LETTERS_A_TOKEN = 3.0  # fewer than in most texts, so that a forecast is rather too high
SECONDS_A_REPLY = 3.0  # of a large model's server; the bar has the true pace
REPLY_TOKENS = 300  # of a judge that explains itself in a few sentences


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


@dataclass(slots=True)
class Budget:
    """What is left to spend on judges; nothing is asked beyond it, by whatever benchmark it is asked for.

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

    def spend(self, asks: Sequence[Ask]) -> int:
        """How many of the requests, from the first, can be paid for; they are paid."""
        count = len(asks) if self.requests is None else min(len(asks), self.requests)
        for at, ask in enumerate(asks[:count]):
            cost = forecast([ask], self).cost
            if self.money is not None and cost > self.money:
                count = at
                break
            self.money = None if self.money is None else self.money - cost
        self.requests = None if self.requests is None else self.requests - count
        return count


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is about to be asked; tokens are counted by letters, on the safe side.

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
    tokens_in = sum(_tokens(ask) for ask in asks)
    tokens_out = REPLY_TOKENS * len(asks)
    cost = (tokens_in * budget.price_in + tokens_out * budget.price_out) / 1e6
    return Forecast(len(asks), tokens_in, tokens_out, cost)


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
    budget = budget or Budget()
    first = [Ask(rubric.messages(item), item, rubric) for item in items]
    with _replies(cache / "judgements.sqlite") as table:
        heard = _heard(judge, rubric, first, table, budget, progress, foretold)
        silent = [at for at, reply in enumerate(heard) if reply is not None and score_of(reply, rubric) is None]
        again = [_again(first[at], heard[at] or "") for at in silent]
        second = dict(zip(silent, _heard(judge, rubric, again, table, budget, progress, foretold), strict=True))
    return [_judgment(judge, ask, heard[at], second.get(at)) for at, ask in enumerate(first)]


def _judgment(judge: Judge, ask: Ask, first: str | None, second: str | None) -> Judgment:
    raw = tuple(reply for reply in (first, second) if reply is not None)
    scores = [score for reply in raw if (score := score_of(reply, ask.rubric)) is not None]
    reason = "" if scores else "the budget is used up" if first is None else "no score in the reply"
    return Judgment(ask.item, ask.rubric.identity, judge.name, scores[0] if scores else None, reason, raw)


def _again(ask: Ask, reply: str) -> Ask:
    said = (Turn("assistant", reply or "(nothing)"), Turn("user", ask.rubric.reminder))
    return Ask((*ask.messages, *said), ask.item, ask.rubric)


def _heard(
    judge: Judge,
    rubric: Rubric,
    asks: Sequence[Ask],
    table: sqlite3.Connection,
    budget: Budget,
    progress: Progress,
    foretold: Callable[[Forecast], object],
) -> list[str | None]:
    """The reply to every request, from the cache where it has one; None where the budget does not allow it."""
    if not asks:
        return []
    by = orjson.dumps([judge.identity, rubric.identity], option=orjson.OPT_SORT_KEYS)
    keys = [_key(by, ask) for ask in asks]
    known = dict(_known(table, list(dict.fromkeys(keys))))
    missing = {key: ask for key, ask in zip(keys, asks, strict=True) if key not in known}
    allowed = list(missing.items())[: budget.spend(list(missing.values()))]

    def arrived(position: int, reply: str) -> None:
        known[allowed[position][0]] = reply
        if reply:  # an empty reply may be a passing failure: it is asked for again another time
            table.execute("INSERT OR REPLACE INTO reply VALUES (?, ?)", (allowed[position][0], reply))

    if allowed:
        foretold(forecast([ask for _, ask in allowed], budget))
        judge.reply([ask for _, ask in allowed], arrived, progress)
    return [known.get(key) for key in keys]


def _tokens(ask: Ask) -> int:
    return round(sum(len(turn.content) for turn in ask.messages) / LETTERS_A_TOKEN) + 1


def _key(by: bytes, ask: Ask) -> bytes:
    """By the judge and rubric that decide the reply, and what is sent."""
    said = orjson.dumps([[turn.role, turn.content] for turn in ask.messages])
    return hashlib.sha256(by + said).digest()


def _known(table: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, str]]:
    for start in range(0, len(keys), AT_ONCE):
        some = keys[start : start + AT_ONCE]
        marks = ", ".join("?" * len(some))
        yield from table.execute(f"SELECT key, text FROM reply WHERE key IN ({marks})", some)


@contextmanager
def _replies(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=WAIT, isolation_level=None)) as table:
            table.execute("PRAGMA journal_mode = WAL")
            table.execute("PRAGMA synchronous = NORMAL")
            table.execute("CREATE TABLE IF NOT EXISTS reply (key BLOB PRIMARY KEY, text TEXT) WITHOUT ROWID")
            yield table
    except sqlite3.Error as error:
        raise DataError(f"{path} cannot be used ({error})", "remove it; what it holds is asked again") from error
