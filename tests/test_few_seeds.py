"""Few seeds and few items make differences less sure: by hand, and by a small simulation."""

import numpy as np
import pytest

from fedllm_bench.analysis.comparison import Replicas, difference, score_interval, stability
from fedllm_bench.analysis.student import SEEDLESS, spread

MANY = 60  # items that all say the same, so that only seeds decide


def flat(**means: float) -> Replicas:
    return {name: {str(item): mean for item in range(MANY)} for name, mean in means.items()}


def test_two_paired_seeds_have_students_t_with_one_degree_of_freedom() -> None:
    found = difference([flat(a=1.0, b=3.0)], [flat(a=0.0, b=0.0)])  # 1 and 3: mean 2, standard error 1, t = 2
    assert found is not None
    assert found.p == pytest.approx(0.29517, abs=1e-4)  # 1 - 2 atan(2) / pi
    assert (found.interval.mean, found.interval.high) == (2.0, pytest.approx(2 + 12.7062, abs=1e-3))


def test_unlike_seeds_are_not_paired_and_share_their_degrees_of_freedom() -> None:
    firm = spread(2.0, 100, [({"a": 1.0, "b": 3.0}, {"c": 0.0, "d": 2.0})])  # variance 1 each, one degree each
    assert (firm.variance, firm.freedom) == (2.0, 2.0)


def test_a_single_seed_is_taken_to_vary_as_the_others_do() -> None:
    pairs = [({"a": 2.0}, {"b": -1.0, "c": 1.0})]  # s^2 = 2: 2 (1/2 + 1) = 3, one degree
    firm = spread(1.0, 100, pairs)
    assert (firm.variance, firm.freedom) == (3.0, 1.0)
    found = difference([flat(a=2.0)], [flat(b=-1.0, c=1.0)])
    assert found is not None and found.p == pytest.approx(0.4544, abs=2e-3)  # t = 2 / sqrt(3)


def test_the_base_model_has_no_seeds_to_vary_by() -> None:
    firm = spread(1.0, 100, [({SEEDLESS: 2.0}, {"b": -1.0, "c": 1.0})])
    assert (firm.variance, firm.freedom) == (1.0, 1.0)


def test_parts_of_an_average_share_their_seeds() -> None:
    pairs = [({"a": 0.0, "b": 4.0}, {"a": 0.0, "b": 0.0}), ({"a": 4.0, "b": 0.0}, {"a": 0.0, "b": 0.0})]
    assert spread(0.0, 100, pairs).variance == 0.0  # what one seed loses in one part it wins in the other


def test_items_and_seeds_are_weighed_as_satterthwaite_says() -> None:
    firm = spread(3.0, 50, [({"a": 0.0, "b": 2.0}, {"a": 0.0, "b": 0.0})])  # of 3, seeds explain 1 and items 2
    assert firm.freedom == pytest.approx(3.0**2 / (2.0**2 / 50 + 1.0**2 / 1))


def test_one_seed_each_rests_on_items_alone() -> None:
    firm = spread(0.5, 79, [({"a": 1.0}, {"b": 2.0})])
    assert (firm.variance, firm.freedom) == (0.5, 79)


def test_no_variance_is_no_doubt() -> None:
    firm = spread(0.0, 3, [({"a": 1.0}, {"a": 1.0})])
    assert (firm.p(0.0), firm.p(1.0), firm.interval(1.0).low) == (1.0, 0.0, 1.0)


def test_the_deviations_of_few_items_are_stretched() -> None:
    found = score_interval([{"a": {str(place): value for place, value in enumerate((4.0, 6.0))}}])
    # Half of the resamples of two items are one of them twice: 4 or 6, stretched by sqrt(2) around 5.
    assert (found.low, found.high) == (pytest.approx(5 - 2**0.5), pytest.approx(5 + 2**0.5))


def test_the_order_says_on_how_many_items_it_rests() -> None:
    long, short = {str(place): float(place % 5) for place in range(80)}, {str(place): 9.0 - place for place in range(5)}
    found = stability({"a": [{"seed 0": long}], "b": [{"seed 0": short}]})
    assert found is not None and (found.first, found.n) == ("b", 5)


def test_two_seeds_of_equal_methods_are_seldom_told_apart() -> None:
    generator = np.random.default_rng(3)

    def drawn() -> Replicas:
        offsets = 0.4 * generator.normal(0, 1, 2)
        scores = offsets[:, None] + generator.normal(0, 1, (2, 30))
        return {
            f"seed {seed}": {str(item): float(score) for item, score in enumerate(row)}
            for seed, row in enumerate(scores)
        }

    found = [difference([drawn()], [drawn()]) for _ in range(60)]
    assert np.mean([each.p < 0.05 for each in found if each is not None]) <= 0.06
