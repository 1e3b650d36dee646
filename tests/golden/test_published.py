"""Two rounds of two clients by hand, for each method as its own paper defines it: the builders' defaults.

The arithmetic stands here in plain numbers; nothing of the engine is used to find what is expected.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import pytest
import torch

from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.algorithms import ALGORITHMS
from fedllm_bench.federation.channel import Pipeline
from fedllm_bench.federation.messages import RunState
from fedllm_bench.federation.rounds import RoundPlan, constant, first_state, run_round
from quadratics import Client, Quadratics
from stated import InMemory, Stated

# Clients of 1 and 3 samples; what each sends in rounds 1 and 2.
SENT = ((0.4, 0.2), (-0.2, 0.6))
SIZES = (1, 3)
# By size: (0.4 - 3 * 0.2) / 4 and (0.2 + 3 * 0.6) / 4.  Uniform: (0.4 - 0.2) / 2 and (0.2 + 0.6) / 2.
D = (-0.05, 0.5)
U = (0.1, 0.4)

ETA, TAU = 1e-3, 1e-3
# The first moment of FedYogi and FedAdam starts at 0: b1 = 0.9.
M = (0.1 * U[0], 0.9 * 0.1 * U[0] + 0.1 * U[1])
# The second moments start at tau^2 and take the squares of U: b2 = 0.99.
ADAGRAD_V = (TAU**2 + U[0] ** 2, TAU**2 + U[0] ** 2 + U[1] ** 2)
YOGI_V1 = TAU**2 + 0.01 * U[0] ** 2  # tau^2 - U^2 < 0
YOGI_V = (YOGI_V1, YOGI_V1 + 0.01 * U[1] ** 2)  # and again v - U^2 < 0
ADAM_V = (0.99 * TAU**2 + 0.01 * U[0] ** 2, 0.99**2 * TAU**2 + 0.99 * 0.01 * U[0] ** 2 + 0.01 * U[1] ** 2)


def steps(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """What is added in each round: eta m / (sqrt(v) + tau)."""
    return (ETA * first[0] / (sqrt(second[0]) + TAU), ETA * first[1] / (sqrt(second[1]) + TAU))


# What each method adds to the adapter in rounds 1 and 2.
PUBLISHED: Mapping[str, tuple[float, float]] = {
    "fedavg": D,
    "fedprox": D,
    "scaffold": U,
    "fedavgm": (D[0], 0.9 * D[0] + D[1]),
    "fedadagrad": steps(U, ADAGRAD_V),  # b1 = 0
    "fedyogi": steps(M, YOGI_V),
    "fedadam": steps(M, ADAM_V),
}


def rounds(
    algorithm: Algorithm,
    executor: Any,
    members: Sequence[int],
    count: int,
    start: float = 0.0,
    cohort: int = 2,
) -> list[RunState]:
    """The state after each round."""
    fixed = RoundPlan(0, members, cohort, constant(0.1, 0, count), algorithm, Pipeline([]), width=1)
    state, own, after = first_state(fixed, {"w": torch.tensor([start])}), InMemory(), []
    for _ in range(count):
        state, _ = run_round(fixed, state, executor, own)
        after.append(state)
    return after


def stated(extra: float | None = None) -> Stated:
    return Stated(
        delta=lambda client, round: torch.tensor([SENT[client][round - 1]]),
        sizes=SIZES,
        extra={} if extra is None else {"w": torch.tensor([extra])},
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_two_rounds_move_the_adapter_as_worked_out_by_hand(name: str) -> None:
    found = rounds(ALGORITHMS[name](), stated(0.5 if name == "scaffold" else None), range(2), 2)
    first, second = PUBLISHED[name]
    assert [float(state.adapter["w"]) for state in found] == pytest.approx([first, first + second], rel=1e-5)


def test_training_alone_takes_ones_own_updates_whole() -> None:
    found = rounds(ALGORITHMS["local"](), stated(), [1], 2, cohort=1)
    assert [float(state.adapter["w"]) for state in found] == pytest.approx([-0.2, -0.2 + 0.6], rel=1e-5)


def test_fedyogis_second_moment_falls_by_the_square_of_an_update_smaller_than_it() -> None:
    """Updates of 0.4, then 0.01: v = tau^2 + 0.01 * 0.16 = 0.001601, and then 0.001601 - 0.01 * 0.0001 = 0.0016."""
    clients = Stated(delta=lambda client, round: torch.tensor([0.4 if round == 1 else 0.01]), sizes=SIZES)
    found = rounds(ALGORITHMS["fedyogi"](), clients, range(2), 2)
    first = 0.001 * 0.04 / (sqrt(0.001601) + 0.001)
    second = 0.001 * (0.9 * 0.04 + 0.1 * 0.01) / (sqrt(0.0016) + 0.001)
    assert [float(state.adapter["w"]) for state in found] == pytest.approx([first, first + second], rel=1e-5)
    assert float(found[1].server["v/w"]) == pytest.approx(0.0016, rel=1e-6)


def test_scaffolds_control_of_the_server_moves_by_the_cohorts_share_of_all_clients() -> None:
    """Of four clients two take part, i and j; the server's control moves by (change of c_i + change of c_j) / 4."""
    executor = Stated(delta=lambda client, round: torch.zeros(1), sizes=(1, 1, 1, 1), extra={"w": torch.tensor([0.5])})
    found = rounds(ALGORITHMS["scaffold"](), executor, range(4), 2)
    control = 0.0
    for number, state in enumerate(found):
        drawn = [client for job in executor.jobs[2 * number : 2 * number + 2] for client in job.clients]
        control += sum(0.5 * (client + 1) for client in drawn) / 4
        assert float(state.shared["w"]) == pytest.approx(control, abs=1e-6)


