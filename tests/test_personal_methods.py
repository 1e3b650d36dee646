"""Ditto and pFedGraph give each client a model of its own, the one that their papers define."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.aggregate import Gathering, Merged
from fedllm_bench.federation.hooks import TrainContext
from fedllm_bench.federation.keys import personal_model
from fedllm_bench.federation.methods.paper import fedavg
from fedllm_bench.federation.methods.personal import ditto, onto_simplex, pfedgraph
from fedllm_bench.federation.optimizer import SGD
from fedllm_bench.federation.proximal import CosinePull
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.tensors import Tensors, add, norm, subtract
from small_parts import difference, language_model, moved
from small_rounds import SIZES, Federation


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> LanguageModel:
    return language_model(tiny_model)


def apart(a: Tensors, b: Tensors) -> float:
    return norm(subtract(a, b))


# ------------------------------------------------------------------------------------------- Ditto


def test_the_global_model_of_ditto_is_fedavgs_to_the_bit(model: LanguageModel, tmp_path: Path) -> None:
    with_own = Federation(model, tmp_path / "a", ditto(lam=0.5)).rounds(3)
    average = Federation(model, tmp_path / "b", fedavg()).rounds(3)
    for name, value in average.adapter.items():
        assert torch.equal(with_own.adapter[name], value)


def test_without_pull_dittos_own_model_is_local_training_from_where_it_was(
    model: LanguageModel, tmp_path: Path
) -> None:
    federation = Federation(model, tmp_path, ditto(lam=0))
    state = federation.first
    ends = [add(state.adapter, update.delta) for update in federation.updates(state)]
    state, _ = federation.round(state)
    for client, end in enumerate(ends):
        assert difference(federation.personal(client), end) < 1e-6
    before = [dict(federation.personal(client)) for client in range(len(SIZES))]
    after, _ = federation.round(state)
    for client, own in enumerate(before):
        local = Federation(model, tmp_path / str(client), fedavg(), start=own)
        (update,) = [update for update in local.updates(replace(local.first, round=1)) if update.client == client]
        assert difference(federation.personal(client), add(own, update.delta)) < 1e-5
        assert apart(federation.personal(client), after.adapter) > 0.01


@pytest.mark.slow
def test_dittos_own_model_comes_to_rest_where_its_gradient_and_the_pull_are_even(
    model: LanguageModel, tmp_path: Path
) -> None:
    """lam (v - w) = -gradient at v: one more step of plain gradient descent from v moves by lr lam (v - w)."""
    sgd, lam, lr = SGD(), 5.0, 0.02
    sizes = (2,)  # as many as a batch: every step sees them all
    federation = Federation(
        model, tmp_path / "a", ditto(lam), sizes=sizes, steps=150, lr=lr, optimizer=sgd, start=moved(model)
    )
    anchor = federation.first.adapter
    federation.round(federation.first)
    own = federation.personal(0)
    step = Federation(model, tmp_path / "b", fedavg(), sizes=sizes, steps=1, lr=lr, optimizer=sgd, start=own)
    (update,) = step.updates(step.first)
    pull = {name: lr * lam * value for name, value in subtract(own, anchor).items()}
    assert norm(pull) > 1e-3
    assert difference(update.delta, pull) < 0.02


@pytest.mark.slow
def test_a_strong_pull_keeps_dittos_own_model_at_the_global_one(model: LanguageModel, tmp_path: Path) -> None:
    lr = 0.02
    distances = []
    for lam in (0.0, 5.0, 0.9 / lr):
        federation = Federation(model, tmp_path / str(lam), ditto(lam), steps=10, lr=lr, optimizer=SGD())
        anchor = federation.first.adapter
        federation.round(federation.first)
        distances.append([apart(federation.personal(client), anchor) for client in range(len(SIZES))])
    for free, near, nearest in zip(*distances, strict=True):
        assert nearest < 0.25 * free
        assert nearest < near < free


def test_dittos_shared_training_does_not_start_from_the_own_model(model: LanguageModel, tmp_path: Path) -> None:
    federation = Federation(model, tmp_path, ditto())
    state = federation.rounds(1)
    fresh = Federation(model, tmp_path / "other", fedavg())
    for ours, plain in zip(federation.updates(state), fresh.updates(state), strict=True):
        assert all(torch.equal(ours.delta[name], value) for name, value in plain.delta.items())
        assert personal_model(ours.own).keys() == state.adapter.keys()


@pytest.mark.parametrize("keep", [True, False])
def test_dittos_own_model_keeps_the_moments_of_its_steps_where_moments_are_kept(
    model: LanguageModel, tmp_path: Path, keep: bool
) -> None:
    """Without pull, and with all its examples in each batch, a client's own model trains alone: 2 + 2 steps are 4."""
    ends = []
    for name, rounds, steps in (("halved", 2, 2), ("at once", 1, 4)):
        federation = Federation(model, tmp_path / name, ditto(lam=0), sizes=(2,), steps=steps, keep_optimizer=keep)
        federation.rounds(rounds)
        ends.append(federation.personal(0))
    assert (difference(*ends) < 1e-5) == keep


