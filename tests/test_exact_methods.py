"""FLoRA and FedEx-LoRA lose nothing when they merge; what they end with is an adapter like any other."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedllm_bench.check import check
from fedllm_bench.errors import ExperimentError, Meaningless
from fedllm_bench.experiment import Experiment, resolve
from fedllm_bench.federation.aggregate import Gathering, Merged
from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.messages import RunState
from fedllm_bench.federation.methods.exact import fedex_lora, flora
from fedllm_bench.federation.methods.paper import fedavg
from fedllm_bench.federation.needs import Part, refuse_without_meaning
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.factors import leading, pairs, split, stacked
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.peft_format import load_adapter, save_adapter
from fedllm_bench.tensors import Tensors, add
from small_parts import SPEC, language_model, logits, rows_of
from small_parts import stacked as as_stack
from small_rounds import SIZES, Federation

EXACT = [flora, fedex_lora]
LENGTHS = (9, 30, 4)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> LanguageModel:
    return language_model(tiny_model)


def effective(state: RunState, adapter: Tensors | None = None) -> dict[str, Tensor]:
    """(R + B A) alpha / rank of every adapted layer, (out, in)."""
    return {
        layer: SPEC.scaling * (state.base.get(layer, 0) + b.double() @ a.double())
        for layer, (a, b) in pairs(adapter or state.adapter).items()
    }


def means(parts: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    total = sum(weights)
    return {
        layer: sum((weight / total * part[layer] for weight, part in zip(weights, parts, strict=True)), torch.zeros(1))
        for layer in parts[0]
    }


def largest_gap(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    return max(float((found[layer] - value).abs().max()) for layer, value in expected.items())


def gaps(federation: Federation, weights: Sequence[float], rounds: int) -> list[float]:
    """After each round, how far the effective weights are from the mean of the clients' effective weights."""
    state, found = federation.first, []
    for _ in range(rounds):
        ends = [effective(state, add(state.adapter, update.delta)) for update in federation.updates(state)]
        after, _ = federation.round(state)
        found.append(largest_gap(effective(after), means(ends, weights)))
        assert largest_gap(effective(after), effective(state)) > 1e-2
        state = after
    return found


# ------------------------------------------------------------------------------------------- exactness


@pytest.mark.parametrize("weighting", ["size", "uniform"])
@pytest.mark.parametrize("method", EXACT)
def test_the_next_model_is_the_mean_of_the_clients_models(
    model: LanguageModel, tmp_path: Path, method: Callable[..., Algorithm], weighting: str
) -> None:
    weights = SIZES if weighting == "size" else (1, 1, 1)
    assert max(gaps(Federation(model, tmp_path, method(weighting=weighting)), weights, rounds=3)) < 1e-6


def test_fedavg_leaves_a_gap(model: LanguageModel, tmp_path: Path) -> None:
    assert min(gaps(Federation(model, tmp_path, fedavg()), SIZES, rounds=3)) > 1e-3


@pytest.mark.parametrize("method", EXACT)
def test_the_changed_model_gives_the_logits_of_the_mean_weights(
    model: LanguageModel, tiny_model: Path, tmp_path: Path, method: Callable[[], Algorithm]
) -> None:
    from transformers import AutoModelForCausalLM

    state = Federation(model, tmp_path, method()).rounds(2)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        for layer, change in effective(state).items():
            plain.get_submodule(layer).weight += change.float()
        rows = rows_of(model, LENGTHS)
        expected = [plain(input_ids=row[None]).logits[0, :-1] for row in rows]
        with model.lora.changed_base(state.base):
            found = logits(model, rows, as_stack(state.adapter))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_clients_train_on_the_changed_base(model: LanguageModel, tmp_path: Path) -> None:
    federation = Federation(model, tmp_path, fedex_lora())
    state = federation.rounds(1)
    over = federation.updates(state)
    without = federation.updates(RunState(state.round, state.adapter, state.server, state.shared))
    for a, b in zip(over, without, strict=True):
        assert a.report.loss_first != b.report.loss_first


