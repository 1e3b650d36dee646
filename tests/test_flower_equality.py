"""Server steps equal Flower's where the two mean the same, and differ by what is known where they do not.

Flower's second moments start at 0, ours at tau^2; Flower weighs clients by their samples in every method, our adaptive
methods count them alike; Flower's FedAdam multiplies the rate of round r by sqrt(1 - b2^(r+1)) / (1 - b1^(r+1)).
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedllm_bench import rng
from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.algorithms import ALGORITHMS
from fedllm_bench.federation.channel import Pipeline
from fedllm_bench.federation.messages import RunState
from fedllm_bench.federation.rounds import RoundPlan, constant, first_state, run_round
from stated import InMemory, Stated

FOLDER = Path(os.environ.get("FEDLLM_BENCH_FLOWER", Path(sys.prefix) / "flower"))
SIDE = Path(__file__).with_name("flower_side.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FOLDER / "flwr").is_dir(), reason="Flower is not installed: make flower, or set FEDLLM_BENCH_FLOWER"
    ),
]

SIZES = (3, 10, 1, 6)
ROUNDS = 6
START = torch.from_numpy(rng.stream(0, "start").normal(size=40)).float()
OPTIONS = {"server_lr": 0.1, "tau": 1e-3, "weighting": "size"}


def sent(client: int, round: int) -> Tensor:
    """Updates far below tau, about it, and far above it."""
    size = 10.0 ** -((round + client) % 5)
    return torch.from_numpy(rng.stream(0, "sent", client, round).normal(0, size, START.shape)).float()


def by_flower(folder: Path, strategy: str, options: dict[str, Any]) -> list[np.ndarray]:
    """The weights after each round."""
    asked, answer = folder / "asked.npz", folder / "answer.npz"
    updates = [[sent(client, round).numpy() for client in range(len(SIZES))] for round in range(1, ROUNDS + 1)]
    np.savez(asked, start=START.numpy(), updates=updates, sizes=SIZES, strategy=strategy, options=json.dumps(options))
    environment = {**os.environ, "PYTHONPATH": str(FOLDER)}
    subprocess.run([sys.executable, str(SIDE), str(asked), str(answer)], check=True, env=environment)
    return list(np.load(answer)["after"])


def by_us(
    algorithm: Callable[[int], Algorithm], begin: Callable[[RunState], RunState] = lambda state: state
) -> list[np.ndarray]:
    """The weights after each round; the method may differ from round to round."""
    members = range(len(SIZES))
    executor, own = Stated(delta=sent, sizes=SIZES), InMemory()
    plans = [
        RoundPlan(0, members, len(SIZES), constant(0, 0, 1), algorithm(round), Pipeline([]), width=2)
        for round in range(1, ROUNDS + 1)
    ]
    state, after = begin(first_state(plans[0], {"w": START})), []
    for plan in plans:
        state, _ = run_round(plan, state, executor, own)
        after.append(state.adapter["w"].numpy())
    return after


def from_zero(state: RunState) -> RunState:
    """Second moments at 0, as Flower's are."""
    server = {name: torch.zeros_like(v) if name.startswith("v/") else v for name, v in state.server.items()}
    return replace(state, server=server)


def apart(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(ours, theirs, strict=True))


def close(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert float(np.abs(ours[-1] - START.numpy()).max()) > 0.1


@pytest.mark.parametrize(("beta", "rate"), [(0.0, 1.0), (0.9, 1.0), (0.5, 0.3)])
def test_fedavgm_is_flowers(tmp_path: Path, beta: float, rate: float) -> None:
    ours = by_us(lambda _: ALGORITHMS["fedavgm"](beta=beta, server_lr=rate))
    close(ours, by_flower(tmp_path, "FedAvgM", {"server_momentum": beta, "server_learning_rate": rate}))


def test_fedadagrad_is_flowers_from_the_same_second_moment(tmp_path: Path) -> None:
    theirs = by_flower(tmp_path, "FedAdagrad", {"eta": 0.1, "tau": 1e-3})
    close(by_us(lambda _: ALGORITHMS["fedadagrad"](**OPTIONS), from_zero), theirs)


def test_fedyogi_is_flowers_from_the_same_second_moment(tmp_path: Path) -> None:
    theirs = by_flower(tmp_path, "FedYogi", {"eta": 0.1, "tau": 1e-3, "beta_1": 0.8, "beta_2": 0.95})
    close(by_us(lambda _: ALGORITHMS["fedyogi"](beta1=0.8, beta2=0.95, **OPTIONS), from_zero), theirs)


def flowers_factor(round: int, b1: float, b2: float) -> float:
    """What Flower's FedAdam multiplies its rate by; as published there is none, and Adam has r instead of r + 1."""
    return float(np.sqrt(1 - b2 ** (round + 1)) / (1 - b1 ** (round + 1)))


def test_fedadam_is_flowers_from_the_same_second_moment_at_flowers_rate(tmp_path: Path) -> None:
    theirs = by_flower(tmp_path, "FedAdam", {"eta": 0.1, "tau": 1e-3, "beta_1": 0.8, "beta_2": 0.95})

    def ours(round: int) -> Algorithm:
        rate = 0.1 * flowers_factor(round, 0.8, 0.95)
        return ALGORITHMS["fedadam"](beta1=0.8, beta2=0.95, **{**OPTIONS, "server_lr": rate})

    close(by_us(ours, from_zero), theirs)


@pytest.mark.parametrize(
    ("name", "strategy", "betas"),
    [
        ("fedadagrad", "FedAdagrad", {}),
        ("fedyogi", "FedYogi", {"beta_1": 0.8, "beta_2": 0.95}),
        ("fedadam", "FedAdam", {"beta_1": 0.8, "beta_2": 0.95}),
    ],
)
def test_as_published_they_differ(tmp_path: Path, name: str, strategy: str, betas: dict[str, float]) -> None:
    """So that the equalities above are not of methods which updates like these could not tell apart."""
    theirs = by_flower(tmp_path, strategy, {"eta": 0.1, "tau": 1e-3, **betas})
    options = {key.replace("_", ""): value for key, value in betas.items()}
    assert apart(by_us(lambda _: ALGORITHMS[name](**options, **OPTIONS)), theirs) > 1e-3
    assert apart(by_us(lambda _: ALGORITHMS[name](**options, **{**OPTIONS, "weighting": "uniform"})), theirs) > 1e-3
