"""Ref-Judge asks unseen samples of the run's own data, or the paper's own test sets."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.benchmarks.ref_judge import ref_judge, sampling
from fedllm_bench.evaluate.benchmarks.test_sets import TEST_SETS
from fedllm_bench.examples import ChatExample, ClientData, Example, PreferenceExample, Turn
from made_up import People, chat, people

SHARED = Path(os.environ.get("FEDLLM_BENCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_sets = pytest.mark.skipif(
    not (SHARED / "fedllm_bench_testsets").exists(), reason="needs fedllm_bench_testsets below FEDLLM_BENCH_DATA"
)


@pytest.fixture(autouse=True)
def no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDLLM_BENCH_DATA", raising=False)


def crowd(*parts: tuple[Sequence[Example], Sequence[Example]], name: str = "people") -> People:
    """A person for each pair of a training and a held-out part."""
    return People(tuple(ClientData(f"p{i}", train, test) for i, (train, test) in enumerate(parts)), name)


def says(name: str, request: str, answer: str, **meta: str) -> ChatExample:
    return ChatExample(name, (Turn("user", request), Turn("assistant", answer)), "all", meta)


def test_as_many_samples_are_drawn_as_wanted_from_held_out_parts_alone() -> None:
    dataset = people(4, 4, 4, 4, held_out=30)
    ids = [question.id for question in ref_judge(dataset)]
    assert len(ids) == len(set(ids)) == 50
    assert all("/test/" in name for name in ids)
    assert {name.split("/")[0] for name in ids} == {"0", "1", "2", "3"}


def test_the_draw_follows_the_seed_and_not_who_holds_what() -> None:
    dataset = people(3, 3, 3, held_out=20)
    one, two, three = dataset.members
    dealt = People((replace(three, test=three.test[::-1]), two, one))
    assert ref_judge(dataset, 1, count=9) == ref_judge(dealt, 1, count=9)
    assert ref_judge(dataset, 1, count=9) != ref_judge(dataset, 2, count=9)


def test_a_smaller_draw_is_the_beginning_of_a_larger_one() -> None:
    dataset = people(3, 3, held_out=20)
    assert ref_judge(dataset, count=5) == ref_judge(dataset, count=15)[:5]


def test_what_any_client_trains_on_is_not_asked() -> None:
    tests = [says(f"held-out-{i}", f"question {i}", f"answer {i}") for i in range(10)]
    copied = [replace(one, id=f"copy of {one.id}") for one in tests[:6]]
    dataset = crowd(([chat("a")], tests), ([chat("b"), *copied], []))
    assert {question.id for question in ref_judge(dataset, count=4)} == {f"held-out-{i}" for i in range(6, 10)}


def test_a_sample_that_is_held_out_twice_is_asked_once() -> None:
    same = [says(name, "Tea?", "Yes.") for name in ("one", "two")]
    assert len(ref_judge(crowd(([chat("a")], same[:1]), ([chat("b")], same[1:])))) == 1


def test_the_last_turn_is_asked_after_its_history_and_the_answer_is_the_reference() -> None:
    turns = (
        Turn("system", "Be brief."),
        Turn("user", "Tea?"),
        Turn("assistant", "Yes."),
        Turn("user", "Milk?"),
        Turn("assistant", "No."),
    )
    (question,) = ref_judge(crowd(([chat("a")], [ChatExample("talk", turns)])))
    assert (question.id, question.turns, question.references) == ("talk", ("Milk?",), ("No.",))
    assert question.history == turns[:3]


def test_the_preferred_answer_is_the_reference() -> None:
    pair = PreferenceExample("pair", (Turn("user", "Tea or bread?"),), "Bread.", "Tea.")
    (question,) = ref_judge(crowd(([chat("a")], [pair])))
    assert (question.turns, question.references) == (("Tea or bread?",), ("Bread.",))


def test_a_preference_is_trained_on_where_both_answers_are_the_same() -> None:
    pair = PreferenceExample("pair", (Turn("user", "Tea or bread?"),), "Bread.", "Tea.")
    assert ref_judge(crowd(([replace(pair, id="other", rejected="Rain.")], [pair])))
    with pytest.raises(DataError, match="also trained on"):
        ref_judge(crowd(([replace(pair, id="copy")], [pair])))


def test_an_answer_to_nobody_is_not_asked() -> None:
    monologue = ChatExample("alone", (Turn("assistant", "Hello?"),))
    after_itself = ChatExample("twice", (Turn("user", "Tea?"), Turn("assistant", "Yes."), Turn("assistant", "Now.")))
    asked = ref_judge(crowd(([chat("a")], [monologue, after_itself, says("fine", "Tea?", "Yes.")])))
    assert [question.id for question in asked] == ["fine"]


def test_fed_aya_has_so_many_of_each_language() -> None:
    held_out = [
        says(f"{language}-{i}", f"{language} {i}?", "yes", language=language)
        for language in ("English", "Standard Arabic", "Telugu")
        for i in range(7 if language == "Telugu" else 40)
    ]
    asked = ref_judge(crowd(([chat("a")], held_out), name="fed-aya"))
    assert Counter(question.language for question in asked) == {"en": 20, "ar": 20, "te": 7}


@pytest.mark.parametrize(("name", "copy"), [("people", False), ("fed-wildchat", True)])
def test_without_held_out_samples_the_way_out_is_told(name: str, copy: bool) -> None:
    with pytest.raises(DataError) as caught:
        ref_judge(crowd(([chat("a")], []), name=name))
    assert "no samples are held out" in caught.value.message and name in caught.value.message
    assert "data.held_out" in str(caught.value.hint)
    assert ("FEDLLM_BENCH_DATA" in str(caught.value.hint)) == copy


def test_answers_are_drawn_as_the_paper_draws_them() -> None:
    (question,) = ref_judge(crowd(([chat("a")], [says("one", "Tea?", "Yes.")])))
    assert (sampling(question).temperature, sampling(question).max_new_tokens) == (0.7, 1024)


# --- the paper's test sets


def own_set(folder: Path, name: str, content: object) -> None:
    path = folder / TEST_SETS[name].file
    path.parent.mkdir()
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_copy_of_the_papers_test_set_comes_before_a_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_DATA", str(tmp_path))
    own_set(tmp_path, "fed-wildchat", [{"instruction": "Tea?", "language": "English"}])
    (question,) = ref_judge(crowd(([chat("a")], []), name="fed-wildchat"))
    assert (question.turns, question.language, question.references) == (("Tea?",), "en", ())
    dataset = people(3, held_out=2)
    assert len(ref_judge(dataset)) == 2  # others draw from their own


def test_a_file_that_is_no_test_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_DATA", str(tmp_path))
    own_set(tmp_path, "fed-aya", {"English": [{"instruction": "Tea?"}]})
    with pytest.raises(DataError, match=r"aya_eval_8lang_x20\.json is not the paper's test set") as caught:
        ref_judge(crowd(([chat("a")], []), name="fed-aya"))
    assert caught.value.hint


@needs_sets
def test_the_papers_own_files_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_DATA", str(SHARED))
    aya = ref_judge(crowd(([chat("a")], []), name="fed-aya"))
    assert Counter(question.language for question in aya) == dict.fromkeys(
        ["ar", "en", "es", "fr", "pt", "ru", "te", "zh"], 20
    )
    assert all(question.references[0].strip() for question in aya)
    assert len({question.id for question in aya}) == 160
    wildchat = ref_judge(crowd(([chat("a")], []), name="fed-wildchat"))
    assert len(wildchat) == 50 and not any(question.references for question in wildchat)
