"""Median, trimmed mean and Krum are what their papers say, and a bad client does not move them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.aggregate import Gathering, Merged
from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.messages import Job
from fedllm_bench.federation.methods.robust import krum, median, trimmed_mean
from fedllm_bench.federation.rounds import run_round
from fedllm_bench.federation.worker import JobResult
from fedllm_bench.tensors import Tensors, norm, subtract
from made_up import chitchat, take_as_chitchat
from small_parts import language_model
from small_rounds import Federation
from small_runs import run

Array = NDArray[np.float64]


def updates_of(rows: Array) -> dict[int, Tensors]:
    """Clients with a vector each, cut into two tensors."""
    cut = rows.shape[1] // 2
    return {
        10 + place: {"a": torch.from_numpy(row[:cut]).float(), "b": torch.from_numpy(row[cut:]).float().view(1, -1)}
        for place, row in enumerate(rows)
    }


def merged_by(algorithm: Algorithm, updates: Mapping[int, Tensors]) -> Merged | None:
    aggregate = algorithm.aggregate(Gathering(seed=0, round=1, adapter={}, base={}))
    for client, delta in updates.items():
        aggregate.add(client, delta, 1.0)
    return aggregate.result()


def merged_rows(algorithm: Algorithm, rows: Array) -> Array:
    merged = merged_by(algorithm, updates_of(rows))
    assert merged is not None
    return np.concatenate([merged.delta["a"].numpy(), merged.delta["b"].numpy()[0]]).astype(np.float64)


def drawn(seed: int, clients: int, width: int = 6) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (clients, width)).astype(np.float32).astype(np.float64)


seeds = st.integers(0, 10_000)


# ------------------------------------------------------------------------------------------- references


@given(seeds, st.integers(1, 12))
def test_the_median_is_numpys(seed: int, clients: int) -> None:
    rows = drawn(seed, clients)
    np.testing.assert_allclose(merged_rows(median(), rows), np.median(rows, axis=0), rtol=1e-6, atol=1e-7)


@settings(deadline=None)  # scipy is imported in the first example
@given(seeds, st.integers(1, 25), st.sampled_from([0.1, 0.2, 0.25, 0.4]))
def test_the_trimmed_mean_is_scipys(seed: int, clients: int, trim: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    rows = drawn(seed, clients)
    expected = stats.trim_mean(rows, trim, axis=0)
    np.testing.assert_allclose(merged_rows(trimmed_mean(trim), rows), expected, rtol=1e-5, atol=1e-6)


def krum_by_hand(rows: Array, byzantine: int, selected: int) -> list[int]:
    """Every sum of squared distances to n - f - 2 others is tried; the least is the score."""
    scores = []
    for i, row in enumerate(rows):
        apart = [float(np.square(row - other).sum()) for j, other in enumerate(rows) if j != i]
        scores.append(min(sum(some) for some in itertools.combinations(apart, len(rows) - byzantine - 2)))
    return sorted(range(len(rows)), key=lambda i: scores[i])[:selected]


@given(seeds, st.integers(0, 2), st.integers(0, 3), st.integers(1, 4))
@settings(deadline=None)
def test_krum_picks_what_trying_all_neighbourhoods_picks(seed: int, byzantine: int, more: int, selected: int) -> None:
    rows = drawn(seed, max(2 * byzantine + 3, selected + byzantine) + more)
    expected = rows[krum_by_hand(rows, byzantine, selected)].mean(0)
    found = merged_rows(krum(byzantine, selected), rows)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_krum_gives_one_of_the_updates_as_it_came_and_the_first_of_equals() -> None:
    rows = drawn(3, 6)
    rows[4] = rows[2]
    found = merged_by(krum(), updates_of(rows))
    assert found is not None
    assert any(
        all(torch.equal(found.delta[name], delta[name]) for name in delta) for delta in updates_of(rows).values()
    )
    same = {client: {"w": torch.tensor([float(client)])} for client in (0, 1, 2, 3, 4)}
    shifted = merged_by(krum(), {**same, 0: same[1], 2: same[1]})
    assert shifted is not None
    assert float(shifted.delta["w"]) == 1.0


# ------------------------------------------------------------------------------------------- bad clients


METHODS = [median(), trimmed_mean(0.2), krum(), krum(byzantine=2, selected=3)]
bad_values = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.mark.parametrize("algorithm", METHODS, ids=["median", "trimmed-mean", "krum", "multi-krum"])
@given(seed=seeds, place=st.integers(0, 7), bad=st.lists(bad_values, min_size=6, max_size=6))
def test_a_bad_client_moves_nothing_out_of_the_range_of_the_good_ones(
    algorithm: Algorithm, seed: int, place: int, bad: Sequence[float]
) -> None:
    good = drawn(seed, 7)
    found = merged_rows(algorithm, np.insert(good, place, bad, axis=0))
    # Krum may choose the bad one where it lies among the good ones: its score is then no worse than theirs, a sum over
    # fewer than seven squares of at most their widest distance.
    widest = max(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(good, 2))
    slack = 1e-6 if algorithm in METHODS[:2] else np.sqrt(len(good)) * widest
    assert (found <= good.max(0) + slack).all()
    assert (found >= good.min(0) - slack).all()


@pytest.mark.parametrize("algorithm", METHODS, ids=["median", "trimmed-mean", "krum", "multi-krum"])
def test_the_mean_is_carried_away_where_these_are_not(algorithm: Algorithm) -> None:
    rows = np.insert(drawn(0, 7), 3, 1e6, axis=0)
    assert np.abs(rows.mean(0)).min() > 1e5
    assert np.abs(merged_rows(algorithm, rows)).max() < 5


def test_two_bad_clients_that_agree_do_not_fool_krum_that_expects_two() -> None:
    rows = np.concatenate([drawn(1, 5), np.full((2, 6), 50.0)])
    assert np.abs(merged_rows(krum(byzantine=2), rows)).max() < 5


class Spoiling:
    """Trains as another executor does; one client then sends something of its own."""

    def __init__(self, worker: Any, client: int, value: float) -> None:
        self.worker, self.client, self.value = worker, client, value

    def map(self, jobs: Sequence[Job]) -> Any:
        for job in jobs:
            done = self.worker.run(job)
            spoilt = [
                replace(
                    update, delta={name: torch.full_like(value, self.value) for name, value in update.delta.items()}
                )
                if update.client == self.client
                else update
                for update in done.updates
            ]
            yield JobResult(spoilt, done.idle, done.seconds)


@pytest.mark.parametrize(
    "algorithm",
    [median(), trimmed_mean(0.2), krum(), krum(selected=4)],
    ids=["median", "trimmed-mean", "krum", "multi"],
)
def test_rounds_go_on_beside_a_client_that_sends_garbage(
    algorithm: Algorithm, tiny_model: Path, tmp_path: Path
) -> None:
    federation = Federation(language_model(tiny_model), tmp_path, algorithm, sizes=(2, 3, 4, 3, 2))
    state = federation.first
    honest = max(norm(update.delta) for update in federation.updates(state))
    after, record = run_round(federation.plan, state, Spoiling(federation.worker, 1, 1e4), federation.own)
    assert record.rejected == {}
    moved = norm(subtract(after.adapter, state.adapter))
    assert 0 < moved < 1.5 * honest


def test_fewer_than_krum_needs_leave_the_adapter_as_it_is(tiny_model: Path, tmp_path: Path) -> None:
    federation = Federation(language_model(tiny_model), tmp_path, krum(), sizes=(2, 3, 4, 3, 2))
    state = federation.first
    after, record = run_round(federation.plan, state, Spoiling(federation.worker, 1, float("nan")), federation.own)
    assert record.rejected == {1: "rejected: non-finite update"}
    assert (after.round, record.update_norm) == (1, 0.0)
    assert all(torch.equal(value, state.adapter[name]) for name, value in after.adapter.items())


def test_a_federation_with_fewer_clients_than_krum_needs_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large a cohort is asked for: every round would leave the adapter as it is."""
    take_as_chitchat(tmp_path / "cache", chitchat())
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ExperimentError, match="krum needs at least 5 clients a round, not 4"):
        run(tiny_model, tmp_path, "algorithm.name=krum", "federation.cohort=5", "data.clients=4")


