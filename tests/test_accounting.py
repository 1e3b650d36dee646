"""Epsilon by the accountants: as published, in closed form where there is one, monotone, twice for replaced clients."""

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.accounting import RULES, Participation, accountant_for, epsilon, renyi_curve, solve_noise

MNIST = Participation("poisson", 256, 60_000)
ONE_PERCENT = Participation("poisson", 1, 100)

participations = st.builds(Participation, st.sampled_from(sorted(RULES)), st.integers(1, 20), st.integers(20, 1000))


def moments_accountant(participation: Participation, noise: float, rounds: int, delta: float) -> float:
    """The older conversion (Mironov 2017, proposition 3), by which the older values were published."""
    orders, divergences = renyi_curve(participation, noise)
    return float(np.min(rounds * divergences - math.log(delta) / (orders - 1)))


def gaussian_delta(noise: float, epsilon: float) -> float:
    """Balle and Wang 2018, theorem 8, for sensitivity 1."""

    def phi(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    half, shift = 1 / (2 * noise), epsilon * noise
    return phi(half - shift) - math.exp(epsilon) * phi(-half - shift)


@pytest.mark.parametrize(
    ("noise", "epochs", "published"),
    # The table in the docstring of TensorFlow Privacy's MNIST tutorial (Rényi accountant of 2019).
    [(1.3, 15, 1.19), (1.1, 60, 3.01), (0.7, 45, 7.10)],
)
def test_mnist_is_as_tensorflow_privacy_published_it(noise: float, epochs: int, published: float) -> None:
    rounds = epochs * 60_000 // 256
    assert moments_accountant(MNIST, noise, rounds, 1e-5) == pytest.approx(published, abs=0.006)
    assert epsilon(MNIST, noise, rounds, 1e-5, "rdp") < published


def test_the_moments_accountant_example_is_as_abadi_and_others_published_it() -> None:
    # Abadi et al. 2016, section 3.2: q = 0.01, sigma = 4, T = 10,000, delta = 1e-5 gives epsilon 1.26.
    assert moments_accountant(ONE_PERCENT, 4.0, 10_000, 1e-5) == pytest.approx(1.26, abs=0.005)


def test_privacy_losses_agree_with_the_fourier_accountant() -> None:
    # README of DPBayes/PLD-Accountant (Koskela et al. 2020), sigma = 4, q = 0.01: delta(1.0) = 4.243484012034273e-06
    # when one client is added or removed, and epsilon(1e-5) = 1.99312 when one is replaced. It prints ncomp = 1,000;
    # both numbers are those of 10,000 compositions.
    assert epsilon(ONE_PERCENT, 4.0, 10_000, 4.243484012034273e-06) == pytest.approx(1.0, rel=1e-3)
    assert epsilon(Participation("fixed", 1, 100), 4.0, 10_000, 1e-5) > 1.99312


@pytest.mark.parametrize(("noise", "rounds"), [(1.0, 1), (5.0, 1), (2.0, 16)])
@pytest.mark.parametrize(("sampling", "sensitivity"), [("poisson", 1.0), ("fixed", 2.0), ("paper", 2.0)])
def test_full_participation_is_the_analytic_gaussian(
    noise: float, rounds: int, sampling: str, sensitivity: float
) -> None:
    found = epsilon(Participation(sampling, 10, 10), noise, rounds, 1e-5)
    assert gaussian_delta(noise / sensitivity / math.sqrt(rounds), found) == pytest.approx(1e-5, rel=1e-6)


def test_the_closed_form_is_what_composed_privacy_losses_give() -> None:
    from dp_accounting import GaussianDpEvent
    from dp_accounting.pld import PLDAccountant

    composed = PLDAccountant().compose(GaussianDpEvent(2.0), 4).get_epsilon(1e-5)
    assert epsilon(Participation("poisson", 10, 10), 2.0, 4, 1e-5) == pytest.approx(composed, rel=1e-4)


def test_a_replaced_client_counts_twice() -> None:
    # The exact loss of replacing one of 100 when each is drawn with probability 0.9; almost everybody takes part.
    from dp_accounting import (
        GaussianDpEvent,
        NeighboringRelation,
        PoissonSampledDpEvent,
        SampledWithoutReplacementDpEvent,
    )
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    exact = PLDAccountant(NeighboringRelation.REPLACE_ONE).compose(PoissonSampledDpEvent(0.9, GaussianDpEvent(4.0)), 20)
    once = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE).compose(
        SampledWithoutReplacementDpEvent(100, 90, GaussianDpEvent(4.0)), 20
    )
    assert epsilon(Participation("fixed", 90, 100), 4.0, 20, 1e-5) > exact.get_epsilon(1e-5)
    assert once.get_epsilon(1e-5) < exact.get_epsilon(1e-5)


