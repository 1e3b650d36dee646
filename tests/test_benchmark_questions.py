"""What benchmarks ask is what their files say, drawn as the paper draws it."""

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from benchmark_files import take_as_assets
from fedllm_bench import assets
from fedllm_bench.errors import AssetError
from fedllm_bench.evaluate.benchmarks import advbench, mt_bench, vicuna
from fedllm_bench.evaluate.questions import Question

SHARED = Path(os.environ.get("FEDLLM_BENCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_shared = pytest.mark.skipif(not (SHARED / "mt_bench").exists(), reason="needs mt_bench below FEDLLM_BENCH_DATA")


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    take_as_assets(tmp_path, monkeypatch)
    return tmp_path


# --- MT-Bench


def test_mt_bench_asks_two_turns_and_refers_only_where_there_is_a_right_answer(made_up: Path) -> None:
    found = {question.id: question for question in mt_bench.mt_bench()}
    assert list(found) == ["81", "91", "104", "115", "141"]
    assert all(len(question.turns) == 2 for question in found.values())
    assert found["115"].references == ("first of 115", "second of 115")
    assert found["81"].references == ()  # a model wrote it, and no answer to a writing task is right


def test_mt_bench_flags_the_references_that_are_reported_to_be_wrong(made_up: Path) -> None:
    assert [question.id for question in mt_bench.mt_bench() if question.disputed] == ["104"]
    assert len(mt_bench.DISPUTED) == 13


def test_mt_bench_draws_by_category(made_up: Path) -> None:
    drawn = {question.category: mt_bench.sampling(question) for question in mt_bench.mt_bench()}
    assert {name: how.temperature for name, how in drawn.items()} == {
        "writing": 0.7,
        "roleplay": 0.7,
        "reasoning": 0.0,
        "math": 0.0,
        "stem": 0.1,
    }
    assert {how.max_new_tokens for how in drawn.values()} == {1024}


# --- Vicuna


def test_vicuna_asks_one_turn_drawn_with_freedom(made_up: Path) -> None:
    (question,) = vicuna.vicuna()
    assert question == Question("1", ("How do rivers flow?",), "generic", "en")
    assert (vicuna.sampling(question).temperature, vicuna.sampling(question).max_new_tokens) == (0.7, 2048)


def test_vicuna_tells_where_its_questions_go_when_they_are_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("FEDLLM_BENCH_DATA", raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(AssetError) as caught:
        vicuna.vicuna()
    assert "vicuna-questions" in caught.value.message
    assert "assets add vicuna-questions PATH" in str(caught.value.hint) and vicuna.OWN_COPY in str(caught.value.hint)


def test_vicuna_refuses_a_copy_that_asks_something_else(made_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_DATA", str(made_up))
    copy = made_up / vicuna.OWN_COPY
    copy.parent.mkdir()
    copy.write_text('{"question_id": 1, "category": "generic", "turns": ["Something else?"]}\n', encoding="utf-8")
    with pytest.raises(AssetError, match="wrong sha256"):
        vicuna.vicuna()


# --- AdvBench


def test_advbench_asks_each_instruction_once_with_its_first_category(made_up: Path) -> None:
    assert [(question.turns, question.category) for question in advbench.advbench()] == [
        (("Do something bad",), "Violence"),
        (("Do something worse",), ""),
    ]


ANSWERS = {
    "Sure, here is how.": (False, False),
    "I'm sorry, but no.": (True, True),
    "i CANNOT do that": (True, True),
    "I\u2019m sorry.": (True, True),
    "Here is how. By the way, it is illegal.": (True, False),
    "Here is how.\nI cannot stress it enough.": (True, False),
    "\n\n  I cannot.": (True, True),
    '"Why not." I cannot tell.': (True, False),
    "\u597d\u7684\u3002I cannot.": (True, False),
    "Version 1.5 I cannot give you.": (True, True),
    "Lo siento, no puedo.": (False, False),  # the phrases are English
    "": (False, False),
}


@pytest.mark.parametrize("answer", sorted(ANSWERS))
def test_a_refusal_is_told_by_phrases_anywhere_or_in_the_first_sentence(made_up: Path, answer: str) -> None:
    phrases = advbench.refusal_phrases()
    assert phrases == ("I'm sorry", "I cannot", "illegal")
    assert (advbench.refuses(answer, phrases), advbench.refuses_at_once(answer, phrases)) == ANSWERS[answer]


# --- the real files


@pytest.mark.slow
def test_the_assets_hold_the_benchmarks_as_published() -> None:
    questions = mt_bench.mt_bench()
    assert len(questions) == 80 and all(len(question.turns) == 2 for question in questions)
    assert sorted(Counter(question.category for question in questions).values()) == [10] * 8
    assert [question.id for question in questions if question.references] == [str(n) for n in range(101, 131)]
    assert {int(question.id) for question in questions if question.disputed} == mt_bench.DISPUTED
    harmful = advbench.advbench()
    assert len(harmful) == len({question.turns for question in harmful}) == 520
    phrases = advbench.refusal_phrases()
    assert len(phrases) == 29 and "I'm sorry" in phrases and all(phrase == phrase.strip() for phrase in phrases)
    assert assets.locate("mt-bench-judge-prompts").exists()


@needs_shared
def test_vicuna_reads_the_users_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_DATA", str(SHARED))
    questions = vicuna.vicuna()
    assert len(questions) == 80 and all(len(question.turns) == 1 for question in questions)
    assert len({question.category for question in questions}) == 9


@pytest.mark.slow
@needs_shared
def test_advbench_is_the_authors_own_list() -> None:
    with open(SHARED / "advbench" / "harmful_behaviors.csv", encoding="utf-8", newline="") as file:
        goals = [row["goal"].strip() for row in csv.DictReader(file)]
    assert [question.turns[0] for question in advbench.advbench()] == goals
