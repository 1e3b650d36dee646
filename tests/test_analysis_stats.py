"""Statistics over clients: values worked out by hand, and laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedllm_bench.analysis.stats import Interval, mean_interval, paired_change, perplexity, spread, worst_decile

LOSSES = st.floats(0, 20, allow_nan=False)
MANY = st.lists(LOSSES, min_size=1, max_size=30)


# --- worked out by hand


def test_the_mean_of_equal_clients_has_no_width() -> None:
    assert mean_interval([2.5] * 7) == Interval(2.5, 2.5, 2.5)


def test_one_client_says_nothing_about_others_and_its_interval_is_itself() -> None:
    assert mean_interval([3.0]) == Interval(3.0, 3.0, 3.0)


def test_a_weighted_mean_counts_a_client_by_its_weight() -> None:
    assert mean_interval([1.0, 4.0], weights=[2.0, 1.0]).mean == pytest.approx(2.0)


def test_a_mean_over_no_clients_is_refused() -> None:
    with pytest.raises(ValueError, match="no clients"):
        mean_interval([])


def test_the_interval_is_that_of_the_normal_law_for_many_clients() -> None:
    values = np.random.default_rng(3).normal(5, 2, 4000)
    interval = mean_interval(list(values))
    half = 1.96 * 2 / math.sqrt(4000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(4)
    hits = sum(1.0 in mean_interval(list(draws.normal(1, 1, 40))) for _ in range(200))
    assert 0.89 <= hits / 200 <= 0.99


def test_resampling_in_parts_gives_what_it_gives_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = list(np.random.default_rng(5).normal(0, 1, 50))
    whole = mean_interval(values)
    monkeypatch.setattr("fedllm_bench.analysis.stats.CHUNK", 500)
    assert mean_interval(values) == whole


def test_the_worst_decile_is_the_mean_of_the_highest_tenth() -> None:
    assert worst_decile([float(value) for value in range(20)]) == (18 + 19) / 2


def test_the_worst_decile_of_fewer_than_ten_clients_is_the_worst_one() -> None:
    assert worst_decile([1.0, 5.0, 2.0]) == 5.0


def test_the_spread_is_the_standard_deviation_over_these_clients() -> None:
    assert spread([1.0, 3.0]) == 1.0


def test_perplexity_is_the_exponential_of_the_loss() -> None:
    assert perplexity(0.0) == 1.0
    assert perplexity(math.log(50)) == pytest.approx(50)


def test_a_loss_beyond_all_measure_has_no_perplexity() -> None:
    assert perplexity(1e6) is None


def test_a_paired_change_pairs_clients_by_name_and_leaves_out_those_without_a_partner() -> None:
    before = {"a": 3.0, "b": 4.0, "c": 1.0}
    after = {"b": 3.5, "a": 3.5, "d": 9.0}
    assert paired_change(before, after) == {"a": 0.5, "b": -0.5}


# --- laws


@given(MANY)
def test_the_interval_lies_within_the_values_and_around_something_between(values: list[float]) -> None:
    interval = mean_interval(values)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9


@given(MANY)
def test_equal_values_give_equal_intervals(values: list[float]) -> None:
    assert mean_interval(values) == mean_interval(list(values))


@given(MANY, st.floats(-5, 5))
def test_moving_every_client_moves_the_interval(values: list[float], by: float) -> None:
    moved, still = mean_interval([value + by for value in values]), mean_interval(values)
    assert (moved.mean, moved.low, moved.high) == pytest.approx(
        (still.mean + by, still.low + by, still.high + by), abs=1e-9
    )


@given(MANY, st.floats(0.1, 10))
def test_equal_weights_are_no_weights(values: list[float], weight: float) -> None:
    weighted, plain = mean_interval(values, [weight] * len(values)), mean_interval(values)
    assert (weighted.mean, weighted.low, weighted.high) == pytest.approx((plain.mean, plain.low, plain.high), abs=1e-9)


@given(MANY)
def test_the_worst_decile_is_between_the_mean_and_the_worst(values: list[float]) -> None:
    assert np.mean(values) - 1e-9 <= worst_decile(values) <= max(values) + 1e-9


@given(MANY)
def test_the_order_of_clients_changes_neither_tail_nor_spread(values: list[float]) -> None:
    backwards = values[::-1]
    assert worst_decile(backwards) == worst_decile(values)
    assert spread(backwards) == pytest.approx(spread(values), abs=1e-9)


@given(st.dictionaries(st.sampled_from("abcde"), LOSSES), st.dictionaries(st.sampled_from("abcde"), LOSSES))
def test_the_change_back_is_the_change_reversed(before: dict[str, float], after: dict[str, float]) -> None:
    there, back = paired_change(before, after), paired_change(after, before)
    assert {client: -value for client, value in back.items()} == there
