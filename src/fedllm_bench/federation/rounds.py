"""The federated round, a function from one state to the next."""

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from fedllm_bench import rng
from fedllm_bench.federation.aggregate import Gathering, Merged, WeightedMean
from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.channel import Channel, Sent, arriving
from fedllm_bench.federation.keys import Keys, kept_personal
from fedllm_bench.federation.messages import ClientReport, Job, RoundRecord, RunState, Update
from fedllm_bench.federation.server import apply_update
from fedllm_bench.federation.worker import JobResult
from fedllm_bench.tensors import Tensors, all_finite, nbytes, norm, prefixed, unprefixed, zeros_like

__all__ = [
    "Executor",
    "OwnStates",
    "RoundPlan",
    "Sampling",
    "cohort_of_the_paper",
    "constant",
    "cosine",
    "first_state",
    "fixed_cohort",
    "poisson_cohort",
    "run_round",
]

_CHANNEL = "channel"

# (seed, round, members, cohort size) -> the members drawn, in their order.
Sampling = Callable[[int, int, Sequence[int], int], list[int]]


class Executor(Protocol):
    """Trains jobs wherever it wants; results come in job order."""

    def map(self, jobs: Sequence[Job]) -> Iterator[JobResult]: ...


class OwnStates(Protocol):
    """What clients keep between rounds; never all in memory."""

    def load(self, client: int, before: int) -> Tensors:
        """What a client kept in its last round before that one; nothing if it has not trained yet."""
        ...

    def save(self, client: int, round: int, own: Tensors) -> None: ...


def fixed_cohort(seed: int, round: int, members: Sequence[int], cohort: int) -> list[int]:
    """As many members as asked for, drawn without replacement; all of them where there are no more."""
    if len(members) <= cohort:
        return list(members)
    generator = rng.stream(seed, "cohort", round)
    places = generator.choice(len(members), cohort, replace=False, shuffle=False)
    return [members[place] for place in sorted(places.tolist())]


def poisson_cohort(seed: int, round: int, members: Sequence[int], cohort: int) -> list[int]:
    """Each member for itself with probability cohort / members: the number varies, and may be zero."""
    draws = rng.stream(seed, "cohort", round).random(len(members))
    return [member for member, draw in zip(members, draws, strict=True) if draw * len(members) < cohort]


def cohort_of_the_paper(seed: int, round: int, members: Sequence[int], cohort: int) -> list[int]:
    """The choice of the paper's scripts: Python's generator, seeded with the round from 0, whatever the run's seed."""
    if len(members) <= cohort:
        return list(members)
    return [members[place] for place in sorted(random.Random(round - 1).sample(range(len(members)), cohort))]


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
        keys: which tensors travel.
        sampling: draws the cohort.
    """

    seed: int
    members: Sequence[int]
    cohort: int
    lr: Callable[[int], float]
    algorithm: Algorithm
    channel: Channel
    width: int
    keys: Keys = Keys()  # noqa: RUF009 (frozen)
    sampling: Sampling = fixed_cohort


def cosine(lr: float, lr_min: float, rounds: int) -> Callable[[int], float]:
    """lr_r = lr_min + (lr - lr_min) (1 + cos(pi r / R)) / 2 with r counted from 0, constant inside a round."""
    return lambda round: lr_min + (lr - lr_min) * (1 + math.cos(math.pi * (round - 1) / rounds)) / 2


def constant(lr: float, lr_min: float, rounds: int) -> Callable[[int], float]:
    """lr_r = lr in every round."""
    return lambda round: lr


def first_state(plan: RoundPlan, adapter: Tensors) -> RunState:
    """The state before the first round."""
    algorithm, travels = plan.algorithm, plan.keys.leaving(adapter)
    return RunState(
        0, adapter, algorithm.server.init(travels), algorithm.share_init(travels), channel=plan.channel.init()
    )


def run_round(
    plan: RoundPlan,
    state: RunState,
    executor: Executor,
    own: OwnStates,
    on_client: Callable[[ClientReport], None] = lambda _: None,
) -> tuple[RunState, RoundRecord]:
    """Sample a cohort, train it, merge what arrives and step the server.

    A client whose update, or what it would keep, is not finite is rejected and recorded; the others go on.

    Args:
        plan: what is fixed over the run.
        state: where the run stands.
        executor: trains the jobs.
        own: what clients keep.
        on_client: told of each client that is done.
    """
    round = state.round + 1
    cohort = plan.sampling(plan.seed, round, plan.members, plan.cohort)
    jobs = _Jobs(plan, state, own, cohort)
    merger = _Merger(plan, state, own, jobs.at_channel)
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
    after, update_norm = merger.step()
    seconds["aggregate"] += time.perf_counter() - started
    record = RoundRecord(
        round=round,
        cohort=tuple(cohort),
        rejected=merger.rejected,
        reports=tuple(merger.reports),
        update_norms=merger.norms,
        update_norm=update_norm,
        lr=plan.lr(round),
        bytes_up=merger.bytes_up,
        bytes_down=_bytes_down(plan, state, cohort),
        seconds=dict(seconds),
    )
    return after, record


def _bytes_down(plan: RoundPlan, state: RunState, cohort: Sequence[int]) -> int:
    """What a cohort downloads: each client its part of the adapter, what goes with it, and the change of the base as a
    whole or as the factors that it came from, whichever is less."""
    adapter = plan.keys.leaving(state.adapter)
    taken = sum(nbytes(plan.algorithm.taken(adapter, plan.seed, client)) for client in cohort)
    factors = state.round * plan.cohort * nbytes(adapter)
    return taken + len(cohort) * (nbytes(state.shared) + min(nbytes(state.base), factors))


class _Jobs(Sequence[Job]):
    """A cohort cut into jobs of the plan's width, each made when it is asked for, so that few own states are loaded."""

    def __init__(self, plan: RoundPlan, state: RunState, own: OwnStates, cohort: Sequence[int]) -> None:
        self._plan, self._state, self._own = plan, state, own
        self._teams = [tuple(cohort[at : at + plan.width]) for at in range(0, len(cohort), plan.width)]
        # What the channel keeps at clients whose job was made, until their update has gone through it.
        self.at_channel: dict[int, Tensors] = {}

    def __len__(self) -> int:
        return len(self._teams)

    def __getitem__(self, place: int) -> Job:  # type: ignore[override]
        team, round = self._teams[place], self._state.round + 1
        own = {client: self._own.load(client, round) for client in team}
        self.at_channel |= {client: unprefixed(_CHANNEL, kept) for client, kept in own.items()}
        return Job(round, team, self._state.adapter, self._state.shared, own, self._plan.lr(round), self._state.base)


