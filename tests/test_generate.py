"""Generation: a batch gives what each prompt gives alone, what Hugging Face gives, and stops where an answer ends."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedllm_bench import records
from fedllm_bench.evaluate.answering import answer
from fedllm_bench.evaluate.engine import Candidate, Engine, OwnWriter
from fedllm_bench.evaluate.questions import Question
from fedllm_bench.examples import Turn
from fedllm_bench.model.base import LanguageModel, load_model
from fedllm_bench.model.cached import supports_cached
from fedllm_bench.model.generate import ALIKE, FULL, Generated, Prompt, alike, batches, generate, stop_ids
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.prepacked import prepacked
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.model.tokenise import Codec

SPEC = LoraSpec(4, 8.0, 0.0, ("q_proj", "v_proj"))
GREEDY, WARM = Sampling(0.0, 24), Sampling(0.9, 24)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> LanguageModel:
    return load_model(str(tiny_model), SPEC, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def codec(model: LanguageModel) -> Codec:
    return Codec(model.tokenizer, "native", 512)


@pytest.fixture(params=[1, 512], ids=["first tokens in passes", "first tokens together"])
def full(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedllm_bench.model.generate.FULL", request.param)


def prompts(codec: Codec, sampling: Sampling, count: int = 9) -> list[Prompt]:
    """Prompts of different lengths."""
    texts = ["word " * (3 * at % 11 + 1) for at in range(count)]
    return [Prompt(codec.prompt([Turn("user", text)]), sampling, (str(at),)) for at, text in enumerate(texts)]


def alone(model: LanguageModel, asked: Sequence[Prompt], stops: frozenset[int]) -> list[Generated]:
    return [generate(model, [prompt], stops, 1)[0] for prompt in asked]


@given(lengths=st.lists(st.integers(1, 2000), min_size=1, max_size=40))
def test_each_prompt_is_passed_once_and_few_places_are_padded(lengths: list[int]) -> None:
    groups = alike(lengths)
    assert sorted(row for rows in groups for row in rows) == list(range(len(lengths)))
    for rows in groups:
        own = [lengths[row] for row in rows]
        assert len(own) * max(own) <= sum(own) / ALIKE + FULL + max(own)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("sampling", [GREEDY, WARM, Sampling(0.9, 24, top_p=0.5)], ids=["greedy", "warm", "top-p"])
def test_a_batch_gives_what_each_prompt_gives_alone(model: LanguageModel, codec: Codec, sampling: Sampling) -> None:
    asked, stops = prompts(codec, sampling), stop_ids(model, codec)
    assert generate(model, asked, stops, 1) == alone(model, asked, stops)
    if sampling.temperature:
        assert generate(model, asked, stops, 1) != generate(model, asked, stops, 2)


def test_greedy_tokens_are_those_of_hugging_face(model: LanguageModel, codec: Codec, tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(tiny_model)
    stops = stop_ids(model, codec)
    for prompt, mine in zip(prompts(codec, GREEDY), generate(model, prompts(codec, GREEDY), stops, 0), strict=True):
        ids = torch.from_numpy(prompt.ids.astype(np.int64))[None]
        out = theirs.generate(ids, max_new_tokens=24, do_sample=False, eos_token_id=list(stops), pad_token_id=0)
        new = [token for token in out[0, ids.shape[1] :].tolist() if token not in stops]
        assert list(mine.ids) == new


@pytest.mark.usefixtures("full")
def test_rows_that_end_early_leave_the_others_as_they_are(model: LanguageModel, codec: Codec) -> None:
    asked = prompts(codec, WARM, 12)
    whole = generate(model, asked, frozenset(), 1)
    # Any token that occurs early ends its row; what others say must not change up to their own end.
    stops = frozenset(made.ids[at % 7] for at, made in enumerate(whole))
    for made, cut in zip(whole, generate(model, asked, stops, 1), strict=True):
        end = next((at for at, token in enumerate(made.ids) if token in stops), len(made.ids))
        assert cut.ids == made.ids[:end] and cut.stopped == (end < len(made.ids))


@pytest.mark.usefixtures("full")
def test_adapters_of_several_models_answer_in_one_batch_as_each_alone(model: LanguageModel, codec: Codec) -> None:
    shapes = model.lora.shapes
    draw = torch.Generator().manual_seed(0)
    stack = {name: torch.randn(3, *shape, generator=draw) * 0.5 for name, shape in shapes.items()}
    for value in stack.values():
        value[0] = 0  # the base alone
    ids = prompts(codec, GREEDY, 1)[0].ids
    asked = [Prompt(ids, GREEDY, ("same",), adapter) for adapter in (0, 1, 2, 1)]
    longer = Prompt(prompts(codec, GREEDY, 4)[3].ids, GREEDY, ("other",), 2)
    *together, _ = generate(model, [*asked, longer], frozenset(), 1, stack)
    for adapter, made in zip((0, 1, 2, 1), together, strict=True):
        own = {name: value[adapter : adapter + 1] for name, value in stack.items()}
        assert made == generate(model, [Prompt(ids, GREEDY, ("same",))], frozenset(), 1, own)[0]
    assert together[0] == generate(model, [Prompt(ids, GREEDY, ("same",))], frozenset(), 1)[0]
    assert len({made.ids for made in together}) == 3


def test_the_random_numbers_of_a_row_follow_the_chances(model: LanguageModel, codec: Codec) -> None:
    ids = prompts(codec, GREEDY, 1)[0].ids
    many = [Prompt(ids, Sampling(1.0, 1), (str(at),)) for at in range(3000)]
    drawn = [
        made.ids[0]
        for chosen in batches(many, 1000, 1 << 20)
        for made in generate(model, [many[at] for at in chosen], frozenset(), 3)
    ]
    with torch.no_grad():
        model.model.set_attn_implementation("sdpa")
        chances = model.model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0, -1].softmax(-1).numpy()
    found = np.bincount(drawn, minlength=len(chances)) / len(drawn)
    likely = chances > 0.002
    assert np.abs(found - chances)[likely].max() < 4 * np.sqrt(chances.max() / len(drawn))


def test_the_model_takes_the_cached_path_and_its_attention_is_put_back(model: LanguageModel, codec: Codec) -> None:
    before = model.model.config._attn_implementation
    assert supports_cached(model.model)
    generate(model, prompts(codec, GREEDY, 2), frozenset(), 0)
    assert model.model.config._attn_implementation == before


def test_laid_out_weights_give_the_same_answers_and_are_put_back(model: LanguageModel, codec: Codec) -> None:
    asked = prompts(codec, GREEDY)
    usual = generate(model, asked, frozenset(), 0)
    with prepacked(model.model):
        assert generate(model, asked, frozenset(), 0) == usual
    assert not any("forward" in vars(layer) for layer in model.model.modules() if type(layer) is torch.nn.Linear)


def test_batches_follow_from_the_list_and_keep_within_their_bounds() -> None:
    asked = [Prompt(np.arange(1 + at % 50, dtype=np.int32), Sampling(0, 50), (at,)) for at in range(200)]
    found = batches(asked, rows=16, places=1000)
    assert sorted(at for chosen in found for at in chosen) == list(range(200))
    for chosen in found:
        room = max(len(asked[at].ids) + 50 for at in chosen)
        assert len(chosen) <= 16 and (len(chosen) == 1 or len(chosen) * room <= 1000)


# --- answers on disk


QUESTIONS = [(Question(f"q{at}", ("hello " * (at + 1), "and then?")[: 1 + at % 2]), WARM) for at in range(5)]


def candidates(model: LanguageModel, folder: Path) -> list[Candidate]:
    adapter = {name: torch.full(shape, 0.05) for name, shape in model.lora.shapes.items()}
    return [Candidate("base", folder / "base", None, "base"), Candidate("fedavg", folder / "run", adapter, "a")]


def test_answers_are_the_same_after_a_kill_at_any_point(
    model: LanguageModel, codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(model, codec, "float32", OwnWriter(rows=3))
    whole = answer("made", QUESTIONS, candidates(model, tmp_path / "whole"), engine, 0)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").rglob("*.jsonl")}
    append, written = records.append, 0

    class Killed(BaseException):
        pass

    def dying(path: Path, *rows: records.Record) -> None:
        nonlocal written
        written += 1
        if written == stop:
            append(path, *rows[: len(rows) // 2])  # half of what was to be written
            raise Killed
        append(path, *rows)

    for stop in (1, 2, 5, 8, 11):
        written = 0
        folder = tmp_path / str(stop)
        with monkeypatch.context() as patch:
            patch.setattr(records, "append", dying)
            with suppress(Killed):
                answer("made", QUESTIONS, candidates(model, folder), engine, 0)
        found = answer("made", QUESTIONS, candidates(model, folder), engine, 0)
        assert list(found.values()) == list(whole.values())
        assert {path.name: path.read_bytes() for path in folder.rglob("*.jsonl")} == expected


def test_later_turns_see_the_candidates_own_answers(model: LanguageModel, codec: Codec, tmp_path: Path) -> None:
    engine = Engine(model, codec, "float32")
    found = answer("made", QUESTIONS, candidates(model, tmp_path), engine, 0)
    question = QUESTIONS[1][0]
    for at, said in enumerate(found.values()):
        first, second = said[1].turns
        adapter = {name: value[at : at + 1] for name, value in engine.stack(candidates(model, tmp_path)).items()}
        turns = [Turn("user", question.turns[0]), Turn("assistant", first), Turn("user", question.turns[1])]
        prompt = Prompt(codec.prompt(turns), WARM, ("made", "q1", 1))
        (made,) = generate(model, [prompt], stop_ids(model, codec), 0, adapter)
        assert model.tokenizer.decode(list(made.ids), skip_special_tokens=True).strip() == second


def test_the_prompt_is_what_training_has_before_an_answer(codec: Codec) -> None:
    turns = [Turn("user", "one"), Turn("assistant", "two"), Turn("user", "three")]
    tokens = codec.tokens([*turns, Turn("assistant", "four")], "last")
    begin = int(tokens.trained.argmax())
    assert codec.prompt(turns).tolist() == tokens.ids[:begin].tolist()
