"""A round: who is drawn, what is merged, who is left out, and what stays with clients."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedllm_bench import rng
from fedllm_bench.examples import ChatExample, ClientData, Turn
from fedllm_bench.federation.aggregate import WeightedMean
from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.channel import Direct, Pipeline, Sent
from fedllm_bench.federation.executors.inprocess import InProcess
from fedllm_bench.federation.messages import Job, RoundRecord, RunState
from fedllm_bench.federation.methods.paper import fedavg
from fedllm_bench.federation.rounds import (
    Executor,
    cosine,
    first_state,
    fixed_cohort,
    run_round,
)
from fedllm_bench.federation.server import ServerOptimizer, chain, plain, scaled
from fedllm_bench.federation.worker import JobResult, Worker
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.tensors import Tensors
from made_up import People, people
from small_parts import language_model, sft, trainer
from stated import START, InMemory, Stated, plan


def one_round(
    executor: Executor, state: RunState | None = None, members: Sequence[int] = (0, 1, 2), **changes: Any
) -> tuple[RunState, RoundRecord]:
    fixed = plan(members, **{"cohort": 3, **changes})
    return run_round(fixed, state or first_state(fixed, START), executor, InMemory())


# -------------------------------------------------------------------------------------- golden numbers


@pytest.mark.parametrize("width", [1, 2])
def test_fedavg_gives_the_numbers_worked_out_by_hand(width: int) -> None:
    """Clients of 1, 3 and 6 samples; cohorts {1, 2}, {0, 2}, {0, 2}; w = [1, -2] at first."""
    expected = [(1.02666664, -2.05333328), (1.08095229, -2.16190457), (1.16238093, -2.32476187)]
    state, own = first_state(plan(), START), InMemory()
    for members, numbers in zip([(1, 2), (0, 2), (0, 2)], expected, strict=True):
        state, record = run_round(plan(members, width=width), state, Stated(), own)
        assert record.cohort == members
        torch.testing.assert_close(state.adapter["w"], torch.tensor(numbers), rtol=0, atol=1e-6)
    assert state.round == 3


def test_uniform_methods_and_channels_weigh_clients_alike() -> None:
    class Uniform(Direct):
        uniform = True

    expected = START["w"] + torch.tensor([0.01, -0.02]) * 2
    by_method, _ = one_round(Stated(), algorithm=Algorithm(uniform=True))
    by_channel, _ = one_round(Stated(), channel=Pipeline([Direct(), Uniform()]))
    for state in (by_method, by_channel):
        torch.testing.assert_close(state.adapter["w"], expected, rtol=0, atol=1e-6)


updates = st.lists(
    st.tuples(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3), st.floats(0.1, 1e4)), min_size=1
)


@given(updates)
def test_the_running_mean_is_the_weighted_mean(pairs: list[tuple[list[float], float]]) -> None:
    mean = WeightedMean()
    for values, weight in pairs:
        mean.add(0, {"w": torch.tensor(values)}, weight)
    weights = np.array([weight for _, weight in pairs])
    expected = np.average(np.array([values for values, _ in pairs]), axis=0, weights=weights)
    found = mean.result()
    assert found is not None
    np.testing.assert_allclose(found.delta["w"].numpy(), expected, rtol=1e-5, atol=1e-3)


def test_a_mean_of_nothing_is_nothing() -> None:
    assert WeightedMean().result() is None


# --------------------------------------------------------------------------------------------- server


def remembering() -> ServerOptimizer:
    """Adds half of what it gave last time."""

    def step(merged: Tensors, state: Tensors, round: int) -> tuple[Tensors, Tensors]:
        change = {name: value + 0.5 * state[name] for name, value in merged.items()}
        return change, change

    return ServerOptimizer(lambda adapter: {name: torch.zeros_like(value) for name, value in adapter.items()}, step)


def steps_of(optimizer: ServerOptimizer, count: int = 3) -> list[float]:
    state = optimizer.init({"w": torch.zeros(1)})
    moves = []
    for round in range(1, count + 1):
        change, state = optimizer.step({"w": torch.ones(1)}, state, round)
        moves.append(float(change["w"]))
    return moves


def test_server_optimizers_change_the_merged_update() -> None:
    assert steps_of(plain()) == [1, 1, 1]
    assert steps_of(scaled(0.25)) == [0.25, 0.25, 0.25]
    assert steps_of(remembering()) == [1, 1.5, 1.75]


def test_a_chain_applies_its_parts_in_order_and_keeps_their_states_apart() -> None:
    assert steps_of(chain()) == steps_of(plain())
    assert steps_of(chain(remembering())) == steps_of(remembering())
    assert steps_of(chain(remembering(), scaled(2.0))) == [2, 3, 3.5]
    # 1, 1.5, 1.75 into the second: 1; 1.5 + 0.5; 1.75 + 1
    assert steps_of(chain(remembering(), remembering())) == [1, 2, 2.75]


def test_a_server_learning_rate_scales_the_step() -> None:
    whole, _ = one_round(Stated())
    half, _ = one_round(Stated(), algorithm=fedavg(server_lr=0.5))
    torch.testing.assert_close((half.adapter["w"] - START["w"]) * 2, whole.adapter["w"] - START["w"])


def test_what_clients_send_besides_changes_what_the_server_shares() -> None:
    def step(shared: Tensors, extra: Tensors, cohort: int, clients: int) -> Tensors:
        return {"c": shared["c"] + extra["c"] * cohort / clients}

    algorithm = Algorithm(uniform=True, share_init=lambda _: {"c": torch.zeros(2)}, share_step=step)
    executor = Stated(extra={"c": torch.tensor([0.1, 0.2])})
    state, own = first_state(plan(algorithm=algorithm), START), InMemory()
    expected = [(0.166667, 0.333333), (0.3, 0.6), (0.433333, 0.866667)]  # SCAFFOLD's c, worked out by hand
    for cohort, numbers in zip([(1, 2), (0, 2), (0, 2)], expected, strict=True):
        fixed = plan(members=cohort, algorithm=algorithm)
        before = state
        state, _ = run_round(fixed, state, executor, own)
        state = RunState(state.round, state.adapter, state.server, _out_of_three(before, state))
        torch.testing.assert_close(state.shared["c"], torch.tensor(numbers), rtol=0, atol=1e-6)
    torch.testing.assert_close(executor.jobs[-1].shared["c"], torch.tensor(expected[1]), rtol=0, atol=1e-6)


def _out_of_three(before: RunState, after: RunState) -> Tensors:
    """These rounds know of two members each, to fix the cohort; the clients are three."""
    return {"c": before.shared["c"] + (after.shared["c"] - before.shared["c"]) * 2 / 3}


# ------------------------------------------------------------------------------------------ left out


def test_a_client_whose_update_is_not_finite_is_rejected_and_the_round_goes_on() -> None:
    state, record = one_round(Stated(broken=[1]))
    expected = START["w"] + torch.tensor([0.01, -0.02]) * (1 * 1 + 3 * 6) / 7
    torch.testing.assert_close(state.adapter["w"], expected, rtol=0, atol=1e-6)
    assert record.rejected == {1: "rejected: non-finite update"}
    assert record.cohort == (0, 1, 2)
    assert sorted(record.update_norms) == [0, 2]
    assert [report.client for report in record.reports] == [0, 1, 2]


def test_a_rejected_client_keeps_nothing_new() -> None:
    own = InMemory()
    run_round(plan(cohort=3), first_state(plan(), START), Stated(broken=[1]), own)
    assert sorted(own.kept) == [0, 2]


def test_a_client_whose_own_tensors_are_not_finite_is_rejected_and_keeps_those_of_before() -> None:
    """Else it would start from them, and be scored with them, in every later round."""

    class Diverging(Stated):
        def map(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
            for result in super().map(jobs):
                lost = {"seen": torch.tensor([torch.nan])}
                yield replace(result, updates=[replace(u, own=lost) if u.client == 1 else u for u in result.updates])

    own, fixed = InMemory(), plan(cohort=3)
    state, _ = run_round(fixed, first_state(fixed, START), Stated(), own)
    _, record = run_round(fixed, state, Diverging(), own)
    assert record.rejected == {1: "rejected: non-finite own tensors"}
    assert [float(own.load(client, 3)["seen"]) for client in range(3)] == [3, 1, 3]


@pytest.mark.parametrize("executor", [Stated(broken=[0, 1, 2]), Stated(empty=[0, 1, 2])], ids=["broken", "empty"])
def test_a_round_without_any_update_leaves_the_state_and_counts_on(executor: Stated) -> None:
    before = first_state(plan(algorithm=Algorithm(server=remembering())), START)
    after, record = one_round(executor, before, algorithm=Algorithm(server=remembering()))
    assert (after.round, after.adapter, after.server, after.shared) == (1, before.adapter, before.server, before.shared)
    assert len(record.rejected) == 3
    assert (record.update_norm, record.bytes_up) == (0.0, 0)


def test_a_client_without_samples_is_skipped_and_recorded() -> None:
    state, record = one_round(Stated(empty=[2]))
    expected = START["w"] + torch.tensor([0.01, -0.02]) * (1 * 1 + 2 * 3) / 4
    torch.testing.assert_close(state.adapter["w"], expected, rtol=0, atol=1e-6)
    assert record.rejected == {2: "skipped: no samples"}


def test_a_client_none_of_whose_samples_can_be_used_is_skipped(tiny_model: Path, tmp_path: Path) -> None:
    """The real trainer: one of the clients has nothing but empty answers."""
    model = language_model(tiny_model)
    objective = sft(model)
    silent = [ChatExample(str(number), (Turn("user", "And?"), Turn("assistant", " "))) for number in range(3)]
    crowd = People((*people(4, 2).members, ClientData("silent", silent, [])))
    worker = Worker(trainer(model, objective), EncodedClients(crowd, objective, tmp_path), steps=lambda _: 1)
    fixed = plan(cohort=3, width=3)
    state, record = run_round(fixed, first_state(fixed, model.lora.initial(0)), InProcess(worker), InMemory())
    assert record.rejected == {2: "skipped: no samples"}
    (report,) = (report for report in record.reports if report.client == 2)
    assert (report.samples, report.steps, dict(report.notes)) == (0, 0, {"empty response": 3})
    assert any(bool(value.any()) for name, value in state.adapter.items() if name.endswith("lora_B.weight"))


# ------------------------------------------------------------------------------------------- cohorts


@given(st.integers(0, 99), st.integers(1, 30), st.integers(1, 10))
def test_a_cohort_has_the_size_asked_for_and_no_one_twice(seed: int, clients: int, cohort: int) -> None:
    members = [10 * number for number in range(clients)]
    drawn = fixed_cohort(seed, 1, members, cohort)
    assert len(drawn) == min(clients, cohort)
    assert drawn == sorted(set(drawn))
    assert set(drawn) <= set(members)


def cohorts(count: int, **changes: Any) -> list[tuple[int, ...]]:
    fixed = plan(range(3), **changes)
    state, own, drawn = first_state(fixed, START), InMemory(), []
    for _ in range(count):
        state, record = run_round(fixed, state, Stated(), own)
        drawn.append(record.cohort)
    return drawn


def test_cohorts_depend_on_seed_and_round_alone() -> None:
    class Drawing(Direct):
        def up(self, sent: Sent, state: Tensors, rng: np.random.Generator) -> Sent:
            rng.random(1000)
            return super().up(sent, state, rng)

    expected = cohorts(12)
    torch.rand(5)
    np.random.default_rng().random(5)
    assert cohorts(12) == expected
    assert cohorts(12, channel=Pipeline([Drawing()])) == expected
    assert cohorts(12, width=2, algorithm=fedavg(0.5)) == expected
    assert cohorts(12, seed=1) != expected
    assert len(set(expected)) > 1
    # A round that is done again after a resume draws the same clients, whatever happened before.
    _, record = run_round(plan(range(3)), RunState(6, START, {}, {}), Stated(), InMemory())
    assert record.cohort == expected[6]


def test_clients_are_drawn_about_equally_often() -> None:
    counts = np.bincount([client for round in range(600) for client in fixed_cohort(0, round, range(20), 5)])
    assert counts.min() > 110
    assert counts.max() < 190


def test_jobs_are_as_wide_as_the_plan_says_and_carry_the_rounds_learning_rate() -> None:
    executor = Stated()
    one_round(executor, RunState(2, START, {}, {}), width=2, lr=cosine(1.0, 0.2, 4))
    assert [job.clients for job in executor.jobs] == [(0, 1), (2,)]
    assert {job.round for job in executor.jobs} == {3}
    assert executor.jobs[0].lr == pytest.approx(0.2 + 0.8 / 2)


@given(st.floats(1e-6, 1), st.floats(0, 1e-6), st.integers(1, 200))
def test_the_cosine_starts_at_lr_and_falls_towards_its_end(lr: float, lr_min: float, rounds: int) -> None:
    rates = [cosine(lr, lr_min, rounds)(round) for round in range(1, rounds + 1)]
    assert rates[0] == pytest.approx(lr)
    assert all(a >= b for a, b in itertools.pairwise(rates))
    assert rates[-1] >= lr_min
    assert cosine(lr, lr_min, rounds)(rounds + 1) == pytest.approx(lr_min)


# ------------------------------------------------------------------------------------------- channel


@dataclass
class Then(Direct):
    """Applies a function on both sides, and says that it took `size` bytes."""

    change: Callable[[Tensor], Tensor]
    size: int
    uniform: bool = False

    def up(self, sent: Sent, state: Tensors, rng: np.random.Generator) -> Sent:
        return Sent({name: self.change(value) for name, value in sent.tensors.items()}, self.size)

    def merged(self, mean: Tensors, taken: int, state: Tensors, rng: np.random.Generator) -> tuple[Tensors, Tensors]:
        return {name: self.change(value) * taken for name, value in mean.items()}, state


def test_channels_follow_one_another_on_both_sides_and_the_last_ones_bytes_count() -> None:
    pipeline = Pipeline([Then(lambda x: x * 2, 100), Then(lambda x: x + 1, 7)])
    draw = rng.stream(0, "test")
    sent = pipeline.up(Sent({"w": torch.ones(1)}, 4), {}, draw)
    assert (float(sent.tensors["w"]), sent.bytes) == (3.0, 7)
    merged, _ = pipeline.merged({"w": torch.ones(1)}, 3, {}, draw)
    assert float(merged["w"]) == ((1 * 2 * 3) + 1) * 3


def test_what_arrives_through_the_channel_is_what_is_merged() -> None:
    state, record = one_round(
        Stated(), channel=Pipeline([Then(lambda x: x * 2, 100)]), algorithm=Algorithm(uniform=True)
    )
    expected = START["w"] + torch.tensor([0.01, -0.02]) * 2 * 2 * 2 * 3  # mean 2, doubled twice, times the cohort
    torch.testing.assert_close(state.adapter["w"], expected, rtol=0, atol=1e-5)
    assert record.bytes_up == 300


def test_each_client_and_round_has_noise_of_its_own() -> None:
    drawn: list[float] = []

    class Noting(Direct):
        def up(self, sent: Sent, state: Tensors, rng: np.random.Generator) -> Sent:
            drawn.append(rng.random())
            return sent

    state, _ = one_round(Stated(), channel=Pipeline([Noting()]))
    one_round(Stated(), state, channel=Pipeline([Noting()]))
    one_round(Stated(), channel=Pipeline([Noting()]), width=3)
    assert len(set(drawn[:6])) == 6
    assert drawn[6:] == drawn[:3]


def test_bytes_are_counted_both_ways() -> None:
    _, record = one_round(Stated(extra={"c": torch.zeros(3)}))
    assert record.bytes_up == 3 * (2 + 3) * 4
    assert record.bytes_down == 3 * 2 * 4