# ------------------------------------------------------------------------------------------- pFedGraph


points = st.lists(st.lists(st.floats(-3, 3), min_size=4, max_size=4), min_size=1, max_size=5)


@given(points)
def test_a_projection_is_in_the_simplex_and_no_point_of_it_is_closer(rows: list[list[float]]) -> None:
    """At the closest point the way to any corner of the simplex does not lead towards the point projected."""
    given_points = torch.tensor(rows, dtype=torch.float64)
    found = onto_simplex(given_points)
    assert bool((found >= 0).all())
    torch.testing.assert_close(found.sum(1), torch.ones(len(rows), dtype=torch.float64))
    for point, row in zip(given_points, found, strict=True):
        for corner in torch.eye(4, dtype=torch.float64):
            assert float((point - row) @ (corner - row)) <= 1e-9
    torch.testing.assert_close(onto_simplex(found), found)


def merged_by(deltas: Sequence[Tensors], sizes: Sequence[float], anchor: Tensors, **options: float) -> Merged:
    aggregate = pfedgraph(**options).aggregate(Gathering(seed=0, round=1, adapter=anchor, base={}))  # type: ignore[arg-type]
    for client, (delta, size) in enumerate(zip(deltas, sizes, strict=True)):
        aggregate.add(10 + client, delta, size)
    merged = aggregate.result()
    assert merged is not None
    return merged


def random_deltas(seed: int, clients: int) -> list[Tensors]:
    draw = torch.Generator().manual_seed(seed)
    return [{"a": torch.randn(3, 2, generator=draw), "b": torch.randn(2, generator=draw)} for _ in range(clients)]


