"""Scores beside a reference are what definitions and the plain model say."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedllm_bench.benchmark_scores import ItemScore
from fedllm_bench.evaluate.engine import Candidate, Engine
from fedllm_bench.evaluate.questions import Answer, Question
from fedllm_bench.evaluate.reference import Words, reference_losses, similarities, text_scores
from fedllm_bench.examples import Turn
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.tensors import Tensors
from small_parts import SPEC, language_model, moved


def asked(name: str, reference: str | None, language: str = "en") -> Question:
    return Question(name, ("Why?",), "", language, () if reference is None else (reference,))


def said(name: str, text: str) -> Answer:
    return Answer(name, (text,), (True,), (1,), (False,))


def by_metric(scores: Sequence[ItemScore]) -> dict[str, float | None]:
    return {score.metric: score.score for score in scores}


def scored(text: str, reference: str) -> dict[str, float | None]:
    return by_metric(list(text_scores([asked("q", reference)], [said("q", text)])))


WORDS = {
    "Don't stop, caf\u00e9 no. 5!": ["don", "t", "stop", "caf\u00e9", "no", "5"],
    "\u041c\u043e\u0441\u043a\u0432\u0430 \u2014 \u0441\u0442\u043e\u043b\u0438\u0446\u0430": [
        "\u043c\u043e\u0441\u043a\u0432\u0430",
        "\u0441\u0442\u043e\u043b\u0438\u0446\u0430",
    ],
    "\u0647\u064e\u0644 \u0623\u0646\u062a\u061f": ["\u0647\u064e\u0644", "\u0623\u0646\u062a"],
    "\u0c24\u0c46\u0c32\u0c41\u0c17\u0c41 \u0c2d\u0c3e\u0c37": [
        "\u0c24\u0c46\u0c32\u0c41\u0c17\u0c41",
        "\u0c2d\u0c3e\u0c37",
    ],
    "\u5317\u4eac\u3002GPT4": ["\u5317", "\u4eac", "gpt4"],
    "\u5317\u4eacABC\u4eac": ["\u5317", "\u4eac", "abc", "\u4eac"],
    "\uff21\uff22\u3000\uff11\uff12": ["ab", "12"],
    "": [],
}


@pytest.mark.parametrize("text", sorted(WORDS), ids=range(len(WORDS)))
def test_words_are_found_in_any_script(text: str) -> None:
    assert Words().tokenize(text) == WORDS[text]


SAME = [
    "The sky is blue.",
    "\u0441\u0442\u043e\u043b\u0438\u0446\u0430",
    "\u0e2a\u0e35\u0e1f\u0e49\u0e32",
    "\u5317\u4eac",
]


@pytest.mark.parametrize("text", SAME, ids=range(len(SAME)))
def test_an_answer_that_is_the_reference_scores_most(text: str) -> None:
    found = scored(text, text)
    assert found == {"ref-chrf": pytest.approx(100), "ref-rouge-l": 1.0}


def test_an_empty_answer_scores_nothing() -> None:
    assert scored("", "The sky is blue.") == {"ref-chrf": 0.0, "ref-rouge-l": 0.0}


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence() -> None:
    # "the sky blue" of 4 and of 5 words: P = 3/4, R = 3/5.
    found = scored("The sky looks blue", "the sky is so blue")["ref-rouge-l"]
    assert found == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))


def test_rouge_l_sees_the_order_of_letters_in_chinese() -> None:
    assert scored("\u5317\u4eac\u662f\u9996\u90fd", "\u9996\u90fd\u662f\u5317\u4eac")["ref-rouge-l"] == pytest.approx(
        2 / 5
    )


def test_what_has_no_reference_goes_unscored_with_the_reason() -> None:
    questions, answers = [asked("q", None)], [said("q", "Because.")]
    found = [*text_scores(questions, answers), *similarities(questions, answers, letters)]
    assert [(score.metric, score.score, score.unscored) for score in found] == [
        ("ref-chrf", None, "no reference"),
        ("ref-rouge-l", None, "no reference"),
        ("ref-similarity", None, "no reference"),
    ]


def letters(texts: Sequence[str]) -> NDArray[np.float32]:
    """An embedding: how often each letter occurs."""
    return np.array([[text.count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)


def test_similarity_is_the_cosine_of_embeddings() -> None:
    questions = [asked("one", "ab"), asked("two", "ab"), asked("three", "ab")]
    answers = [said("one", "aabb"), said("two", "a"), said("three", " ")]
    one, two, three = similarities(questions, answers, letters)
    assert (one.score, two.score) == (pytest.approx(1), pytest.approx(0.5**0.5))
    assert (three.score, three.unscored) == (None, "an empty answer")
    assert {score.unscored for score in similarities(questions[:2], answers[:2], None)} == {"no embedder"}


# --- the loss of references


LONG = "rain " * 300  # more bytes, hence tokens, than the tiny model takes
QUESTIONS = [
    Question("short", ("Why does it rain?",), references=("Warm air rises and cools.",)),
    Question("none", ("Why?",)),
    Question(
        "talk",
        ("With milk?",),
        references=("No, as it is.",),
        history=(Turn("user", "Tea?"), Turn("assistant", "Yes.")),
    ),
    Question("long", (LONG,), references=("It never stops.",)),
    Question("longer", ("Why?",), references=(LONG,)),
]


def engine(folder: Path) -> Engine:
    model = language_model(folder)
    return Engine(model, Codec(model.tokenizer, "native", 64), "float32")


def by_hand(folder: Path, question: Question, adapter: Tensors | None) -> float:
    """The loss by Hugging Face's own model, the adapter merged into its weights; the last 1,024 tokens are read."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for name in {name.rsplit(".lora_", 1)[0] for name in adapter or {}}:
        assert adapter is not None
        merged = adapter[f"{name}.lora_B.weight"] @ adapter[f"{name}.lora_A.weight"]
        plain.get_submodule(name).weight.data += SPEC.scaling * merged
    turns = [*question.history, Turn("user", question.turns[0])]
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    before = tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    answer = tokenizer.encode(question.references[0])[: max(1024 - len(before), 512)]
    ids = [*before, *answer][-1024:]
    labels = [-100] * (len(ids) - len(answer)) + answer
    with torch.no_grad():
        return float(plain(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss)


def test_reference_losses_are_those_of_the_plain_model(tiny_model: Path) -> None:
    own = engine(tiny_model)
    adapters = [None, moved(own.model, 1), moved(own.model, 2)]
    candidates = [Candidate(str(i), Path(str(i)), adapter, str(i)) for i, adapter in enumerate(adapters)]
    for adapter, found in zip(adapters, reference_losses(own, candidates, QUESTIONS), strict=True):
        assert [score.item for score in found] == [question.id for question in QUESTIONS]
        assert (found[1].score, found[1].unscored) == (None, "no reference")
        for question, score in zip(QUESTIONS, found, strict=True):
            if question.references:
                assert score.score == pytest.approx(by_hand(tiny_model, question, adapter), rel=1e-4)


def test_reference_losses_of_the_base_need_no_adapter(tiny_model: Path) -> None:
    base = [Candidate("base", Path("base"), None, "base")]
    ((score, *_),) = reference_losses(engine(tiny_model), base, QUESTIONS[:1])
    assert score.score == pytest.approx(by_hand(tiny_model, QUESTIONS[0], None), rel=1e-4)


def test_without_references_nothing_is_passed_through_the_model(tiny_model: Path) -> None:
    base = [Candidate("base", Path("base"), None, "base")]
    ((score,),) = reference_losses(engine(tiny_model), base, [Question("none", ("Why?",))])
    assert (score.metric, score.score) == ("ref-loss", None)