def test_a_fixed_cohort_stays_below_the_general_bound_of_wang_and_others() -> None:
    # Wang et al. 2019, theorem 9, written out for a Gaussian, whose divergence of infinite order is infinite.
    cohort, clients, noise = 5, 100, 4.0
    q, sigma = cohort / clients, noise / 2
    orders, divergences = renyi_curve(Participation("fixed", cohort, clients), noise)
    for order, divergence in zip(orders, divergences, strict=True):
        if not float(order).is_integer() or not 2 <= order <= 20:
            continue
        n = int(order)
        second = math.exp(2 / (2 * sigma**2))
        total = 1 + q**2 * math.comb(n, 2) * min(4 * (second - 1), 2 * second)
        total += sum(2 * q**j * math.comb(n, j) * math.exp((j - 1) * j / (2 * sigma**2)) for j in range(3, n + 1))
        assert divergence <= math.log(total) / (n - 1) * (1 + 1e-9)
        assert divergence <= n / (2 * sigma**2)


def test_a_public_schedule_is_not_amplified() -> None:
    public = epsilon(Participation("paper", 5, 100), 4.0, 20, 1e-5)
    assert public == epsilon(Participation("paper", 100, 100), 4.0, 20, 1e-5)
    assert public > epsilon(Participation("fixed", 5, 100), 4.0, 20, 1e-5)


@settings(max_examples=8, deadline=None)
@given(participation=participations, noise=st.floats(0.5, 20), rounds=st.integers(1, 100), more=st.integers(1, 100))
def test_more_rounds_cost_more(participation: Participation, noise: float, rounds: int, more: int) -> None:
    few, many = (epsilon(participation, noise, count, 1e-5, "rdp") for count in (rounds, rounds + more))
    assert few <= many


@settings(max_examples=8, deadline=None)
@given(participation=participations, noise=st.floats(0.5, 20), more=st.floats(1.01, 4))
def test_more_noise_costs_less(participation: Participation, noise: float, more: float) -> None:
    assert epsilon(participation, noise * more, 20, 1e-5, "rdp") <= epsilon(participation, noise, 20, 1e-5, "rdp")


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(cohort=st.integers(1, 20), noise=st.floats(0.7, 5), rounds=st.integers(1, 50))
def test_privacy_losses_are_tighter_than_renyi_and_not_by_an_order(cohort: int, noise: float, rounds: int) -> None:
    participation = Participation("poisson", cohort, 100)
    tight, loose = (epsilon(participation, noise, rounds, 1e-5, name) for name in ("pld", "rdp"))
    assert tight <= loose
    assert tight > loose / 10


def test_little_noise_takes_no_gigabytes() -> None:
    # On a grid of fixed step these two took 20 GB and three minutes.
    assert epsilon(Participation("poisson", 5, 100), 0.01, 100, 1e-5) > 10_000
    assert epsilon(Participation("paper", 5, 100), 0.01, 100, 1e-5) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(("sampling", "target"), [("poisson", 8.0), ("fixed", 8.0), ("paper", 0.5), ("paper", 8.0)])
def test_solved_noise_keeps_to_the_target_and_wastes_little(sampling: str, target: float) -> None:
    participation = Participation(sampling, 5, 100)
    noise = solve_noise(target, participation, 20, 1e-4)
    assert target * 0.999 < epsilon(participation, noise, 20, 1e-4) <= target


@pytest.mark.parametrize("target", [0.0, -1.0, 1e9])
def test_targets_without_sense_are_refused(target: float) -> None:
    with pytest.raises(ExperimentError, match="epsilon"):
        solve_noise(target, ONE_PERCENT, 10, 1e-5, "rdp")


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1])
def test_a_delta_that_is_no_probability_is_refused(delta: float) -> None:
    with pytest.raises(ExperimentError, match="delta"):
        epsilon(ONE_PERCENT, 1.0, 1, delta)


def test_no_rounds_cost_nothing_and_no_noise_guarantees_nothing() -> None:
    assert epsilon(ONE_PERCENT, 1.0, 0, 1e-5) == 0
    assert epsilon(ONE_PERCENT, 0.0, 1, 1e-5) == math.inf


def test_only_the_renyi_accountant_serves_fixed_cohorts() -> None:
    assert accountant_for(Participation("fixed", 5, 100)) == "rdp"
    assert accountant_for(Participation("fixed", 100, 100)) == "pld"
    with pytest.raises(ExperimentError, match="cannot serve") as caught:
        accountant_for(Participation("fixed", 5, 100), "pld")
    assert "rdp" in str(caught.value.hint)


def test_an_unknown_sampling_is_refused() -> None:
    with pytest.raises(ExperimentError, match="stratified"):
        Participation("stratified", 5, 100)


def test_epsilon_is_the_same_in_every_order_of_asking() -> None:
    rounds = (1, 2, 5, 10)
    upwards = [epsilon(ONE_PERCENT, 1.0, count, 1e-5) for count in rounds]
    assert upwards == [epsilon(ONE_PERCENT, 1.0, count, 1e-5) for count in reversed(rounds)][::-1]
    assert all(a < b for a, b in pairwise(upwards))


def test_the_accounting_library_is_loaded_only_when_something_is_computed() -> None:
    code = "import sys, fedllm_bench.federation.accounting; print('dp_accounting' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
