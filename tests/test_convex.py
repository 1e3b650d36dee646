"""FedProx and SCAFFOLD on convex problems: equal to the papers' algorithms written out in NumPy, and where they end.

The engine's own trainer, hooks, rounds and server work on clients whose losses are quadratics that disagree.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from fedllm_bench import rng
from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.batches import shuffled_batches
from fedllm_bench.federation.channel import Pipeline
from fedllm_bench.federation.messages import RunState
from fedllm_bench.federation.methods.paper import fedavg, fedavgm, fedprox, scaffold
from fedllm_bench.federation.rounds import RoundPlan, constant, first_state, fixed_cohort, run_round
from fedllm_bench.tensors import Tensors
from quadratics import SEED, Client, Quadratics
from small_parts import language_model
from small_rounds import Federation
from stated import InMemory

LR = 0.05
DIMENSION = 3


def quadratic(draw: np.random.Generator, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """H with eigenvalues between 0.5 and 4 in random directions, and a minimum `spread` away from zero."""
    turn, _ = np.linalg.qr(draw.normal(size=(DIMENSION, DIMENSION)))
    return turn @ np.diag(draw.uniform(0.5, 4, DIMENSION)) @ turn.T, draw.normal(size=DIMENSION) * spread


def crowd(
    *steps: int, samples: Sequence[int] | None = None, batch_size: int = 1, spread: float = 3.0, seed: int = 0
) -> Quadratics:
    """One client for each number of steps, every one with curvatures and minima of its own."""
    counts = samples or [1] * len(steps)
    draws = [rng.stream(seed, "quadratics", number) for number in range(len(steps))]
    clients = [
        Client([quadratic(draw, spread) for _ in range(count)], taken)
        for draw, count, taken in zip(draws, counts, steps, strict=True)
    ]
    return Quadratics(clients, batch_size)


def optimum(people: Quadratics) -> np.ndarray:
    """Where the sum of the losses is least, of clients with one sample each."""
    pairs = [client.samples[0] for client in people.clients]
    return np.linalg.solve(sum(h for h, _ in pairs), sum(h @ b for h, b in pairs))


START = np.array([2.0, -1.0, 0.5])


def trained(
    people: Quadratics, algorithm: Algorithm, rounds: int, cohort: int | None = None, width: int = 2, lr: float = LR
) -> list[RunState]:
    """The state after each round of the engine."""
    members = range(len(people.clients))
    plan = RoundPlan(
        SEED, members, cohort or len(members), constant(lr, 0, rounds), algorithm, Pipeline([]), width=width
    )
    executor, own = people.executor(algorithm), InMemory()
    state, after = first_state(plan, {"w": torch.tensor(START, dtype=torch.float32)}), []
    for _ in range(rounds):
        state, _ = run_round(plan, state, executor, own)
        after.append(state)
    return after


def where(states: Sequence[RunState]) -> np.ndarray:
    """The adapter after each round, (rounds, elements)."""
    return np.array([state.adapter["w"].double().numpy() for state in states])


# ------------------------------------------------------------- the papers' algorithms, in NumPy and fp64


@dataclass(frozen=True)
class Drawn:
    """What is drawn in a round: who takes part, and the samples of each of their steps."""

    round: int
    cohort: Sequence[int]
    batches: dict[int, list[list[int]]]


def drawings(people: Quadratics, rounds: int, cohort: int | None = None) -> list[Drawn]:
    members = range(len(people.clients))
    found = []
    for round in range(1, rounds + 1):
        some = fixed_cohort(SEED, round, members, cohort or len(members))
        batches = {
            i: shuffled_batches(
                SEED, round, str(i), len(people.clients[i].samples), people.batch_size, people.clients[i].steps
            )
            for i in some
        }
        found.append(Drawn(round, some, batches))
    return found


def fedprox_directly(people: Quadratics, drawn: Sequence[Drawn], mu: float, lr: float = LR) -> np.ndarray:
    """Li et al. 2020, algorithm 2 with gradient descent as the local solver, merged by size."""
    x, after = START, []
    for now in drawn:
        ends, sizes = [], []
        for i in now.cohort:
            y = x
            for rows in now.batches[i]:
                y = y - lr * (people.clients[i].gradient(y, rows) + mu * (y - x))
            ends.append(y)
            sizes.append(len(people.clients[i].samples))
        x = np.average(ends, axis=0, weights=sizes)
        after.append(x)
    return np.array(after)


def scaffold_directly(
    people: Quadratics, drawn: Sequence[Drawn], option: str, server_lr: float = 1.0, lr: float = LR
) -> tuple[np.ndarray, np.ndarray]:
    """Karimireddy et al. 2020, algorithm 1: x and c after each round.

    Option `gradients` replaces line 12 by the mean of the gradients along the way.
    """
    x, c, own = START, np.zeros(DIMENSION), np.zeros((len(people.clients), DIMENSION))
    xs, cs = [], []
    for now in drawn:
        moves, changes = [], []
        for i in now.cohort:
            gradient, batches, y, seen = people.clients[i].gradient, now.batches[i], x, []
            for rows in batches:
                seen.append(gradient(y, rows))
                y = y - lr * (seen[-1] - own[i] + c)
            new = {
                "I": np.mean([gradient(x, rows) for rows in batches], axis=0),
                "II": own[i] - c + (x - y) / (len(batches) * lr),
                "gradients": np.mean(seen, axis=0),
            }[option]
            moves.append(y - x)
            changes.append(new - own[i])
            own[i] = new
        x = x + server_lr * np.mean(moves, axis=0)
        c = c + len(now.cohort) / len(people.clients) * np.mean(changes, axis=0)
        xs.append(x)
        cs.append(c)
    return np.array(xs), np.array(cs)


# ------------------------------------------------------------------------------------ step for step

ROUNDS = 12
# fp32 against fp64: what is found is ten times less.
TOLERANCE = 5e-6
# Samples are drawn and step counts differ, in jobs of two (and one left over) and of five clients.
UNEVEN = crowd(2, 5, 1, 4, 3, samples=[4, 2, 7, 5, 3], batch_size=2)


@pytest.mark.parametrize("width", [2, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cohort", [5, 2], ids=["all", "two of five"])
@pytest.mark.parametrize("mu", [0.01, 1.0])
def test_fedprox_equals_its_algorithm_written_out(mu: float, cohort: int, width: int) -> None:
    found = where(trained(UNEVEN, fedprox(mu), ROUNDS, cohort, width))
    np.testing.assert_allclose(found, fedprox_directly(UNEVEN, drawings(UNEVEN, ROUNDS, cohort), mu), atol=TOLERANCE)


@pytest.mark.parametrize("width", [2, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cohort", [5, 2], ids=["all", "two of five"])
@pytest.mark.parametrize("correction", ["gradient", "after-step"])
@pytest.mark.parametrize("option", ["I", "II", "gradients"])
def test_scaffold_equals_its_algorithm_written_out(option: str, correction: str, cohort: int, width: int) -> None:
    states = trained(UNEVEN, scaffold(option, correction, server_lr=0.7), ROUNDS, cohort, width)
    x, c = scaffold_directly(UNEVEN, drawings(UNEVEN, ROUNDS, cohort), option, server_lr=0.7)
    np.testing.assert_allclose(where(states), x, atol=TOLERANCE)
    np.testing.assert_allclose([state.shared["w"].double().numpy() for state in states], c, atol=TOLERANCE)


def test_the_comparisons_above_tell_methods_and_options_apart() -> None:
    """By far more than they let pass."""
    drawn = drawings(UNEVEN, ROUNDS, 2)
    ends = [scaffold_directly(UNEVEN, drawn, option)[0][-1] for option in ("I", "II")]
    ends += [fedprox_directly(UNEVEN, drawn, mu)[-1] for mu in (0.0, 0.01, 1.0)]
    for one, other in itertools.combinations(ends, 2):
        assert np.abs(one - other).max() > 50 * TOLERANCE


def test_with_plain_gradient_steps_option_ii_is_the_mean_gradient() -> None:
    """Which is why `gradients` can stand for II where steps are not the rate times the gradient."""
    drawn = drawings(UNEVEN, ROUNDS, 2)
    for one, other in zip(*(scaffold_directly(UNEVEN, drawn, option) for option in ("II", "gradients")), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


# ---------------------------------------------------------------------------------- where they end

# Ten local steps on whole losses: clients drift towards minima of their own.
DRIFTING = crowd(10, 10, 10, 10)


def ended(algorithm: Algorithm, rounds: int = 60, cohort: int = 4) -> tuple[RunState, float]:
    """The last state, and how far from the optimum of the sum it is."""
    states = trained(DRIFTING, algorithm, rounds, cohort, width=cohort, lr=0.1)
    return states[-1], float(np.linalg.norm(where(states[-1:])[0] - optimum(DRIFTING)))


@cache
def distance_of_fedavg() -> float:
    return ended(fedavg())[1]


@pytest.mark.slow
def test_fedavg_stops_away_from_the_optimum() -> None:
    sooner, later = ended(fedavg(), 40)[0], ended(fedavg(), 60)[0]
    assert float((sooner.adapter["w"] - later.adapter["w"]).norm()) < 1e-5  # it has stopped
    assert distance_of_fedavg() > 0.1 * float(np.linalg.norm(START - optimum(DRIFTING)))


@pytest.mark.slow
@pytest.mark.parametrize(("cohort", "rounds"), [(4, 60), (2, 120)], ids=["all", "two of four"])
@pytest.mark.parametrize("option", ["I", "II", "gradients"])
def test_scaffold_reaches_the_optimum_of_the_sum(option: str, cohort: int, rounds: int) -> None:
    state, distance = ended(scaffold(option), rounds, cohort)
    assert distance < 1e-4 * distance_of_fedavg()
    # There c is the gradient of the clients' mean loss, which is zero.
    assert float(state.shared["w"].norm()) < 1e-4


def test_with_one_local_step_there_is_no_drift_and_fedavg_reaches_the_optimum() -> None:
    single = crowd(1, 1, 1, 1)
    end = where(trained(single, fedavg(), 300, lr=0.1, width=4))[-1]
    np.testing.assert_allclose(end, optimum(single), atol=1e-5)


def test_a_proximal_term_brings_the_end_closer_to_the_optimum() -> None:
    distances = [distance_of_fedavg(), *(ended(fedprox(mu))[1] for mu in (1.0, 5.0))]
    assert distances[0] > 1.1 * distances[1] > 1.1 * distances[2]


def test_a_strong_proximal_term_holds_clients_near_the_anchor() -> None:
    """Each client ends where its loss and the pull balance: (H + mu) (y - x) = -H (x - b)."""
    mu = 100.0
    patient = crowd(60, 60, 60, 60)
    free, held = (where(trained(patient, fedprox(strength), 1, lr=5e-3, width=4))[-1] - START for strength in (0.0, mu))
    pairs = [client.samples[0] for client in patient.clients]
    balance = [-np.linalg.solve(h + mu * np.eye(DIMENSION), h @ (START - b)) for h, b in pairs]
    np.testing.assert_allclose(held, np.mean(balance, axis=0), atol=1e-6)
    assert np.linalg.norm(held) < 0.1 * np.linalg.norm(free)


# ------------------------------------------------------------------------- methods that fall together


@pytest.mark.parametrize("option", ["I", "II", "gradients"])
def test_scaffolds_first_round_is_uniform_fedavg(option: str) -> None:
    """Nobody has a control yet: c and every c_i are zero."""
    (found,), (expected,) = trained(UNEVEN, scaffold(option), 1), trained(UNEVEN, fedavg(weighting="uniform"), 1)
    assert torch.equal(found.adapter["w"], expected.adapter["w"])
    assert float(found.shared["w"].norm()) > 0.1


def same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("method", "plain"),
    [
        (fedprox(mu=0), fedavg()),
        (fedavgm(beta=0), fedavg()),
        (fedavgm(beta=0, server_lr=0.5), fedavg(server_lr=0.5)),
    ],
    ids=["fedprox without pull", "fedavgm without momentum", "and with a server learning rate"],
)
def test_methods_whose_addition_is_zero_are_fedavg_bit_for_bit(
    tiny_model: Path, tmp_path: Path, method: Algorithm, plain: Algorithm
) -> None:
    """On a real model, two rounds."""
    model = language_model(tiny_model)
    found, expected = (
        Federation(model, tmp_path / str(number), algorithm).rounds(2)
        for number, algorithm in enumerate((method, plain))
    )
    assert same(found.adapter, expected.adapter)
    assert not same(found.adapter, model.lora.initial(7))


def test_scaffolds_first_round_is_uniform_fedavg_on_a_real_model(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    one, other = (
        Federation(model, tmp_path / str(number), algorithm)
        for number, algorithm in enumerate((scaffold(), fedavg(weighting="uniform")))
    )
    first = one.rounds(1), other.rounds(1)
    assert same(first[0].adapter, first[1].adapter)
    second = one.round(first[0])[0], other.round(first[1])[0]
    assert not same(second[0].adapter, second[1].adapter)
