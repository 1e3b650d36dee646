"""The tokens of a conversation, which of them are trained, and what happens to those that are too long."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedllm_bench.errors import ModelError
from fedllm_bench.examples import ChatExample, Turn
from fedllm_bench.model.templates import TEMPLATES, template
from fedllm_bench.model.tokenise import Codec, Tokens, Unusable
from made_up import chat

END = "<|im_end|>"


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    """One token a byte."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def merging(tiny_model: Path) -> Any:
    """A tokenizer whose tokens span several characters, spaces and line ends among them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    plain = AutoTokenizer.from_pretrained(tiny_model)
    special = ["<|endoftext|>", "<|im_start|>", END]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    text = ["user\n\nHello there: ok\n\nassistant\n\nyes :: no\n  the\nother", "### Response:: a  b\n\nASSISTANT:  yes"]
    raw.train_from_iterator(text * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=END, chat_template=plain.chat_template)


def example(*said: str, trained: Literal["last", "all"] = "last") -> ChatExample:
    roles = ("user", "assistant") * len(said)
    return ChatExample("x", tuple(Turn(role, text) for role, text in zip(roles, said, strict=False)), trained)  # type: ignore[arg-type]


def usable(found: Tokens | Unusable) -> Tokens:
    assert isinstance(found, Tokens), found
    return found


contents = st.text(st.sampled_from("abé: \n#Rt猫"), min_size=1, max_size=12).filter(lambda text: bool(text.strip()))
exchanges = st.lists(st.tuples(contents, contents), min_size=1, max_size=3)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(deadline=None, max_examples=40)
@given(exchanges, st.booleans())
def test_the_trained_tokens_are_the_answers_and_their_ends(
    name: str, merging: Any, said: list[tuple[str, str]], every: bool
) -> None:
    chosen = example(*(text for pair in said for text in pair), trained="all" if every else "last")
    tokens = usable(Codec(merging, name, 10_000).encode(chosen))
    segments = template(name)(merging, chosen.turns, chosen.trained)
    assert merging.decode(tokens.ids) == "".join(segment.text for segment in segments)
    # Each run of trained tokens is one answer.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], tokens.trained, [False]]).astype(int)))
    runs = [merging.decode(tokens.ids[start:end]) for start, end in edges.reshape(-1, 2)]
    assert runs == [segment.text for segment in segments if segment.trained]


@pytest.mark.parametrize("name", TEMPLATES)
@settings(deadline=None, max_examples=40)
@given(contents, contents)
def test_what_stands_before_the_answer_is_tokenised_as_a_prompt_is(
    name: str, merging: Any, question: str, answer: str
) -> None:
    tokens = usable(Codec(merging, name, 10_000).encode(example(question, answer)))
    start = int(np.flatnonzero(tokens.trained)[0])
    segments = template(name)(merging, example(question, answer).turns, "last")
    before = "".join(segment.text for segment in segments[: [s.trained for s in segments].index(True)])
    prompt = merging(before, add_special_tokens=False)["input_ids"]
    assert tokens.ids[:start].tolist() == prompt


def test_the_last_answer_or_all_of_them_are_trained(tokenizer: Any) -> None:
    codec = Codec(tokenizer, "native", 1000)
    for trained, expected in (("last", f"two{END}"), ("all", f"one{END}two{END}")):
        tokens = usable(codec.encode(example("a", "one", "b", "two", trained=trained)))  # type: ignore[arg-type]
        assert tokenizer.decode(tokens.ids[tokens.trained]) == expected


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "none"])
def test_a_start_token_stands_first_once_where_the_tokenizer_puts_one(merging: Any, name: str) -> None:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    raw = merging.backend_tokenizer.from_str(merging.backend_tokenizer.to_str())
    raw.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    beginning = "{{ bos_token }}" + merging.chat_template
    starting = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|endoftext|>", eos_token=END, chat_template=beginning
    )
    tokens = usable(Codec(starting, name, 1000).encode(example("hi", "ho")))
    assert tokens.ids.tolist().count(0) == 1
    assert (tokens.ids[0], tokens.trained[0]) == (0, False)


# ---------------------------------------------------------------------------------------- too long


def test_a_conversation_that_fits_is_left_as_it_is(tokenizer: Any) -> None:
    whole = Codec(tokenizer, "native", 10_000).tokens(chat("x", 3).turns, "last")
    for truncation in ("left-context", "skip"):
        tokens = usable(Codec(tokenizer, "native", len(whole.ids), truncation).encode(chat("x", 3)))
        assert tokens.note is None
        assert tokens.ids.tolist() == whole.ids.tolist()


def test_the_oldest_exchanges_go_first_and_it_is_noted(tokenizer: Any) -> None:
    long = example("first", "1st", "second", "2nd", "third", "3rd")
    shorter = Codec(tokenizer, "native", 10_000).tokens(long.turns[2:], "last")
    tokens = usable(Codec(tokenizer, "native", len(shorter.ids) + 3).encode(long))
    assert tokens.note == "context shortened"
    assert tokens.ids.tolist() == shorter.ids.tolist()
    assert tokenizer.decode(tokens.ids[tokens.trained]) == f"3rd{END}"


def test_a_system_message_outlasts_the_exchanges(tokenizer: Any) -> None:
    system = Turn("system", "Be kind.")
    long = ChatExample("x", (system, *example("first", "1st", "second", "2nd").turns), "all")
    kept = Codec(tokenizer, "native", 10_000).tokens((system, *long.turns[3:]), "all")
    tokens = usable(Codec(tokenizer, "native", len(kept.ids)).encode(long))
    assert tokens.ids.tolist() == kept.ids.tolist()


def test_a_long_answer_loses_its_end_and_its_end_token(tokenizer: Any) -> None:
    only = example("why", "because " * 20)
    whole = Codec(tokenizer, "native", 10_000).tokens(only.turns, "last")
    tokens = usable(Codec(tokenizer, "native", 100).encode(only))
    assert tokens.note == "response cut"
    assert tokens.ids.tolist() == whole.ids[:100].tolist()
    assert tokenizer.decode(tokens.ids[tokens.trained]).startswith("because because")


def test_a_prompt_that_leaves_no_room_for_an_answer_makes_the_sample_unusable(tokenizer: Any) -> None:
    found = Codec(tokenizer, "native", 50).encode(example("why " * 30, "because"))
    assert found == Unusable("prompt longer than max_length")


def test_skipping_leaves_out_what_does_not_fit(tokenizer: Any) -> None:
    codec = Codec(tokenizer, "native", 100, "skip")
    assert codec.encode(example("first", "1st", "second", "because " * 20)) == Unusable("longer than max_length")
    assert usable(codec.encode(example("hi", "ho"))).note is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.integers(10, 150), st.booleans())
def test_no_row_is_longer_than_the_limit_and_none_without_a_trained_token(
    tokenizer: Any, lengths: list[int], limit: int, skip: bool
) -> None:
    long = example(*("x" * length for length in lengths[: len(lengths) // 2 * 2]))
    found = Codec(tokenizer, "native", limit, "skip" if skip else "left-context").encode(long)
    if isinstance(found, Tokens):
        assert len(found.ids) == len(found.trained) <= limit
        assert found.trained.any()
        assert not found.trained[0]


# ----------------------------------------------------------------------------------------- no answer


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ((), "no answer at the end"),
        ((Turn("user", "hi"),), "no answer at the end"),
        ((Turn("user", "hi"), Turn("assistant", "")), "empty response"),
        ((Turn("user", "hi"), Turn("assistant", " \n ")), "empty response"),
    ],
)
def test_a_conversation_without_an_answer_is_unusable(tokenizer: Any, turns: tuple[Turn, ...], reason: str) -> None:
    assert Codec(tokenizer, "native", 100).encode(ChatExample("x", turns)) == Unusable(reason)


# ----------------------------------------------------------------------------------------- bad settings


def test_an_unknown_policy_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="unknown truncation 'middle'"):
        Codec(tokenizer, "native", 100, "middle")


def test_a_tokenizer_that_does_not_tell_places_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match="which characters a token came from"):
        Codec(Slow(), "chatml", 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_real_tokenizer_keeps_prompts_and_answers_apart(name: str) -> None:
    from fedllm_bench.model.base import load_tokenizer

    tokenizer = load_tokenizer("smollm2-135m")
    codec = Codec(tokenizer, name, 1000)
    for answer in ("Sure.", " Sure.", "\n\nSure.", ": Sure.", "123", "é"):
        chosen = example("What now?", f"{answer} ok")
        tokens = usable(codec.encode(chosen))
        start = int(np.flatnonzero(tokens.trained)[0])
        segments = template(name)(tokenizer, chosen.turns, "last")
        before = "".join(segment.text for segment in segments[: [s.trained for s in segments].index(True)])
        assert tokens.ids[:start].tolist() == tokenizer(before, add_special_tokens=False)["input_ids"]
        said = "".join(segment.text for segment in segments if segment.trained)
        assert tokenizer.decode(tokens.ids[tokens.trained]) == said