# ------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("algorithm", "least"),
    [(median(), 3), (trimmed_mean(), 10), (trimmed_mean(0.2), 5), (krum(), 5), (krum(2, 9), 11), (krum(0), 3)],
)
def test_each_says_how_many_clients_it_cannot_do_without(algorithm: Algorithm, least: int) -> None:
    assert algorithm.least_cohort == least
    assert algorithm.uniform


@pytest.mark.parametrize("trim", [0.1, 0.15, 0.2, 0.29, 0.3, 1 / 3, 0.45])
def test_the_least_cohort_of_a_trimmed_mean_leaves_one_out_on_each_side(trim: float) -> None:
    algorithm = trimmed_mean(trim)
    one_more = drawn(0, algorithm.least_cohort)
    assert not np.allclose(merged_rows(algorithm, one_more), one_more.mean(0), atol=1e-4)
    one_less = drawn(0, algorithm.least_cohort - 1)
    np.testing.assert_allclose(merged_rows(algorithm, one_less), one_less.mean(0), rtol=1e-5, atol=1e-6)


def test_a_share_leaves_out_as_many_as_it_says_where_floats_fall_short() -> None:
    assert int(0.29 * 100) == 28
    rows = np.tile(np.arange(100.0)[:, None] ** 2, (1, 2))
    np.testing.assert_allclose(merged_rows(trimmed_mean(0.29), rows), rows[29:71].mean(0), rtol=1e-6)


@pytest.mark.parametrize("trim", [0.0, -0.1, 0.5, float("nan")])
def test_a_share_that_cannot_be_trimmed_is_refused(trim: float) -> None:
    with pytest.raises(ExperimentError, match="trim is"):
        trimmed_mean(trim)


@pytest.mark.parametrize("options", [{"byzantine": -1}, {"selected": 0}])
def test_krum_refuses_numbers_that_make_no_sense(options: Mapping[str, int]) -> None:
    with pytest.raises(ExperimentError, match=f"{next(iter(options))} is"):
        krum(**options)
