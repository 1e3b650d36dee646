"""The federated round, a function from one state to the next."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedllm_bench import rng
from fedllm_bench.federation.algorithms import Algorithm
from fedllm_bench.federation.channel import Channel
from fedllm_bench.federation.messages import ClientReport, Job, RoundRecord, RunState, Update
from fedllm_bench.federation.server import apply_update
from fedllm_bench.federation.worker import JobResult
from fedllm_bench.tensors import Tensors, all_finite, nbytes, norm, prefixed, unprefixed

__all__ = ["Executor", "OwnStates", "RoundPlan", "constant", "cosine", "first_state", "run_round", "sample_cohort"]


class Executor(Protocol):
    """Trains jobs wherever it wants; results come in job order."""

    def map(self, jobs: Sequence[Job]) -> Iterator[JobResult]: ...


class OwnStates(Protocol):
    """What clients keep between rounds; never all in memory."""

    def load(self, client: int, before: int) -> Tensors:
        """What a client kept in its last round before that one; nothing if it has not trained yet."""
        ...

    def save(self, client: int, round: int, own: Tensors) -> None: ...


@dataclass(frozen=True)
class RoundPlan:
    """All that is fixed over the rounds of a run.

    Args:
        seed: the run's seed.
        members: positions of the clients that may take part.
        cohort: how many take part in a round.
        lr: round from 1 -> learning rate.
        algorithm: the method.
        channel: what updates go through.
        width: clients trained in one pass.
    """

    seed: int
    members: Sequence[int]
    cohort: int
    lr: Callable[[int], float]
    algorithm: Algorithm
    channel: Channel
    width: int


def cosine(lr: float, lr_min: float, rounds: int) -> Callable[[int], float]:
    """lr_r = lr_min + (lr - lr_min) (1 + cos(pi r / R)) / 2 with r counted from 0, constant inside a round."""
    return lambda round: lr_min + (lr - lr_min) * (1 + math.cos(math.pi * (round - 1) / rounds)) / 2


def constant(lr: float, lr_min: float, rounds: int) -> Callable[[int], float]:
    """lr_r = lr in every round."""
    return lambda round: lr


def sample_cohort(generator: np.random.Generator, members: Sequence[int], cohort: int) -> list[int]:
    """Members drawn without replacement, in their order; all of them where there are no more than asked for."""
    if len(members) <= cohort:
        return list(members)
    places = generator.choice(len(members), cohort, replace=False, shuffle=False)
    return [members[place] for place in sorted(places.tolist())]


def first_state(algorithm: Algorithm, adapter: Tensors) -> RunState:
    """The state before the first round."""
    return RunState(0, adapter, algorithm.server.init(adapter), algorithm.share_init(adapter))


def run_round(
    plan: RoundPlan,
    state: RunState,
    executor: Executor,
    own: OwnStates,
    on_client: Callable[[ClientReport], None] = lambda _: None,
) -> tuple[RunState, RoundRecord]:
    """Sample a cohort, train it, merge what arrives and step the server.

    A client whose update is not finite is rejected and recorded; the others go on.

    Args:
        plan: what is fixed over the run.
        state: where the run stands.
        executor: trains the jobs.
        own: what clients keep.
        on_client: told of each client that is done.
    """
    round = state.round + 1
    cohort = sample_cohort(rng.stream(plan.seed, "cohort", round), plan.members, plan.cohort)
    jobs = _Jobs(plan, state, own, cohort)
    merger = _Merger(plan, own, round)
    seconds: dict[str, float] = defaultdict(float)
    for result in executor.map(jobs):
        for name, value in result.seconds.items():
            seconds[name] += value
        started = time.perf_counter()
        for report in result.idle:
            merger.leave_out(report)
            on_client(report)
        for update in result.updates:
            merger.take(update)
            on_client(update.report)
        seconds["aggregate"] += time.perf_counter() - started
    started = time.perf_counter()
    after, update_norm = merger.step(state)
    seconds["aggregate"] += time.perf_counter() - started
    down = (nbytes(state.adapter) + nbytes(state.shared)) * len(cohort)
    record = RoundRecord(
        round=round,
        cohort=tuple(cohort),
        rejected=merger.rejected,
        reports=tuple(merger.reports),
        update_norms=merger.norms,
        update_norm=update_norm,
        lr=plan.lr(round),
        bytes_up=merger.bytes_up,
        bytes_down=down,
        seconds=dict(seconds),
    )
    return after, record


class _Jobs(Sequence[Job]):
    """A cohort cut into jobs of the plan's width, each made when it is asked for, so that few own states are loaded."""

    def __init__(self, plan: RoundPlan, state: RunState, own: OwnStates, cohort: Sequence[int]) -> None:
        self._plan, self._state, self._own = plan, state, own
        self._teams = [tuple(cohort[at : at + plan.width]) for at in range(0, len(cohort), plan.width)]

    def __len__(self) -> int:
        return len(self._teams)

    def __getitem__(self, place: int) -> Job:  # type: ignore[override]
        team, round = self._teams[place], self._state.round + 1
        own = {client: self._own.load(client, round) for client in team}
        return Job(round, team, self._state.adapter, self._state.shared, own, self._plan.lr(round))


class _Merger:
    """Takes a round's updates one by one and ends with the next state."""

    def __init__(self, plan: RoundPlan, own: OwnStates, round: int) -> None:
        self._plan, self._own, self._round = plan, own, round
        self._aggregate = plan.algorithm.aggregate()
        self._uniform = plan.algorithm.uniform or plan.channel.uniform
        self._taken = 0
        self.reports: list[ClientReport] = []
        self.rejected: dict[int, str] = {}
        self.norms: dict[int, float] = {}
        self.bytes_up = 0

    def leave_out(self, report: ClientReport) -> None:
        self.reports.append(report)
        self.rejected[report.client] = "skipped: no samples"

    def take(self, update: Update) -> None:
        self.reports.append(update.report)
        sent = {**prefixed("delta", update.delta), **prefixed("extra", update.extra)}
        if not all_finite(sent):
            self.rejected[update.client] = "rejected: non-finite update"
            return
        draw = rng.stream(self._plan.seed, "channel up", self._round, update.client)
        arrived, size = self._plan.channel.up(sent, draw)
        self.bytes_up += size
        self.norms[update.client] = norm(update.delta)
        self._aggregate.add(arrived, 1.0 if self._uniform else update.weight)
        self._taken += 1
        if update.own:
            self._own.save(update.client, self._round, update.own)

    def step(self, state: RunState) -> tuple[RunState, float]:
        """The state after the round, and the norm of the merged update; without any update only the round counts on."""
        merged = self._aggregate.result()
        if merged is None:
            return RunState(self._round, state.adapter, state.server, state.shared), 0.0
        draw = rng.stream(self._plan.seed, "channel merged", self._round)
        merged = self._plan.channel.merged(merged, self._taken, draw)
        delta, extra = unprefixed("delta", merged), unprefixed("extra", merged)
        algorithm = self._plan.algorithm
        adapter, server = apply_update(algorithm.server, state.adapter, delta, state.server, self._round)
        shared = algorithm.share_step(state.shared, extra, self._taken, len(self._plan.members))
        return RunState(self._round, adapter, server, shared), norm(delta)