# -------------------------------------------------------------------------------------- what goes on


def test_flora_starts_every_round_with_a_fresh_adapter_drawn_by_seed_and_round(
    model: LanguageModel, tmp_path: Path
) -> None:
    federation = Federation(model, tmp_path, flora())
    one, two = federation.rounds(1), federation.rounds(2)
    again = Federation(model, tmp_path / "again", flora()).rounds(1)
    for name, shape in model.lora.shapes.items():
        if name.endswith("lora_B.weight"):
            assert not one.adapter[name].any()
            continue
        assert torch.equal(one.adapter[name], again.adapter[name])
        assert float(one.adapter[name].abs().max()) <= 1.0001 / shape[1] ** 0.5
        for other in (two.adapter[name], model.lora.initial(7)[name]):
            assert float((one.adapter[name] - other).abs().max()) > 0.01


def test_fedex_lora_has_the_adapter_of_fedavg(model: LanguageModel, tmp_path: Path) -> None:
    exact = Federation(model, tmp_path / "a", fedex_lora()).rounds(1)
    average = Federation(model, tmp_path / "b", fedavg(weighting="uniform")).rounds(1)
    for name, value in average.adapter.items():
        assert torch.equal(exact.adapter[name], value)


def test_where_all_clients_agree_fedex_lora_has_nothing_to_add() -> None:
    adapter = {"q.lora_A.weight": torch.randn(2, 5), "q.lora_B.weight": torch.randn(3, 2)}
    delta = {name: torch.full_like(value, 0.5) for name, value in adapter.items()}
    merged = merged_by(fedex_lora(), adapter, {0: delta, 1: delta})
    assert merged.base is not None
    torch.testing.assert_close(merged.base["q"], torch.zeros(3, 5), rtol=0, atol=1e-6)


def merged_by(algorithm: Algorithm, adapter: Tensors, deltas: Mapping[int, Tensors]) -> Merged:
    aggregate = algorithm.aggregate(Gathering(seed=1, round=1, adapter=adapter, base={}))
    for client, delta in deltas.items():
        aggregate.add(client, delta, 1.0)
    merged = aggregate.result()
    assert merged is not None
    return merged


@pytest.mark.parametrize("method", EXACT)
def test_a_round_without_updates_changes_nothing(method: Callable[[], Algorithm]) -> None:
    assert method().aggregate(Gathering(1, 1, {}, {})).result() is None


@pytest.mark.parametrize("method", EXACT)
def test_a_sum_that_hides_each_update_is_refused(method: Callable[[], Algorithm]) -> None:
    secure = Part("channel secure-sum", {"individual updates": "the server sees the sum alone"})
    with pytest.raises(ExperimentError, match="make no sense together"):
        refuse_without_meaning("a method", method(), [secure])
    with pytest.raises(ExperimentError, match="weighting is 'loss'"):
        method(weighting="loss")  # type: ignore[call-arg]


def with_changes(method: str, changes: Mapping[str, Any]) -> Experiment:
    document = {"name": "one", "federation": {"rounds": 2, "cohort": 3}, "algorithm": {"name": method}}
    return resolve({**document, **changes}, "here")[0]


@pytest.mark.parametrize("method", ["flora", "flexlora"])
@pytest.mark.parametrize(
    "changes",
    [{"channel": [{"name": "quantize"}]}, {"channel": [{"name": "top-k"}]}, {"local": {"keep_optimizer": True}}],
    ids=["quantize", "top-k", "moments"],
)
def test_what_clients_keep_of_factors_is_refused_where_the_next_round_has_others(
    method: str, changes: Mapping[str, Any]
) -> None:
    """What was left of a B belongs to its A: added to the B of another A it is a change that nobody made."""
    with pytest.raises(Meaningless, match="new factors"):
        check(with_changes(method, changes))
    check(with_changes("fedex-lora", changes))
    check(with_changes(method, {"channel": [{"name": "top-k", "error_feedback": False}]}))


# ------------------------------------------------------------------------------------------- factors


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.lists(st.integers(1, 5), min_size=1, max_size=4))


