"""A quantized base computes with its opened weights, forward and back, and stores them small."""

import json
import shutil
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from fedllm_bench import assets, build
from fedllm_bench.cli import cli
from fedllm_bench.errors import ExperimentError, ModelError
from fedllm_bench.experiment import Experiment, Federation, Model
from fedllm_bench.federation.messages import Update
from fedllm_bench.model.base import LanguageModel, load_model
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.peft_format import save_adapter
from fedllm_bench.model.quantize import QUANTIZATIONS, elements, stored_bytes
from fedllm_bench.model.shapes import shapes
from fedllm_bench.tensors import Tensors, norm
from made_up import people
from small_parts import (
    SPEC,
    WITH_DROPOUT,
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

# Not `importorskip`: what it imports, every worker would load.
pytestmark = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")

LENGTHS = (20, 31, 9)
STEPS = (2, 4, 3)
each = pytest.mark.parametrize("quantization", [name for name in QUANTIZATIONS if name != "none"])


def layers_of(model: LanguageModel) -> dict[str, Any]:
    """The layers that bitsandbytes stores."""
    return {name: layer for name, layer in model.model.named_modules() if type(layer).__module__.startswith("bits")}


def opened(layer: Any) -> Tensor:
    """A layer's weights as the library itself gives them back."""
    from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant

    weight = layer.weight
    if hasattr(weight, "SCB"):
        return int8_vectorwise_dequant(weight.data, weight.SCB)
    return dequantize_4bit(weight.data, weight.quant_state)


def with_opened_weights(folder: Path, quantized: LanguageModel, **options: Any) -> LanguageModel:
    """A model that is not quantized, with the weights that the quantized one stands for."""
    model = language_model(folder, **options)
    for name, layer in layers_of(quantized).items():
        model.model.get_submodule(name).weight.data.copy_(opened(layer))
    return model


def gradients(model: LanguageModel, rows: list[Tensor], owners: list[int] | None = None) -> dict[str, Tensor]:
    """Of the loss of fixed targets, for adapters that have left their start."""
    owners = owners or [0] * len(rows)
    adapters = [moved(model, owner) for owner in range(max(owners) + 1)]
    params = {name: value.requires_grad_() for name, value in stacked(*adapters).items()}
    scored = logits(model, rows, params, owners)
    loss = sum(cross_entropy(out, row[1:], reduction="sum") for out, row in zip(scored, rows, strict=True))
    loss.backward()  # type: ignore[union-attr]
    return {name: value.grad for name, value in params.items() if value.grad is not None}


def flat(tensors: Tensors) -> Tensor:
    return torch.cat([value.flatten() for value in tensors.values()])


def close(ours: Tensors | Tensor, theirs: Tensors | Tensor, tolerance: float = 1e-4) -> None:
    a, b = (value if isinstance(value, Tensor) else flat(value) for value in (ours, theirs))
    assert (a - b).norm() <= tolerance * b.norm()


def train(model: LanguageModel, cache: Path, *, together: bool = True) -> list[Update]:
    objective = sft(model)
    team = learners(people(1, 9, 4), objective, cache, STEPS)
    parts = [team] if together else [[learner] for learner in team]
    one = trainer(model, objective, token_budget=300 if together else 90)
    return [update for part in parts for update in one.train(1, part, moved(model), {}, 1e-3)]


# --------------------------------------------------------------------------------------------- values


@each
@pytest.mark.parametrize("packing", ["packed", "padded"])
@torch.no_grad()
def test_logits_are_those_of_the_opened_weights(tiny_model: Path, quantization: str, packing: str) -> None:
    model = language_model(tiny_model, quantization=quantization, packing=packing)
    plain = with_opened_weights(tiny_model, model, packing=packing)
    rows = rows_of(model, LENGTHS)
    params = stacked(moved(model))
    close(torch.cat(logits(model, rows, params)), torch.cat(logits(plain, rows, params)))


@each
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_opened_weights_in_every_layer(
    tiny_model: Path, quantization: str, checkpointing: bool
) -> None:
    spec = LoraSpec(4, 8.0, 0.0, ("q_proj", "v_proj", "down_proj"))
    model = language_model(tiny_model, spec, quantization=quantization, gradient_checkpointing=checkpointing)
    plain = with_opened_weights(tiny_model, model, spec=spec)
    rows = rows_of(model, LENGTHS)
    ours, theirs = (gradients(one, rows, [0, 1, 1]) for one in (model, plain))
    assert ours.keys() == model.lora.shapes.keys()
    for name, value in ours.items():
        close(value, theirs[name])


# A tiny random model magnifies rounding: the error of one layer's weights, 1% in int8 and 9% in nf4, goes through
# layers whose weights are large. The real model, in the slow test, is nearer.
@pytest.mark.parametrize(
    ("quantization", "weights", "outputs", "direction"), [("int8", 0.015, 0.1, 0.99), ("nf4", 0.11, 0.8, 0.6)]
)
def test_a_quantized_model_is_near_the_one_in_fp32(
    tiny_model: Path, quantization: str, weights: float, outputs: float, direction: float
) -> None:
    exact, model = language_model(tiny_model), language_model(tiny_model, quantization=quantization)
    for name, layer in layers_of(model).items():
        close(opened(layer), exact.model.get_submodule(name).weight.data, weights)
    rows = rows_of(model, LENGTHS)
    with torch.no_grad():
        params = stacked(moved(model))
        close(torch.cat(logits(model, rows, params)), torch.cat(logits(exact, rows, params)), outputs)
    assert cosine_similarity(flat(gradients(model, rows)), flat(gradients(exact, rows)), dim=0) > direction


@each
def test_a_row_does_not_depend_on_the_rows_it_shares_a_pass_with(tiny_model: Path, quantization: str) -> None:
    model = language_model(tiny_model, quantization=quantization)
    rows = rows_of(model, LENGTHS)
    params = stacked(moved(model))
    with torch.no_grad():
        alone = torch.cat([logits(model, [row], params)[0] for row in rows])
        close(torch.cat(logits(model, rows, params)), alone)


@each
@torch.no_grad()
def test_what_is_added_to_the_base_is_added_to_the_opened_weights(tiny_model: Path, quantization: str) -> None:
    model = language_model(tiny_model, quantization=quantization)
    plain = with_opened_weights(tiny_model, model)
    name, layer = next(iter(model.lora.sites.items()))
    change = torch.randn(layer.out_features, layer.in_features, generator=torch.Generator().manual_seed(0)) * 0.1
    plain.model.get_submodule(name).weight.data.add_(change, alpha=SPEC.scaling)
    rows = rows_of(model, LENGTHS)
    params = stacked(moved(model))
    with model.lora.changed_base({name: change}):
        close(torch.cat(logits(model, rows, params)), torch.cat(logits(plain, rows, params)))


@each
def test_evaluating_leaves_training_as_it_was(tiny_model: Path, quantization: str) -> None:
    """On some processors the library repacks weights when they are first used without gradients, for good."""
    model = language_model(tiny_model, quantization=quantization)
    rows = rows_of(model, LENGTHS)
    before = gradients(model, rows)
    with torch.no_grad():
        logits(model, rows)
    after = gradients(model, rows)
    assert all(torch.equal(before[name], after[name]) for name in before)


@each
def test_a_quantized_base_in_bf16_trains_adapters_in_fp32(tiny_model: Path, quantization: str) -> None:
    half = load_model(str(tiny_model), SPEC, dtype="bfloat16", device="cpu", quantization=quantization)
    rows = rows_of(half, LENGTHS)
    ours = gradients(half, rows)
    assert all(value.dtype == torch.float32 for value in ours.values())
    theirs = gradients(language_model(tiny_model, quantization=quantization), rows)
    assert cosine_similarity(flat(ours), flat(theirs), dim=0) > 0.95


# -------------------------------------------------------------------------------------------- training


@each
def test_a_cohort_on_a_quantized_base_equals_its_clients_trained_one_by_one(
    tiny_model: Path, tmp_path: Path, quantization: str
) -> None:
    model = language_model(tiny_model, WITH_DROPOUT, quantization=quantization)
    together = train(model, tmp_path)
    assert all(norm(update.delta) > 1e-3 for update in together)
    assert deltas_differ(together, train(model, tmp_path, together=False)) < 1e-4


@each
def test_training_twice_on_a_base_that_is_quantized_anew_gives_the_same_bytes(
    tiny_model: Path, tmp_path: Path, quantization: str
) -> None:
    first, second = (
        train(language_model(tiny_model, WITH_DROPOUT, quantization=quantization), tmp_path) for _ in range(2)
    )
    assert deltas_differ(first, second) == 0


@pytest.mark.slow
@each
@pytest.mark.parametrize("options", [{"packing": "padded"}, {"gradient_checkpointing": True}], ids=str)
def test_how_rows_are_laid_out_and_recomputed_changes_nothing(
    tiny_model: Path, tmp_path: Path, quantization: str, options: dict[str, Any]
) -> None:
    usual = train(language_model(tiny_model, WITH_DROPOUT, quantization=quantization), tmp_path)
    other = train(language_model(tiny_model, WITH_DROPOUT, quantization=quantization, **options), tmp_path)
    assert deltas_differ(usual, other) < 1e-4


@each
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own
def test_an_adapter_gives_the_same_logits_in_peft_on_the_same_quantized_base(
    tiny_model: Path, tmp_path: Path, quantization: str
) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    model = language_model(tiny_model, quantization=quantization)
    (update,) = train(model, tmp_path / "cache")[:1]
    adapter = {name: value + update.delta[name] for name, value in moved(model).items()}
    save_adapter(tmp_path, adapter, SPEC, str(tiny_model))
    chosen = QUANTIZATIONS[quantization]
    assert chosen is not None
    config = BitsAndBytesConfig(**chosen.options)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, quantization_config=config, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path).train()  # in this mode the library rounds no activations
    rows = rows_of(model, LENGTHS)
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        expected = torch.cat([theirs(input_ids=row[None], use_cache=False).logits[0, :-1] for row in rows])
        close(torch.cat(logits(model, rows, stacked(adapter))), expected)


