"""Rows packed end to end, rows padded, and rows one by one: the same logits and the same training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedllm_bench.errors import ModelError
from fedllm_bench.model.lora import LoraSpec
from made_up import people
from small_parts import (
    SPEC,
    deltas_differ,
    language_model,
    learners,
    logits,
    moved,
    rows_of,
    sft,
    stacked,
    trainer,
)

WINDOW = 24
LENGTHS = (30, 5, 60, 9)  # some within the window, some far beyond
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WINDOWED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}

# model type -> its own settings, whether it packs, and where its adapters go
FAMILIES: dict[str, tuple[dict[str, Any], bool, tuple[str, ...]]] = {
    "llama": ({}, True, ("q_proj", "v_proj")),
    "mistral": ({"sliding_window": WINDOW}, True, ("q_proj", "v_proj")),
    "qwen2": ({"use_sliding_window": True, **WINDOWED}, True, ("q_proj", "v_proj")),
    "qwen3": ({"head_dim": 8}, True, ("q_proj", "v_proj")),
    "gemma3_text": ({"head_dim": 8, "query_pre_attn_scalar": 8, **WINDOWED}, True, ("q_proj", "v_proj")),
    "gpt_neox": ({}, True, ("query_key_value",)),
    "gemma2": ({"head_dim": 8, "query_pre_attn_scalar": 8, **WINDOWED}, False, ("q_proj", "v_proj")),
    "qwen2_moe": (
        {"use_sliding_window": True, "max_window_layers": 0, **WINDOWED, **EXPERTS},
        False,
        ("q_proj", "v_proj"),
    ),
    "mamba": ({"state_size": 4}, False, ("in_proj", "x_proj")),
}

Made = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Makes the folder of a tiny random model of a family, with the tiny tokenizer."""

    def make(family: str) -> Path:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        torch.manual_seed(0)
        tokenizer = AutoTokenizer.from_pretrained(tiny_model)
        own, _, _ = FAMILIES[family]
        config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **SIZES, **own)
        folder = tmp_path_factory.mktemp(family)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_taken_together_get_the_logits_they_get_alone(made: Made, family: str) -> None:
    from transformers import AutoModelForCausalLM

    folder = made(family)
    _, packs, targets = FAMILIES[family]
    spec = LoraSpec(4, 8.0, 0.0, targets)
    model = language_model(folder, spec)
    assert model.packed == packs
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = rows_of(model, LENGTHS)
    with torch.no_grad():
        expected = [plain(input_ids=row[None]).logits[0, :-1] for row in rows]
        padded = language_model(folder, spec, packing="padded")
        for together in (model, padded):
            for a, b in zip(logits(together, rows), expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))
        adapter = stacked(moved(model))
        for a, b in zip(logits(model, rows, adapter), logits(padded, rows, adapter), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_rows_padded_in_the_attention_alone_are_as_those_of_one_length_at_a_time(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, family: str
) -> None:
    """A GPU's way, on the CPU: logits, and what training makes of them."""
    from fedllm_bench.model import attention

    model = language_model(made(family), LoraSpec(4, 8.0, 0.1, FAMILIES[family][2]))
    rows, adapter, objective = rows_of(model, LENGTHS), stacked(moved(model)), sft(model)
    team = learners(people(1, 4, 3), objective, tmp_path, (1, 2, 2))

    def found() -> tuple[list[torch.Tensor], Any]:
        trained = trainer(model, objective, token_budget=10_000).train(1, team, moved(model), {}, 1e-3)
        return logits(model, rows, adapter), list(trained)

    expected, updates = found()
    monkeypatch.setitem(attention.WAYS, "cpu", attention.padded)
    same, others = found()
    for a, b in zip(same, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))
    assert deltas_differ(others, updates) < 1e-4


@pytest.mark.parametrize("family", ["mistral", "gemma2", "mamba"])
def test_a_cohort_trains_as_its_clients_do_one_by_one(made: Made, tmp_path: Path, family: str) -> None:
    model = language_model(made(family), LoraSpec(4, 8.0, 0.1, FAMILIES[family][2]))
    objective = sft(model)
    team = learners(people(1, 4, 3), objective, tmp_path, (1, 2, 2))
    one = trainer(model, objective, token_budget=10_000)
    together = one.train(1, team, moved(model), {}, 1e-3)
    alone = [update for learner in team for update in one.train(1, [learner], moved(model), {}, 1e-3)]
    assert deltas_differ(together, alone) < 1e-4


def test_asking_a_model_that_cannot_pack_to_pack_is_refused(made: Made) -> None:
    with pytest.raises(ModelError, match="cannot take packed rows"):
        language_model(made("gemma2"), SPEC, packing="packed")


def test_a_single_packed_row_has_the_logits_of_the_plain_model(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = language_model(tiny_model)
    assert model.packed
    (row,) = rows_of(model, [700])
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(tiny_model)(input_ids=row[None]).logits[0, :-1]
        torch.testing.assert_close(logits(model, [row])[0], expected, rtol=1e-4, atol=1e-4)
