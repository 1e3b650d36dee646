"""Conversations become text as published models define it, and only answers are trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedllm_bench.errors import ModelError
from fedllm_bench.examples import Turn
from fedllm_bench.model.templates import TEMPLATES, Segment, template
from fedllm_bench.model.tiny import CHAT_TEMPLATE

SINGLE = (Turn("user", "Hi {you}"), Turn("assistant", "Hello"))
MULTI = (Turn("system", "Be kind."), *SINGLE, Turn("user", "Bye"), Turn("assistant", "So long"))

ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


class Bare:
    """What templates need of a tokenizer, where no model's own template is meant."""

    eos_token = "</s>"
    chat_template = None


def marked(segments: Sequence[Segment]) -> str:
    """The text, with what is trained in brackets."""
    return "".join(f"[{segment.text}]" if segment.trained else segment.text for segment in segments)


@pytest.mark.parametrize(
    ("name", "turns", "trained", "expected"),
    [
        ("alpaca", SINGLE, "last", ALPACA + "### Instruction:\nHi {you}\n\n### Response:[Hello</s>]"),
        (
            "alpaca",
            MULTI,
            "all",
            "Be kind.\n\n### Instruction:\nHi {you}\n\n### Response:[Hello</s>]\n\n"
            "### Instruction:\nBye\n\n### Response:[So long</s>]",
        ),
        ("vicuna", SINGLE, "last", VICUNA + "USER: Hi {you} ASSISTANT:[ Hello</s>]"),
        (
            "vicuna",
            MULTI,
            "last",
            "Be kind. USER: Hi {you} ASSISTANT: Hello</s>USER: Bye ASSISTANT:[ So long</s>]",
        ),
        (
            "chatml",
            SINGLE,
            "last",
            "<|im_start|>user\nHi {you}<|im_end|>\n<|im_start|>assistant\n[Hello<|im_end|>]",
        ),
        (
            "chatml",
            MULTI,
            "all",
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi {you}<|im_end|>\n"
            "<|im_start|>assistant\n[Hello<|im_end|>]\n<|im_start|>user\nBye<|im_end|>\n"
            "<|im_start|>assistant\n[So long<|im_end|>]",
        ),
    ],
)
def test_texts_are_those_of_the_published_templates(
    name: str, turns: tuple[Turn, ...], trained: Literal["last", "all"], expected: str
) -> None:
    assert marked(template(name)(Bare(), turns, trained)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("turns", "trained", "expected"),
    [
        (
            SINGLE,
            "last",
            "<|im_start|>user\nHi {you}<|im_end|>\n<|im_start|>assistant\n[Hello<|im_end|>]\n",
        ),
        (
            MULTI,
            "last",
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi {you}<|im_end|>\n"
            "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
            "<|im_start|>assistant\n[So long<|im_end|>]\n",
        ),
        (
            MULTI,
            "all",
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi {you}<|im_end|>\n"
            "<|im_start|>assistant\n[Hello<|im_end|>]\n<|im_start|>user\nBye<|im_end|>\n"
            "<|im_start|>assistant\n[So long<|im_end|>]\n",
        ),
    ],
)
def test_the_native_template_is_the_models_own(
    tokenizer: Any, turns: tuple[Turn, ...], trained: Literal["last", "all"], expected: str
) -> None:
    segments = template("native")(tokenizer, turns, trained)
    assert marked(segments) == expected
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    assert "".join(segment.text for segment in segments) == tokenizer.apply_chat_template(messages, tokenize=False)


contents = st.text(st.characters(codec="utf-8", exclude_characters="[]"), max_size=20)
exchanges = st.lists(st.tuples(contents, contents), min_size=1, max_size=4)


@pytest.mark.parametrize("name", TEMPLATES)
@given(exchanges, st.booleans())
def test_what_is_trained_is_the_answers_with_their_ends_and_nothing_else(
    name: str, tokenizer: Any, said: list[tuple[str, str]], every: bool
) -> None:
    turns = [Turn(role, text) for pair in said for role, text in zip(("user", "assistant"), pair, strict=True)]
    segments = template(name)(tokenizer, turns, "all" if every else "last")
    answers = [answer for _, answer in said] if every else [said[-1][1]]
    lead = " " if name == "vicuna" else ""
    assert [segment.text for segment in segments if segment.trained] == [f"{lead}{a}<|im_end|>" for a in answers]


def test_a_model_without_a_chat_template_is_refused_with_a_way_out() -> None:
    with pytest.raises(ModelError, match="no chat template") as caught:
        template("native")(Bare(), SINGLE, "last")  # type: ignore[arg-type]
    assert "chatml" in str(caught.value.hint)


def test_a_chat_template_that_rewrites_earlier_turns_is_refused(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As templates do that drop the thoughts of all answers but the last.
    forgetful = CHAT_TEMPLATE.replace("message['content']", "(message['content'] if loop.last else '...')")
    monkeypatch.setattr(tokenizer, "chat_template", forgetful)
    with pytest.raises(ModelError, match="rewrites earlier turns"):
        template("native")(tokenizer, MULTI, "all")


def test_a_chat_template_that_refuses_a_conversation_is_told_of(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT_TEMPLATE
    )
    monkeypatch.setattr(tokenizer, "chat_template", strict)
    with pytest.raises(ModelError, match="no system role"):
        template("native")(tokenizer, MULTI, "all")


def test_a_tokenizer_without_an_end_token_is_refused_where_answers_end_with_it() -> None:
    class Endless(Bare):
        eos_token = None

    with pytest.raises(ModelError, match="no end-of-text token"):
        template("alpaca")(Endless(), SINGLE, "last")  # type: ignore[arg-type]
    assert marked(template("chatml")(Endless(), SINGLE, "last")).endswith("[Hello<|im_end|>]")  # type: ignore[arg-type]


def test_an_unknown_template_is_refused_with_those_there_are() -> None:
    with pytest.raises(ModelError, match="unknown template 'llama'") as caught:
        template("llama")
    assert "vicuna" in str(caught.value.hint)
