"""HetLoRA and FlexLoRA: clients of different ranks train, send and are merged as their papers say."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.aggregate import Gathering, Merged
from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.methods.mixed_ranks import Truncated, flexlora, hetlora
from fedllm_bench.federation.methods.paper import fedavg
from fedllm_bench.federation.optimizer import SGD, AdamW, LocalOptimizer
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.factors import pairs
from fedllm_bench.tensors import Tensors, add, nbytes
from small_parts import SPEC, difference, language_model, moved
from small_rounds import SIZES, Federation

METHODS = [hetlora, flexlora]
RANKS = (0.25, 0.5, 1.0)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> LanguageModel:
    return language_model(tiny_model)


def ranks_of(federation: Federation) -> list[int]:
    hook = federation.algorithm.client
    assert isinstance(hook, Truncated)
    return [hook.rank(federation.plan.seed, client, SPEC.rank) for client in federation.plan.members]


def cut(adapter: Tensors, rank: int) -> dict[str, torch.Tensor]:
    return {name: value[:rank] if "lora_A" in name else value[:, :rank] for name, value in adapter.items()}


# ------------------------------------------------------------------------------------------- clients


@given(st.integers(0, 100), st.integers(0, 10_000), st.integers(1, 64))
def test_a_clients_rank_is_its_own_for_good_and_fits_the_adapter(seed: int, client: int, full: int) -> None:
    hook = Truncated(RANKS)
    assert hook.rank(seed, client, full) == hook.rank(seed, client, full)
    assert 1 <= hook.rank(seed, client, full) <= full


def test_ranks_are_drawn_about_equally_often() -> None:
    drawn = [Truncated(RANKS).rank(0, client, 16) for client in range(600)]
    assert {rank: drawn.count(rank) > 150 for rank in drawn} == {4: True, 8: True, 16: True}


@pytest.mark.parametrize("optimizer", [AdamW(weight_decay=0.1), SGD(momentum=0.9)], ids=["adamw", "sgd"])
@pytest.mark.parametrize("method", METHODS)
def test_a_client_sends_the_first_components_and_trains_as_if_there_were_no_others(
    model: LanguageModel, tmp_path: Path, method: Callable[..., Algorithm], optimizer: LocalOptimizer
) -> None:
    """Beside it, a client of the full rank that starts from the cut adapter; what it cannot train stays zero."""
    many = {"sizes": (2, 5, 9, 3), "optimizer": optimizer}
    federation = Federation(model, tmp_path, method(ranks=(0.5, 0.25, 0.75)), **many, start=moved(model))
    ranks = ranks_of(federation)
    assert set(ranks) == {2, 3}
    state = federation.first
    for update, rank in zip(federation.updates(state), ranks, strict=True):
        first = cut(state.adapter, rank)
        assert {name: value.shape for name, value in update.delta.items()} == {n: v.shape for n, v in first.items()}
        start = {name: torch.zeros_like(value) for name, value in state.adapter.items()}
        for name, value in cut(start, rank).items():
            value.copy_(first[name])
        whole = Federation(model, tmp_path, fedavg(), **many, start=start)
        beside = whole.updates(whole.first)[update.client]
        assert all(difference({"w": update.delta[n]}, {"w": v}) < 1e-4 for n, v in cut(beside.delta, rank).items())
        rest = {name: value.clone() for name, value in beside.delta.items()}
        for value in cut(rest, rank).values():
            value.zero_()
        assert not any(value.any() for value in rest.values())


@pytest.mark.parametrize("method", METHODS)
def test_what_goes_over_the_wire_is_as_small_as_the_ranks(
    model: LanguageModel, tmp_path: Path, method: Callable[..., Algorithm]
) -> None:
    federation = Federation(model, tmp_path, method())
    state = federation.first
    _, record = federation.round(state)
    assert record.bytes_up == sum(nbytes(state.adapter) * rank // SPEC.rank for rank in ranks_of(federation))
    assert record.bytes_down == record.bytes_up < nbytes(state.adapter) * len(SIZES)


# ------------------------------------------------------------------------------------------- server


def merged_by(algorithm: Algorithm, adapter: Tensors, ends: Sequence[Tensors], weights: Sequence[float]) -> Merged:
    """What is merged of clients that end there."""
    aggregate = algorithm.aggregate(Gathering(seed=0, round=1, adapter=adapter, base={}))
    for client, (end, weight) in enumerate(zip(ends, weights, strict=True)):
        rank = end["q.lora_A.weight"].shape[0]
        start = cut(adapter, rank)
        aggregate.add(client, {name: value - start[name] for name, value in end.items()}, weight)
    merged = aggregate.result()
    assert merged is not None
    return merged


def adapter_of(rank: int, seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = {"q.lora_A.weight": (rank, 7), "q.lora_B.weight": (5, rank)}
    shapes |= {"v.lora_A.weight": (rank, 6), "v.lora_B.weight": (4, rank)}
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def padded(end: Tensors, full: int) -> dict[str, torch.Tensor]:
    out = {}
    for name, value in end.items():
        shape = (full, value.shape[1]) if "lora_A" in name else (value.shape[0], full)
        out[name] = torch.zeros(shape)
        out[name][tuple(slice(size) for size in value.shape)] = value
    return out


def product_norm(end: Tensors) -> float:
    return sum(float((b @ a).square().sum()) for a, b in pairs(end).values()) ** 0.5


@pytest.mark.parametrize("weighting", ["norm", "size", "uniform"])
def test_hetlora_is_the_weighted_mean_of_the_padded_factors(weighting: str) -> None:
    adapter, ends, sizes = adapter_of(4, 0), [adapter_of(rank, rank) for rank in (1, 2, 4)], [3.0, 1.0, 6.0]
    weights = {"norm": [product_norm(end) for end in ends], "size": sizes, "uniform": [1.0] * 3}[weighting]
    sent = [1.0] * 3 if hetlora(weighting=weighting).uniform else sizes
    after = add(adapter, merged_by(hetlora(weighting=weighting), adapter, ends, sent).delta)
    for name, value in after.items():
        parts = [weight * padded(end, 4)[name] for weight, end in zip(weights, ends, strict=True)]
        torch.testing.assert_close(value, sum(parts, torch.zeros(1)) / sum(weights), rtol=1e-5, atol=1e-6)


def test_hetlora_leaves_components_alone_that_nobody_sent() -> None:
    adapter = adapter_of(4, 0)
    after = add(adapter, merged_by(hetlora(), adapter, [adapter_of(1, 1), adapter_of(2, 2)], [1, 1]).delta)
    for name, value in after.items():
        beyond = [slice(2, None), slice(None)] if "lora_A" in name else [slice(None), slice(2, None)]
        assert torch.equal(value[tuple(beyond)], adapter[name][tuple(beyond)])


def test_hetlora_takes_clients_alike_where_all_products_are_zero() -> None:
    adapter = adapter_of(2, 0)
    ends = [{n: v * ("lora_A" in n) for n, v in adapter_of(2, seed).items()} for seed in (1, 2)]
    after = add(adapter, merged_by(hetlora(), adapter, ends, [1, 1]).delta)
    for name, value in after.items():
        torch.testing.assert_close(value, (ends[0][name] + ends[1][name]) / 2)


def test_flexlora_is_the_best_approximation_of_the_mean_product() -> None:
    adapter, ends, sizes = adapter_of(3, 0), [adapter_of(rank, rank) for rank in (1, 2, 3)], [3.0, 1.0, 6.0]
    after = pairs(add(adapter, merged_by(flexlora(), adapter, ends, sizes).delta))
    for layer, (a, b) in after.items():
        products = [
            weight / 10 * pairs(end)[layer][1] @ pairs(end)[layer][0] for weight, end in zip(sizes, ends, strict=True)
        ]
        u, s, vt = torch.linalg.svd(sum(products, torch.zeros(1)))
        torch.testing.assert_close(b @ a, u[:, :3] * s[:3] @ vt[:3], rtol=1e-4, atol=1e-5)
        # So are a smaller client's first components.
        torch.testing.assert_close(b[:, :1] @ a[:1], u[:, :1] * s[:1] @ vt[:1], rtol=1e-4, atol=1e-5)


def test_flexlora_is_exact_where_the_rank_suffices() -> None:
    adapter, ends = adapter_of(4, 0), [adapter_of(1, 1), adapter_of(2, 2)]
    after = pairs(add(adapter, merged_by(flexlora(), adapter, ends, [1, 1]).delta))
    for layer, (a, b) in after.items():
        mean = sum((pairs(end)[layer][1] @ pairs(end)[layer][0] / 2 for end in ends), torch.zeros(1))
        torch.testing.assert_close(b @ a, mean, rtol=1e-5, atol=1e-5)
        # The component that the sum does not need adds nothing, and can learn.
        torch.testing.assert_close(b[:, 3], torch.zeros(len(b)), rtol=0, atol=1e-6)
        torch.testing.assert_close(a[3], adapter[f"{layer}.lora_A.weight"][3])


def test_flexlora_gives_the_same_however_the_factors_are_turned() -> None:
    """B A is what counts: (B M) (M^-1 A) merges to the same factors."""
    adapter, ends = adapter_of(3, 0), [adapter_of(2, 1), adapter_of(3, 2)]
    turn = torch.tensor([[2.0, 1.0], [0.5, -1.0]])
    other = {n: torch.linalg.inv(turn) @ v if "lora_A" in n else v @ turn for n, v in ends[0].items()}
    one = add(adapter, merged_by(flexlora(), adapter, ends, [1, 1]).delta)
    two = add(adapter, merged_by(flexlora(), adapter, [other, ends[1]], [1, 1]).delta)
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------- rounds


@pytest.mark.parametrize("method", METHODS)
def test_rounds_learn_and_every_component_can(
    model: LanguageModel, tmp_path: Path, method: Callable[..., Algorithm]
) -> None:
    federation = Federation(model, tmp_path, method(), steps=4)
    state = federation.first
    losses = []
    for _ in range(3):
        state, record = federation.round(state)
        losses.append(sum(report.loss_first or 0.0 for report in record.reports))
    assert losses[2] < losses[1] < losses[0]
    alive = [a.any(1) | b.any(0) for a, b in pairs(state.adapter).values()]
    assert all(bool(part.all()) for part in alive)


def test_with_the_full_rank_for_all_hetlora_by_size_is_fedavg(model: LanguageModel, tmp_path: Path) -> None:
    same = Federation(model, tmp_path / "a", hetlora(ranks=(1.0,), weighting="size")).rounds(2)
    average = Federation(model, tmp_path / "b", fedavg()).rounds(2)
    assert difference(same.adapter, average.adapter) < 1e-5


@pytest.mark.parametrize("ranks", [(), (0,), (0.5, 1.5), (0.5, "all"), (4, 8)])
@pytest.mark.parametrize("method", METHODS)
def test_ranks_that_are_no_shares_are_refused(method: Callable[..., Algorithm], ranks: tuple[float, ...]) -> None:
    with pytest.raises(ExperimentError, match="ranks is"):
        method(ranks=ranks)
