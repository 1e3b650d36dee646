"""Intervals, paired differences, Holm's correction and the firmness of an order: by hand, by laws, by simulation."""

import numpy as np
import pytest

from fedllm_bench.analysis.comparison import Replicas, difference, holm, mean, score_interval, stability


def one(values: list[float], seed: str = "seed 0") -> dict[str, dict[str, float]]:
    return {seed: {str(place): value for place, value in enumerate(values)}}


def drawn(generator: np.random.Generator, items: int, seeds: int, shift: float = 0.0, by_seed: float = 0.0) -> Replicas:
    return {
        f"seed {seed}": {
            str(item): shift + offset + value for item, value in enumerate(generator.normal(0, 1, items).tolist())
        }
        for seed, offset in enumerate((by_seed * generator.normal(0, 1, seeds)).tolist())
    }


# --- means and intervals


def test_the_mean_counts_parts_then_replicas_then_items_the_same() -> None:
    first = {"seed 0": {"a": 1.0}, "seed 1": {"a": 2.0, "b": 4.0}}  # 1 and 3: 2
    assert mean([first]) == 2.0
    assert mean([first, one([8.0])]) == 5.0


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no scores"):
        mean([{}])
    with pytest.raises(ValueError, match="no scores"):
        score_interval([{"seed 0": {}}])


def test_equal_scores_have_no_width_and_others_hold_their_mean() -> None:
    assert score_interval([one([3.0] * 5)]).low == score_interval([one([3.0] * 5)]).high == 3.0
    found = score_interval([one([1.0, 2.0, 3.0, 6.0])])
    assert found.low < found.mean == 3.0 < found.high


def test_the_interval_is_that_of_an_ordinary_bootstrap_where_there_is_one_seed() -> None:
    values = np.random.default_rng(5).normal(5, 2, 200)
    found = score_interval([one(values.tolist())])
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 200**0.5, rel=0.06)


def test_an_average_of_languages_is_narrower_than_each() -> None:
    generator = np.random.default_rng(1)
    parts = [drawn(generator, 20, 1) for _ in range(4)]
    widths = [found.high - found.low for found in (score_interval([part]) for part in parts)]
    average = score_interval(parts)
    assert average.high - average.low < min(widths)


def test_seeds_that_differ_widen_the_interval_beyond_that_of_items() -> None:
    generator = np.random.default_rng(2)
    alike, apart = drawn(generator, 60, 4), drawn(generator, 60, 4, by_seed=2.0)
    narrow, wide = score_interval([alike]), score_interval([apart])
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_thousands_of_right_and_wrong_answers_are_as_quick_as_a_few() -> None:
    right = (np.random.default_rng(3).random(14_042) < 0.46).astype(float)
    found = score_interval([one(right.tolist())])
    assert found.high - found.low == pytest.approx(2 * 1.96 * (0.46 * 0.54 / 14_042) ** 0.5, rel=0.08)


@pytest.mark.slow
def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(4)
    found = [score_interval([drawn(generator, 40, 4, by_seed=0.3)]) for _ in range(150)]
    assert 0.85 < np.mean([0.0 in interval for interval in found]) <= 1


# --- differences


def test_a_difference_is_over_the_items_that_both_have() -> None:
    ours = {"seed 0": {"a": 5.0, "b": 3.0, "mine": 100.0}}
    theirs = {"seed 0": {"a": 4.0, "b": 4.0, "yours": -100.0}}
    found = difference([ours], [theirs])
    assert found is not None
    assert (found.n, found.interval.mean) == (2, 0.0)
    assert difference([ours], [{"seed 0": {"other": 1.0}}]) is None


def test_pairing_finds_what_intervals_side_by_side_do_not() -> None:
    ease = np.random.default_rng(6).normal(5, 2, 80)
    noise = np.random.default_rng(7).normal(0, 0.2, 80)
    ours, theirs = one((ease + 0.3 + noise).tolist()), one(ease.tolist())
    assert score_interval([ours]).low < score_interval([theirs]).mean
    found = difference([ours], [theirs])
    assert found is not None and found.interval.low > 0 and found.p < 0.001


def test_a_method_against_itself_is_no_difference_and_turned_round_the_other() -> None:
    ours, theirs = one([1.0, 2.0, 5.0, 3.0]), one([2.0, 2.0, 1.0, 3.0])
    same = difference([ours], [ours])
    assert same is not None and (same.interval.low, same.interval.high, same.p) == (0, 0, 1.0)
    there, back = difference([ours], [theirs]), difference([theirs], [ours])
    assert there is not None and back is not None
    assert there.interval.mean == -back.interval.mean
    assert there.p == pytest.approx(back.p)


def test_three_items_never_decide() -> None:
    found = difference([one([9.0, 9.0, 9.0])], [one([1.0, 2.0, 1.0])])
    assert found is not None and found.p > 0.2  # of eight ways to swap answers, two are as far apart


@pytest.mark.slow
def test_equal_methods_are_told_apart_no_more_often_than_the_level_says() -> None:
    generator = np.random.default_rng(8)
    found = [
        difference([drawn(generator, 30, 3, by_seed=0.5)], [drawn(generator, 30, 3, by_seed=0.5)]) for _ in range(120)
    ]
    assert np.mean([each.p < 0.05 for each in found if each is not None]) < 0.15


def test_a_few_lucky_seeds_are_no_evidence_however_many_items_there_are() -> None:
    generator = np.random.default_rng(9)
    ours, theirs = drawn(generator, 400, 2, by_seed=1.0), drawn(generator, 400, 2, 0.5, by_seed=1.0)
    found = difference([ours], [theirs])
    assert found is not None and found.p > 0.05


# --- many comparisons


def test_holms_correction_is_the_one_worked_out_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


# --- order


def test_a_clear_order_comes_back_every_time_and_lower_can_be_better() -> None:
    methods = {
        name: [one([level + place / 100 for place in range(30)])] for name, level in (("a", 1), ("b", 5), ("c", 9))
    }
    found, turned = stability(methods), stability(methods, higher_is_better=False)
    assert found is not None and turned is not None
    assert (found.first, found.first_share, found.order_share, found.tau) == ("c", 1.0, 1.0, 1.0)
    assert turned.first == "a"


def test_an_order_by_luck_is_shaky() -> None:
    generator = np.random.default_rng(10)
    found = stability({name: [drawn(generator, 40, 1)] for name in "abcde"})
    assert found is not None
    assert found.first_share < 0.95 and found.order_share < 0.6 and found.tau < 0.9


def test_where_there_is_nothing_to_order_nothing_is_said() -> None:
    assert stability({"a": [one([1.0])]}) is None
    assert stability({"a": [one([1.0, 2.0])], "b": [one([1.0, 2.0])]}) is None
    assert stability({"a": [one([1.0, 2.0, 3.0, 4.0])], "b": [one([2.0, 3.0, 4.0, 5.0])]}) is None  # too few
    assert stability({"a": [{"seed 0": {"x": 1.0}}], "b": [{"seed 0": {"y": 1.0}}]}) is None
