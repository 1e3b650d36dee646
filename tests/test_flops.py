"""Floating point operations that are reported for a pass."""

from pathlib import Path

from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from fedllm_bench.model.base import LanguageModel, load_model
from fedllm_bench.model.lora import LoraSpec


def _model(folder: Path, tokenizer: Path, *, tied: bool) -> LanguageModel:
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=tied,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return load_model(str(folder), LoraSpec(2, 4, 0.0, ("q_proj",)), dtype="float32", device="cpu")


def test_looking_up_embeddings_costs_no_products_whether_the_head_shares_them_or_not(
    tmp_path: Path, tiny_model: Path
) -> None:
    counts = [
        _model(tmp_path / str(tied), tiny_model, tied=tied).flops([7, 5], 3, training=True) for tied in (True, False)
    ]
    assert counts[0] == counts[1]


def test_a_pass_counts_two_operations_for_each_weight_and_token_and_going_back_as_many(
    tmp_path: Path, tiny_model: Path
) -> None:
    model = _model(tmp_path, tiny_model, tied=False)
    layer = 4 * 32 * 32 + 3 * 32 * 64 + 2 * 32  # attention, feed-forward, norms
    weights = 2 * layer + 32
    forward = 2 * weights * 12 + 2 * 320 * 32 * 3 + 2 * 2 * 32 * (7**2 + 5**2)
    assert model.flops([7, 5], 3, training=False) == forward
    assert model.flops([7, 5], 3, training=True) == 2 * forward