# ------------------------------------------------------------------------------------------------ size


def bytes_of(model: nn.Module) -> int:
    """Of all storages that a model's weights lie in."""
    states = [getattr(value, "quant_state", None) for value in model.parameters()]
    scales = [getattr(value, "SCB", None) for value in model.parameters()]
    of_states = chain.from_iterable(_tensors(state) for state in states if state is not None)
    tensors: Iterable[Any] = chain(model.parameters(), model.buffers(), scales, of_states)
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage() for value in tensors if value is not None}
    return sum(storage.nbytes() for storage in storages.values())


def _tensors(state: Any) -> list[Tensor]:
    own = [value for value in vars(state).values() if isinstance(value, Tensor)]
    return own + (_tensors(state.state2) if state.nested else [])


def wider(folder: Path, tokenizer: Path) -> Path:
    """A model whose layers are wide enough for the tables that come with each to weigh little."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=320, **sizes)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_weights_take_the_bytes_that_are_foretold(tiny_model: Path, tmp_path: Path, quantization: str) -> None:
    folder = wider(tmp_path, tiny_model)
    model = language_model(folder, quantization=quantization)
    sizes = shapes(folder, SPEC)
    foretold = stored_bytes(quantization, sizes.parameters, sizes.quantizable, 4)
    assert bytes_of(model.model) == pytest.approx(foretold, rel=0.05)
    if layers := layers_of(model):
        assert sizes.quantizable == sum(elements(layer.weight) for layer in layers.values())


def test_fewer_bits_take_fewer_bytes(tiny_model: Path, tmp_path: Path) -> None:
    folder = wider(tmp_path, tiny_model)
    small, middle, whole = (
        bytes_of(language_model(folder, quantization=name).model) for name in ("nf4", "int8", "none")
    )
    assert (small < 0.7 * middle, middle < 0.4 * whole) == (True, True)


@each
def test_parameters_and_operations_are_counted_as_without_quantization(tiny_model: Path, quantization: str) -> None:
    plain, model = language_model(tiny_model), language_model(tiny_model, quantization=quantization)
    assert model.parameters() == plain.parameters()
    assert model.flops([7, 5], 3, training=True) == plain.flops([7, 5], 3, training=True)
    assert model.lora.shapes == plain.lora.shapes


def test_fingerprints_tell_how_a_base_is_stored(tiny_model: Path) -> None:
    found = {name: language_model(tiny_model, quantization=name).fingerprint for name in QUANTIZATIONS}
    assert len(set(found.values())) == len(found)
    assert found["none"] == language_model(tiny_model).fingerprint


# ---------------------------------------------------------------------------------------------- refusals


@each
def test_a_missing_library_is_named_with_the_way_to_get_it(
    tiny_model: Path, quantization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ModelError, match="needs bitsandbytes") as caught:
        language_model(tiny_model, quantization=quantization)
    assert "fedllm-bench[quantization]" in str(caught.value.hint)
    language_model(tiny_model)


def test_a_library_that_is_too_old_is_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitsandbytes.__version__", "0.49.2")
    with pytest.raises(ModelError, match=r"0\.50 or newer, not 0\.49\.2"):
        language_model(tiny_model, quantization="int8")


def test_a_base_that_is_quantized_already_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    quantized = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantized}))
    with pytest.raises(ModelError, match="quantized already"):
        language_model(folder, quantization="nf4")


def test_an_unknown_quantization_is_refused_with_the_nearest_name() -> None:
    experiment = Experiment(name="x", model=Model(quantization="nf5"), federation=Federation(rounds=1, cohort=1))
    with pytest.raises(ExperimentError, match=r"model\.quantization") as caught:
        build.check(experiment)
    assert "nf4" in str(caught.value.hint)


def test_the_doctor_says_whether_the_library_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path))

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    def row() -> dict[str, str]:
        rows = json.loads(CliRunner().invoke(cli, ["doctor", "--json"]).stdout)["rows"]
        return next(row for row in rows if row["name"] == "bitsandbytes")

    assert row()["status"] == "ok"
    monkeypatch.setattr("importlib.metadata.version", missing)
    assert (row()["status"], "fedllm-bench[quantization]" in row()["hint"]) == ("note", True)


# ---------------------------------------------------------------------------------------- the real model

TEXT = (
    "The river was low that summer, and the boats that used to carry grain to the city lay ashore. My grandmother "
    "said that she had seen it only once before, in the year of the bridge, and that the rain had come back."
)


@pytest.mark.slow
@pytest.mark.parametrize(("quantization", "loss", "direction"), [("int8", 0.03, 0.99), ("nf4", 0.1, 0.5)])
def test_the_real_model_loses_little(quantization: str, loss: float, direction: float) -> None:
    assets.locate("smollm2-135m-gguf")
    spec = LoraSpec(8, 16.0, 0.0, ("q_proj", "v_proj"))
    losses, grads = [], []
    for name in ("none", quantization):
        model = load_model("smollm2-135m", spec, dtype="float32", device="cpu", quantization=name)
        row = torch.tensor(model.tokenizer(TEXT)["input_ids"])
        with torch.no_grad():
            losses.append(float(cross_entropy(logits(model, [row])[0], row[1:])))
        grads.append(flat(gradients(model, [row])))
    assert losses[1] == pytest.approx(losses[0], rel=loss)
    assert cosine_similarity(*grads, dim=0) > direction