def random_pairs(out: int, width: int, ranks: Sequence[int], seed: int) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(rank, width, generator=draw).double(), torch.randn(out, rank, generator=draw).double())
        for rank in ranks
    ]


@given(shapes, st.integers(0, 1000), st.integers(1, 12))
@settings(deadline=None)
def test_the_leading_components_are_the_best_approximation(
    shape: tuple[int, int, list[int]], seed: int, rank: int
) -> None:
    """Eckart and Young: what remains is the root of the squares of the singular values left out."""
    out, width, ranks = shape
    parts = random_pairs(out, width, ranks, seed)
    shares = [1 / (2 + place) for place in range(len(parts))]
    total = sum((share * b @ a for share, (a, b) in zip(shares, parts, strict=True)), torch.zeros(out, width))
    a, b = leading(stacked(parts, shares), rank)
    sizes = torch.linalg.svdvals(total)
    assert len(a) == b.shape[1] <= min(rank, out, width)
    remains = float(torch.linalg.matrix_norm(total - b @ a))
    assert remains == pytest.approx(float(sizes[rank:].square().sum().sqrt()), abs=1e-9)
    assert (a.gather(1, a.abs().argmax(1, keepdim=True)) > 0).all()
    torch.testing.assert_close(a @ a.T, torch.eye(len(a), dtype=a.dtype))
    torch.testing.assert_close(b.norm(dim=0), sizes[: len(a)])


def test_a_product_of_zero_has_no_components() -> None:
    zero = torch.zeros(3, 4, dtype=torch.float64)
    a, b = leading((torch.randn(2, 4).double(), torch.zeros(3, 2).double()), 2)
    assert (a.shape, b.shape) == ((0, 4), (3, 0))
    assert split(zero, torch.float32)[0].shape == (0, 4)


# ------------------------------------------------------------------------------------------- on disk


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own
@pytest.mark.parametrize("method", EXACT)
def test_what_a_run_ends_with_gives_the_same_logits_in_peft(
    model: LanguageModel, tiny_model: Path, tmp_path: Path, method: Callable[[], Algorithm]
) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    state = Federation(model, tmp_path / "run", method()).rounds(2)
    folder = tmp_path / "adapter"
    save_adapter(folder, state.adapter, SPEC, str(tiny_model), state.base)
    theirs = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), folder).eval()
    rows = rows_of(model, LENGTHS)
    with torch.no_grad():
        expected = [theirs(input_ids=row[None]).logits[0, :-1] for row in rows]
        with model.lora.changed_base(state.base):
            found = logits(model, rows, as_stack(state.adapter))
        without = logits(model, rows, as_stack(state.adapter))
    for ours, other, wanted in zip(found, without, expected, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)
        assert float((other - wanted).abs().max()) > 1e-3


@pytest.mark.parametrize("rank", [1, 3])
def test_the_adapter_on_disk_has_the_rank_that_the_change_needs_and_the_same_scaling(
    model: LanguageModel, tmp_path: Path, rank: int
) -> None:
    spec = LoraSpec(rank=4, alpha=2.0, dropout=0.0, targets=SPEC.targets)
    adapter = model.lora.initial(0)  # B is zero
    layer, *_ = pairs(adapter)
    out, width = adapter[f"{layer}.lora_B.weight"].shape[0], adapter[f"{layer}.lora_A.weight"].shape[1]
    change = {layer: torch.randn(out, rank) @ torch.randn(rank, width)}
    save_adapter(tmp_path, adapter, spec, "base", change)
    tensors, config = load_adapter(tmp_path)
    assert (config["r"], config["lora_alpha"]) == (rank, 0.5 * rank)
    a, b = pairs(tensors)[layer]  # type: ignore[arg-type]
    torch.testing.assert_close(b @ a, change[layer], rtol=1e-5, atol=1e-5)
    assert all(len(a) == rank == b.shape[1] for a, b in pairs(tensors).values())  # type: ignore[arg-type]
    assert json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"] == list(SPEC.targets)
