"""Answers with a judge's scores, and the judgements on disk."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedllm_bench import records
from fedllm_bench.benchmark_scores import ItemScore
from fedllm_bench.evaluate.bench import Bench, Options, Said
from fedllm_bench.evaluate.judging.judge import Judge, told_of_judge
from fedllm_bench.evaluate.judging.judged import Judgment, judged
from fedllm_bench.evaluate.judging.mt_bench import mt_bench_rubric
from fedllm_bench.evaluate.judging.rubric import Rubric, own_rubric, turns_of
from fedllm_bench.evaluate.questions import Question
from fedllm_bench.progress import SILENT, Progress
from fedllm_bench.store import replacing

__all__ = ["Judged", "judge_answers", "rubric_of", "scored"]


@dataclass(frozen=True)
class Judged:
    """What a judge says of a candidate's answers to one benchmark.

    Args:
        judgments: by question and turn; empty without a judge.
        settings: for the record: what was asked, judge, rubric with its scale, and the file of judgements.
        absent: why there are no judgements; empty where there are.
    """

    judgments: dict[tuple[str, int], Judgment]
    settings: dict[str, Any]
    absent: str = ""


def rubric_of(options: Options, benchmark: str, progress: Progress = SILENT) -> Rubric:
    """The user's rubric for a benchmark, or else the package's, or the authors' own."""
    if benchmark in options.rubrics:
        return options.rubrics[benchmark]
    return mt_bench_rubric(progress) if benchmark == "mt-bench" else own_rubric(benchmark)


def judge_answers(bench: Bench, benchmark: str, said: Said, rubric: Rubric) -> Judged:
    """Have every answer of a candidate judged, and write the judgements beside its answers.

    Raises:
        JudgeError: the judge cannot go on.
    """
    judge, asked = bench.options.judge, {"questions": _hash([repr(question) for question in said.questions])}
    if judge is None:
        settings = {**asked, "judge": None, "rubric": rubric.identity}
        return Judged({}, settings, "no judge: name one with --judge")
    if not judge.takes(rubric):
        return Judged({}, {**asked, **_named(judge, rubric)}, f"{judge.name} cannot judge this")
    found = _heard(bench, benchmark, said, judge, rubric)
    by = _hash([judge.identity, rubric.identity])
    path = said.candidate.folder / "judgments" / f"{Path(said.file).stem}-{by}.jsonl"
    with replacing(path) as scratch:
        records.append(scratch, *(_record(benchmark, judge, each) for each in found))
    by_turn = {(each.item.question.id, each.item.turn): each for each in found}
    return Judged(by_turn, {**asked, **_named(judge, rubric), "judgments": path.name})


def _heard(bench: Bench, benchmark: str, said: Said, judge: Judge, rubric: Rubric) -> list[Judgment]:
    who, options = f"{benchmark}, {said.candidate.name}: {judge.name}", bench.options
    items = turns_of(said.questions, said.answers)
    with told_of_judge():
        return judged(
            judge,
            rubric,
            items,
            bench.cache,
            options.budget,
            bench.progress,
            lambda forecast: options.tell(f"{who}: {forecast}"),
        )


def scored(metric: str, judged: Judged, said: Said, turns: Sequence[int] | None = None) -> Iterator[ItemScore]:
    """An item for each question: the mean over its turns, or over those given; unscored where one of them is."""
    for question in said.questions:
        wanted = turns or range(1, len(question.turns) + 1)
        found = [judged.judgments.get((question.id, turn)) for turn in wanted]
        scores = [None if each is None else each.score for each in found]
        reasons = [judged.absent if each is None else each.unscored for each in found]
        whole = [score for score in scores if score is not None]
        is_whole = len(whole) == len(scores)
        yield item(metric, question, sum(whole) / len(whole) if is_whole else None, next(filter(None, reasons), ""))


def item(metric: str, question: Question, score: float | None, unscored: str = "") -> ItemScore:
    """The score of a question."""
    reason = "" if score is not None else unscored
    return ItemScore(metric, question.id, score, reason, question.category, question.language)


def _named(judge: Judge, rubric: Rubric) -> dict[str, Any]:
    """Who judges and by what: scores are compared where all of it is equal."""
    return {
        "judge": judge.name,
        "judge_identity": _hash(judge.identity),
        "judge_settings": _settings(judge),
        "rubric": rubric.identity,
        "scale": [min(scale), max(scale)] if (scale := rubric.verdicts.values()) else [rubric.low, rubric.high],
    }


def _settings(judge: Judge) -> dict[str, float | None]:
    """What tells two judges of one name apart in words: temperature, seed, tokens of a reply."""
    return {key: value for key, value in judge.identity.items() if value is None or isinstance(value, int | float)}


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


def _record(benchmark: str, judge: Judge, judgment: Judgment) -> dict[str, Any]:
    # `agreement` compares seeds of one judge, too: they have one name.
    told = [f"{key} {value:g}" for key, value in _settings(judge).items() if value is not None]
    return {
        "question": judgment.item.question.id,
        "turn": judgment.item.turn,
        "metric": benchmark,
        "judge": ", ".join([judgment.judge, *told]),
        "judge_identity": _hash(judge.identity),
        "rubric": judgment.rubric,
        "score": judgment.score,
        "unscored": judgment.unscored,
        "raw": list(judgment.raw),
    }