class _Merger:
    """Takes a round's updates one by one and ends with the next state."""

    def __init__(self, plan: RoundPlan, state: RunState, own: OwnStates, at_channel: dict[int, Tensors]) -> None:
        self._plan, self._state, self._own, self._round = plan, state, own, state.round + 1
        self._at_channel = at_channel
        self._aggregate = plan.algorithm.aggregate(Gathering(plan.seed, self._round, state.adapter, state.base))
        # What clients send besides their update always counts the same for each.
        self._extra = WeightedMean()
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
        for what, tensors in (("update", sent), ("own tensors", update.own)):
            if not all_finite(tensors):
                self.rejected[update.client] = f"rejected: non-finite {what}"
                return
        arrived = self._through_channel(update.client, sent)
        self.bytes_up += arrived.bytes
        self.norms[update.client] = norm(update.delta)
        delta = unprefixed("delta", arrived.tensors)
        self._aggregate.add(update.client, delta, 1.0 if self._uniform else update.weight)
        rest = {name: value for name, value in arrived.tensors.items() if not name.startswith("delta/")}
        self._extra.add(update.client, rest, 1.0)
        self._taken += 1
        own = {**update.own, **prefixed(_CHANNEL, arrived.memory)}
        if own:
            self._own.save(update.client, self._round, own)

    def _through_channel(self, client: int, sent: Tensors) -> Sent:
        draw = rng.stream(self._plan.seed, "channel up", self._round, client)
        whole, kept = arriving(sent), self._at_channel.pop(client)
        return self._plan.channel.up(Sent(whole.tensors, whole.bytes, kept), self._state.channel, draw)

    def step(self) -> tuple[RunState, float]:
        """The state after the round, and the norm of the merged update; without any update only the round counts on."""
        state, plan = self._state, self._plan
        merged, rest = self._aggregate.result(), self._extra.result()
        if merged is None or rest is None:
            if not plan.channel.releases_empty:
                return replace(state, round=self._round), 0.0
            merged, rest = self._nothing()
        draw = rng.stream(plan.seed, "channel merged", self._round)
        mean = {**prefixed("delta", merged.delta), **rest.delta}
        used, channel = plan.channel.merged(mean, self._taken, state.channel, draw)
        delta, extra = unprefixed("delta", used), unprefixed("extra", used)
        adapter, server = apply_update(plan.algorithm.server, state.adapter, delta, state.server, self._round)
        # Where the channel hides who arrived, the mean is over the number that is expected.
        count = min(plan.cohort, len(plan.members)) if plan.channel.releases_empty else self._taken
        shared = plan.algorithm.share_step(state.shared, extra, count, len(plan.members))
        for client, model in merged.personal.items():
            kept = self._own.load(client, self._round + 1)
            self._own.save(client, self._round, {**kept, **kept_personal(model)})
        base = state.base if merged.base is None else merged.base
        return RunState(self._round, adapter, server, shared, base, channel), norm(delta)

    def _nothing(self) -> tuple[Merged, Merged]:
        """The mean over nobody: zeros, of the shapes that clients would have sent."""
        travels = self._plan.keys.leaving(self._state.adapter)
        extra = self._plan.algorithm.share_init(travels)
        return Merged(zeros_like(travels)), Merged(prefixed("extra", zeros_like(extra)))
