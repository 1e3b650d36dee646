"""What scores and judgements keep of a judge: enough to tell two settings of one model apart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedllm_bench import records
from fedllm_bench.analysis.terms import judge_of, names_of
from fedllm_bench.benchmark_scores import Scores
from fedllm_bench.endpoint import Endpoint
from fedllm_bench.evaluate.bench import Bench, Options, Said
from fedllm_bench.evaluate.engine import Candidate
from fedllm_bench.evaluate.judged_scores import Judged, judge_answers
from fedllm_bench.evaluate.judging.agreement import agreements
from fedllm_bench.evaluate.judging.judge import EndpointJudge
from fedllm_bench.evaluate.judging.rubric import own_rubric
from fedllm_bench.evaluate.questions import Answer, Question
from served import Body, Served, Talk, served

QUESTIONS = tuple(Question(str(number), (f"What is {number} plus {number}?",)) for number in range(3))


def rating(talk: Talk, body: Body) -> None:
    """A rating that depends on the seed."""
    message = {"role": "assistant", "content": f"Rating: [[{3 + (body.get('seed') or 0)}]]"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    talk.reply(200, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(rating) as found:
        yield found


def judged(folder: Path, server: Served | None, questions: tuple[Question, ...] = QUESTIONS, **settings: Any) -> Judged:
    judge = EndpointJudge(Endpoint(server.address, "key", 2), "m", **settings) if server else None
    unused: Any = None
    bench = Bench(unused, [], unused, None, Options(judge=judge), folder)
    answers = [Answer(question.id, ("Four.",), (True,), (2,), (False,)) for question in questions]
    candidate = Candidate("fedavg", folder / "run", None, "a")
    return judge_answers(bench, "vicuna", Said(candidate, questions, answers, "vicuna-a.jsonl"), own_rubric("vicuna"))


def test_temperature_and_seed_make_another_judge_of_the_same_name(tmp_path: Path, server: Served) -> None:
    many = [
        judged(tmp_path, server, **settings).settings
        for settings in ({}, {"temperature": 1.0}, {"seed": 2}, {"max_tokens": 9})
    ]
    assert len({own["judge"] for own in many}) == 1 and len({own["judge_identity"] for own in many}) == 4
    judges = [judge for own in many if (judge := judge_of(Scores("vicuna", settings=own))) is not None]
    name = many[0]["judge"]
    assert list(names_of(judges[:1]).values()) == [name]
    assert set(names_of([judges[0], judges[2]]).values()) == {f"{name} (seed 2)", f"{name} (seed None)"}
    assert judged(tmp_path, server).settings == many[0]


def test_agreement_says_which_seed_said_what(tmp_path: Path, server: Served) -> None:
    for seed in (1, 2):
        judged(tmp_path, server, seed=seed)
    (row,) = agreements(tmp_path / "run")
    first, second = row["judges"]
    assert row["count"] == 3 and {"seed 1" in first, "seed 1" in second} == {True, False}
    assert "temperature 0" in first


def test_a_judgement_says_by_which_settings_it_was_made(tmp_path: Path, server: Served) -> None:
    settings = judged(tmp_path, server, seed=7).settings
    rows = list(records.read(tmp_path / "run" / "judgments" / settings["judgments"]))
    assert {row["judge_identity"] for row in rows} == {settings["judge_identity"]}


def test_the_scale_is_kept_with_the_rubric(tmp_path: Path, server: Served) -> None:
    assert judged(tmp_path, server).settings["scale"] == [1.0, 10.0]


def test_what_was_asked_is_kept_whoever_judges(tmp_path: Path, server: Served) -> None:
    asked = judged(tmp_path, server).settings["questions"]
    assert judged(tmp_path, None).settings["questions"] == asked
    assert judged(tmp_path, None, QUESTIONS[:2]).settings["questions"] != asked
