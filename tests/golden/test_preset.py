"""The preset `paper` gives the numbers of the paper's scripts."""

import itertools
import math
import random
from collections.abc import Sequence

import pytest
import torch

from fedllm_bench.experiment.presets import PRESETS
from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.algorithms import ALGORITHMS
from fedllm_bench.federation.batches import batches_of_the_paper
from fedllm_bench.federation.channel import Pipeline
from fedllm_bench.federation.messages import RunState
from fedllm_bench.federation.rounds import RoundPlan, cohort_of_the_paper, cosine, first_state, run_round
from stated import START, InMemory, Stated

COHORTS = [(1, 2), (0, 2), (0, 2)]
CONTROL = torch.tensor([0.1, 0.2])  # of client i, times i + 1

# The adapter after rounds 1, 2 and 3: three clients of 1, 3 and 6 samples, two a round, from w = [1, -2], each client
# ending at w + [0.01, -0.02] * (i + 1) * round.
GOLDEN = {
    "fedavg": [(1.02666664, -2.05333328), (1.08095229, -2.16190457), (1.16238093, -2.32476187)],
    "fedprox": [(1.02666664, -2.05333328), (1.08095229, -2.16190457), (1.16238093, -2.32476187)],
    "scaffold": [(1.02666664, -2.05333328), (1.08095229, -2.16190457), (1.16238093, -2.32476187)],
    "fedavgm": [(1.02666664, -2.05333328), (1.06714284, -2.13428569), (1.12809527, -2.25619054)],
    "fedadagrad": [(1.00096083, -2.00098014), (1.00179100, -2.00181913), (1.00256693, -2.00260019)],
    "fedyogi": [(1.00677037, -2.00819802), (1.01299584, -2.01521635), (1.01936531, -2.02211833)],
    "fedadam": [(1.00677371, -2.00819945), (1.01301086, -2.01523018), (1.01939857, -2.02215195)],
}
GOLDEN_CONTROL = [(0.166667, 0.333333), (0.3, 0.6), (0.433333, 0.866667)]


def of_the_preset(name: str) -> Algorithm:
    return ALGORITHMS[name](**PRESETS["paper"]["algorithm"].get(name, {}))


def states(algorithm: Algorithm, clients: Stated) -> list[RunState]:
    """The state after each of three rounds, with the preset's cohorts; the run's seed has no say in them."""
    fixed = RoundPlan(
        seed=123,
        members=range(3),
        cohort=2,
        lr=cosine(2e-5, 1e-6, 3),
        algorithm=algorithm,
        channel=Pipeline([]),
        width=1,
        sampling=cohort_of_the_paper,
    )
    state, own, after = first_state(fixed, START), InMemory(), []
    for expected in COHORTS:
        state, record = run_round(fixed, state, clients, own)
        assert record.cohort == expected
        after.append(state)
    return after


def close(found: torch.Tensor, expected: Sequence[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_server_steps_as_the_papers_scripts_do(name: str) -> None:
    algorithm = of_the_preset(name)
    extra = {"w": CONTROL} if name == "scaffold" else {}
    for state, expected in zip(states(algorithm, Stated(extra=extra)), GOLDEN[name], strict=True):
        close(state.adapter["w"], expected)


def test_scaffolds_control_of_the_server_moves_as_in_the_papers_scripts() -> None:
    clients = Stated(extra={"w": CONTROL})
    for state, expected in zip(states(of_the_preset("scaffold"), clients), GOLDEN_CONTROL, strict=True):
        close(state.shared["w"], expected)
    # Clients of a round get what the round before left.
    close(clients.jobs[0].shared["w"], (0.0, 0.0))
    close(clients.jobs[-1].shared["w"], GOLDEN_CONTROL[1])


@pytest.mark.parametrize(
    ("clients", "cohort", "round", "drawn"),
    [
        (38, 4, 1, [2, 16, 24, 26]),
        (38, 4, 2, [4, 8, 16, 36]),
        (38, 4, 3, [3, 5, 10, 23]),
        (237, 10, 1, [10, 66, 98, 103, 107, 124, 130, 194, 216, 227]),
        (100, 5, 1, [5, 33, 49, 53, 97]),
        (50, 3, 1, [24, 26, 48]),
        (747, 10, 1, [41, 265, 310, 366, 394, 414, 430, 488, 497, 523]),
    ],
)
def test_cohorts_are_those_of_the_papers_scripts(clients: int, cohort: int, round: int, drawn: list[int]) -> None:
    assert [cohort_of_the_paper(seed, round, range(clients), cohort) for seed in (0, 7)] == [drawn] * 2
    renamed = [10 * client for client in range(clients)]
    assert cohort_of_the_paper(0, round, renamed, cohort) == [10 * client for client in drawn]


def test_everybody_takes_part_where_the_cohort_is_no_smaller() -> None:
    assert cohort_of_the_paper(0, 1, [4, 5, 6], 3) == cohort_of_the_paper(0, 1, [4, 5, 6], 9) == [4, 5, 6]


@pytest.mark.parametrize(
    ("round", "rate"),
    [
        (1, 2e-5),
        (51, 1e-6 + 1.9e-5 * (2 + math.sqrt(2)) / 4),  # a quarter of 200 rounds: cos(pi / 4)
        (101, 1.05e-5),
        (151, 1e-6 + 1.9e-5 * (2 - math.sqrt(2)) / 4),
        (200, 1e-6 + 1.9e-5 * math.sin(math.pi / 400) ** 2),  # the floor itself would be round 201's
    ],
)
def test_the_learning_rate_falls_along_the_cosine_of_the_papers_scripts(round: int, rate: float) -> None:
    assert cosine(2e-5, 1e-6, 200)(round) == pytest.approx(rate, rel=1e-9)


@pytest.mark.parametrize(("round", "first"), [(1, [6, 9, 0, 2]), (2, [2, 1, 4, 0]), (3, [0, 1, 8, 2])])
def test_samples_of_a_round_are_those_of_pythons_generator_seeded_with_it(round: int, first: list[int]) -> None:
    assert batches_of_the_paper(99, round, "anyone", 10, batch_size=2, steps=2) == [first[:2], first[2:]]
    random.seed(round - 1)
    drawn = random.sample(range(421), 160)  # 10 steps of 4 x 4 samples of Fed-Aya's first client
    batches = batches_of_the_paper(0, round, "first", 421, batch_size=16, steps=10)
    assert list(itertools.chain(*batches)) == drawn


def test_a_client_with_too_few_samples_goes_through_them_again_in_the_same_order() -> None:
    assert batches_of_the_paper(0, 1, "small", 3, batch_size=2, steps=7) == [
        *([1, 2], [0, 1], [2, 0]),
        *([1, 2], [0, 1], [2, 0]),
        [1, 2],
    ]
