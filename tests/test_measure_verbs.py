"""Root verbs and their nouns are those that a reader would name."""

import os
import sys
from pathlib import Path

import pytest

from fedllm_bench.errors import FedLLMError
from fedllm_bench.examples import ChatExample, Turn
from fedllm_bench.extras import hint_of
from fedllm_bench.measure import verbs as module
from fedllm_bench.measure.verbs import opening, verbs

REPLY = "Here is what you asked for, I hope that it helps you with what you have in mind."


def chat(request: str, reply: str = REPLY) -> ChatExample:
    return ChatExample("1", (Turn("user", request), Turn("assistant", reply)))


SENTENCES = [
    # imperative
    ("Write a poem about the sea.", [("write", "poem")]),
    ("Give me three tips for staying healthy.", [("give", "tip")]),
    ("Describe the process of photosynthesis.", [("describe", "process")]),
    ("Explain why the sky is blue.", [("explain", None)]),
    ("Don't use any adjectives.", [("use", "adjective")]),
    ("Turn the light off.", [("turn", "light")]),
    ("Convert the file to a table.", [("convert", "file")]),
    ("Act as a travel guide.", [("act", None)]),
    ("WRITE A SHORT STORY ABOUT A DRAGON.", [("write", "story")]),
    ("In Python, write a function that sorts a list.", [("write", "function")]),
    ("If a train leaves at 5 pm, calculate its speed.", [("calculate", "speed")]),
    # polite
    ("Can you please write a poem about autumn?", [("write", "poem")]),
    ("Could you explain the theory of relativity to me?", [("explain", "theory")]),
    ("Please suggest a recipe for dinner.", [("suggest", "recipe")]),
    ("I would like you to write a story about a dragon.", [("like", None)]),
    # questions
    ("What is the capital of France?", []),
    ("Which river crosses Paris?", [("cross", None)]),
    ("How do I bake sourdough bread?", [("bake", "bread")]),
    ("Why does the moon cause tides?", [("cause", "tide")]),
    ("Who wrote Hamlet?", [("write", None)]),
    # passive
    ("The report was written by the committee.", [("write", None)]),
    ("Was the telephone invented by Bell?", [("invent", None)]),
    # conjunctions: the first verb is the root, the first noun its object
    ("Translate the sentence into French and summarise the text.", [("translate", "sentence")]),
    ("Describe cats and dogs.", [("describe", "cat")]),
    # noise before the request
    ("Q: List five countries in Africa.", [("list", "country")]),
    ("2. Describe the water cycle.", [("describe", "cycle")]),
    ("- Summarise the article.", [("summarise", "article")]),
    ("Instruction: Generate ten names for a bakery", [("generate", "name")]),
    ("Hello! Please give me a hint.", [("give", "hint")]),
    # several sentences
    ("You are an expert chef. Suggest a recipe. Use only vegetables.", [("suggest", "recipe"), ("use", "vegetable")]),
    ("Correct this sentence: he go home", [("correct", "sentence"), ("go", None)]),
    ("Fix the bug\nThen run the tests", [("fix", "bug"), ("run", "test")]),
    # no verb, nothing
    ("A picture of a cat", []),
    ("Beautiful sunset over mountains.", []),
    ("Hi there", []),
    ("42", []),
    ("", []),
    ("   \n \n", []),
]


# What the small model takes wrongly, so that nobody takes it for right.
MISSED = {"Was the telephone invented by Bell?"}


def test_verbs_and_nouns_are_those_of_the_sentence() -> None:
    found = verbs().compute([chat(text) for text, _ in SENTENCES])
    wrong = {text: pairs for (text, right), pairs in zip(SENTENCES, found, strict=True) if pairs != right}
    assert set(wrong) == MISSED, wrong


@pytest.mark.parametrize(
    ("request_text", "reply"),
    [
        ("Écris un poème sur la mer.", "La mer est belle et grande, et le vent souffle sur les vagues."),
        ("Schreibe ein Gedicht über das Meer.", "Das Meer ist weit und blau, der Wind weht über die Wellen."),
        ("写一首关于大海的诗。", "大海宽阔而蔚蓝，风吹过波浪。"),
        ("", ""),
    ],
)
def test_what_is_not_english_has_no_verbs(request_text: str, reply: str) -> None:
    assert verbs().compute([chat(request_text, reply)]) == [[]]


def test_only_the_first_sentences_and_characters_count() -> None:
    request = "Read the book. Close the door. Open the window. Wash the car."
    assert verbs().compute([chat(request)]) == [[("read", "book"), ("close", "door"), ("open", "window")]]
    assert verbs(sentences=1).compute([chat(request)]) == [[("read", "book")]]
    assert verbs(characters=30).compute([chat(request)]) == [[("read", "book"), ("close", "door")]]
    assert len({verbs().file, verbs(sentences=1).file, verbs(characters=30).file}) == 3


def test_a_very_long_request_is_read_at_its_start() -> None:
    request = "Summarise the story. " + "The king loved the queen and the queen loved the king. " * 20_000
    assert len(opening(request, 500)) <= 500
    assert verbs(sentences=1).compute([chat(request)]) == [[("summarise", "story")]]
    assert opening("x" * 1000, 500) == "x" * 500


def test_the_request_is_the_last_user_turn() -> None:
    turns = (Turn("user", "Write a poem."), Turn("assistant", "The sea is blue."), Turn("user", "Shorten the poem."))
    example = ChatExample("1", (*turns, Turn("assistant", REPLY)))
    assert verbs().compute([example]) == [[("shorten", "poem")]]


def test_values_survive_the_cache() -> None:
    measure = verbs()
    value = [("write", "poem"), ("explain", None)]
    assert measure.load(measure.dump(value)) == value  # type: ignore[arg-type]


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    module._parser.cache_clear()
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(FedLLMError, match="root verbs: the package spacy cannot be loaded") as caught:
        verbs().compute([chat("Write a poem.")])
    assert caught.value.hint == hint_of("analysis")


def test_a_parser_that_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FedLLMError, match="root verbs: en-core-web-sm") as caught:
        verbs().compute([chat("Write a poem.")])
    assert "fedllm-bench assets fetch en-core-web-sm" in str(caught.value.hint)