@given(st.integers(0, 1000), st.integers(2, 5), st.sampled_from([0.1, 0.8, 5.0]))
@settings(deadline=None, max_examples=25)
def test_personal_models_are_mixed_as_a_numerical_solver_mixes_them(seed: int, clients: int, alpha: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    deltas, anchor = random_deltas(seed, clients), {"a": torch.randn(3, 2), "b": torch.randn(2)}
    sizes = np.arange(1.0, clients + 1)
    flat = np.stack([torch.cat([value.flatten() for value in delta.values()]).double().numpy() for delta in deltas])
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    p = sizes / sizes.sum()
    merged = merged_by(deltas, sizes.tolist(), anchor, alpha=alpha)
    start = torch.cat([value.flatten() for value in anchor.values()]).double().numpy()
    for i, own in enumerate(unit):
        solved = optimize.minimize(
            lambda a, own=own: alpha * np.square(a - p).sum() - a @ (unit @ own),
            p,
            bounds=[(0, 1)] * clients,
            constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        expected = start + solved.x @ flat
        found = torch.cat([merged.personal[10 + i][name].flatten() for name in anchor]).double().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_alpha_beyond_all_similarity_makes_every_personal_model_fedavgs() -> None:
    deltas, anchor = random_deltas(0, 3), {"a": torch.zeros(3, 2), "b": torch.zeros(2)}
    merged = merged_by(deltas, SIZES, anchor, alpha=1e9)
    for model in merged.personal.values():
        assert difference(model, add(anchor, merged.delta)) < 1e-6


def test_alike_clients_work_together_and_others_do_not() -> None:
    one, *_ = random_deltas(1, 1)
    opposite = {name: -value for name, value in one.items()}
    anchor = {name: torch.zeros_like(value) for name, value in one.items()}
    merged = merged_by([one, one, opposite], [1, 1, 1], anchor, alpha=0.2)
    for client, wanted in zip((10, 11, 12), (one, one, opposite), strict=True):
        assert difference(merged.personal[client], wanted) < 1e-6


def test_a_client_that_did_not_move_is_like_nobody() -> None:
    one, *_ = random_deltas(1, 1)
    anchor = {name: torch.zeros_like(value) for name, value in one.items()}
    merged = merged_by([one, anchor], [1, 1], anchor, alpha=0.8)
    # a_0: p + (1, 0) / 1.6 is (1.125, 0.5), so (0.8125, 0.1875); a_1: p itself.
    for client, share in ((10, 0.8125), (11, 0.5)):
        assert difference(merged.personal[client], {name: share * value for name, value in one.items()}) < 1e-6


def test_the_global_model_of_pfedgraph_without_pull_is_fedavgs_in_the_first_round(
    model: LanguageModel, tmp_path: Path
) -> None:
    graph = Federation(model, tmp_path / "a", pfedgraph(lam=0)).rounds(1)
    average = Federation(model, tmp_path / "b", fedavg()).rounds(1)
    for name, value in average.adapter.items():
        assert torch.equal(graph.adapter[name], value)


def test_clients_of_pfedgraph_go_on_from_their_personal_models(model: LanguageModel, tmp_path: Path) -> None:
    federation = Federation(model, tmp_path, pfedgraph(alpha=0.05), steps=6)
    state = federation.rounds(1)
    for update in federation.updates(state):
        own = federation.personal(update.client)
        assert apart(own, state.adapter) > 0.05
        local = Federation(model, tmp_path / str(update.client), pfedgraph(alpha=0.05), steps=6, start=own)
        alone = local.updates(replace(local.first, round=1))[update.client]
        assert alone.report.loss_first == pytest.approx(update.report.loss_first, rel=1e-5)
        assert difference(add(state.adapter, update.delta), add(own, alone.delta)) < 1e-3


def test_the_pull_of_pfedgraph_is_the_gradient_of_the_cosine() -> None:
    draw = torch.Generator().manual_seed(0)
    start = {"a": torch.randn(2, 3, 4, generator=draw), "b": torch.randn(2, 5, generator=draw)}  # two clients
    here = {name: (value + torch.randn(value.shape, generator=draw)).requires_grad_() for name, value in start.items()}
    flat = [torch.cat([value.flatten(1) for value in tensors.values()], 1) for tensors in (here, start)]
    (-0.5 * torch.cosine_similarity(*flat).sum()).backward()  # type: ignore[no-untyped-call]
    active = torch.ones(2, dtype=torch.bool)
    ctx = TrainContext(0, 1, [0, 1], anchor={}, shared={}, own=[], active=active, memory={}, at_anchor={})
    pull = CosinePull(0.5)
    pull.start(ctx, start)
    found = pull.on_gradients(ctx, here, {name: torch.ones_like(value) for name, value in here.items()})
    for name, value in here.items():
        assert value.grad is not None
        torch.testing.assert_close(found[name], 1 + value.grad)


def test_the_pull_of_pfedgraph_keeps_directions_together(model: LanguageModel, tmp_path: Path) -> None:
    def turned(lam: float) -> list[float]:
        federation = Federation(
            model, tmp_path / str(lam), pfedgraph(lam=lam), steps=6, optimizer=SGD(), start=moved(model)
        )
        start = torch.cat([value.flatten() for value in federation.first.adapter.values()])
        ends = [add(federation.first.adapter, update.delta) for update in federation.updates(federation.first)]
        return [
            float(torch.cosine_similarity(torch.cat([v.flatten() for v in end.values()]), start, 0)) for end in ends
        ]

    assert all(pulled > free + 1e-4 for pulled, free in zip(turned(200.0), turned(0.0), strict=True))


# ------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"alpha": -1.0}, {"alpha": float("inf")}, {"lam": -0.1}])
def test_pfedgraph_refuses_numbers_without_meaning(options: dict[str, float]) -> None:
    with pytest.raises(ExperimentError, match=f"{next(iter(options))} is"):
        pfedgraph(**options)  # type: ignore[arg-type]


def test_ditto_refuses_a_push() -> None:
    with pytest.raises(ExperimentError, match="lam is -1"):
        ditto(lam=-1.0)