# ---------------------------------------------------------------------------------- what clients do

# Client i's loss is h_i / 2 * (w - b_i)^2: h = 1 and 3, b = 0 and 4. Two local steps of plain gradient descent with
# rate 0.1, from w = 1.
PAIR = Quadratics([Client([([[1.0]], [0.0])], steps=2), Client([([[3.0]], [4.0])], steps=2)])
W0 = 1.0


def test_two_rounds_of_fedprox_by_hand() -> None:
    """mu = 0.5: the gradient is h (y - b) + 0.5 (y - w), and both clients have one sample."""
    w = [W0]
    for _ in range(2):
        x = w[-1]
        a1 = x - 0.1 * (1 * (x - 0) + 0.5 * (x - x))
        a2 = a1 - 0.1 * (1 * (a1 - 0) + 0.5 * (a1 - x))
        b1 = x - 0.1 * (3 * (x - 4) + 0.5 * (x - x))
        b2 = b1 - 0.1 * (3 * (b1 - 4) + 0.5 * (b1 - x))
        w.append(x + ((a2 - x) + (b2 - x)) / 2)
    # Once more with a pencil. Round 1: a 1 -> 0.9 -> 0.815, b 1 -> 1.9 -> 2.485; their mean is 1.65.
    assert w[1] == pytest.approx(1.65)
    algorithm = ALGORITHMS["fedprox"](mu=0.5)
    found = rounds(algorithm, PAIR.executor(algorithm), range(2), 2, start=W0)
    assert [float(state.adapter["w"]) for state in found] == pytest.approx(w[1:], abs=1e-6)


@pytest.mark.parametrize("option", ["gradients", "I", "II"])
def test_two_rounds_of_scaffold_by_hand(option: str) -> None:
    w, c, ca, cb = [W0], [0.0], 0.0, 0.0
    for _ in range(2):
        x, shared = w[-1], c[-1]
        a1 = x - 0.1 * (1 * (x - 0) - ca + shared)
        a2 = a1 - 0.1 * (1 * (a1 - 0) - ca + shared)
        b1 = x - 0.1 * (3 * (x - 4) - cb + shared)
        b2 = b1 - 0.1 * (3 * (b1 - 4) - cb + shared)
        after_a = {
            "gradients": (1 * (x - 0) + 1 * (a1 - 0)) / 2,
            "I": 1 * (x - 0),
            "II": ca - shared + (x - a2) / (2 * 0.1),
        }[option]
        after_b = {
            "gradients": (3 * (x - 4) + 3 * (b1 - 4)) / 2,
            "I": 3 * (x - 4),
            "II": cb - shared + (x - b2) / (2 * 0.1),
        }[option]
        w.append((a2 + b2) / 2)
        c.append(shared + ((after_a - ca) + (after_b - cb)) / 2)
        ca, cb = after_a, after_b
    # Once more with a pencil. Round 1: a 1 -> 0.9 -> 0.81, b 1 -> 1.9 -> 2.53; their mean is 1.67. The controls are
    # (1 + 0.9) / 2 = 0.95 and (-9 - 6.3) / 2 = -7.65, or 1 and -9 by option I.
    assert w[1] == pytest.approx(1.67)
    assert c[1] == pytest.approx(-4.0 if option == "I" else -3.35)
    algorithm = ALGORITHMS["scaffold"](option=option)
    found = rounds(algorithm, PAIR.executor(algorithm), range(2), 2, start=W0)
    assert [float(state.adapter["w"]) for state in found] == pytest.approx(w[1:], abs=1e-5)
    assert [float(state.shared["w"]) for state in found] == pytest.approx(c[1:], abs=1e-4)
