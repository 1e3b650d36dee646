"""Real rounds of a small federation: a tiny model, made-up people, training in this process."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.channel import Pipeline
from fedllm_bench.federation.checkpoint import DiskStates
from fedllm_bench.federation.executors.inprocess import InProcess
from fedllm_bench.federation.keys import personal_model
from fedllm_bench.federation.messages import Job, RoundRecord, RunState, Update
from fedllm_bench.federation.optimizer import AdamW, LocalOptimizer
from fedllm_bench.federation.rounds import RoundPlan, constant, first_state, run_round
from fedllm_bench.federation.trainer import CohortTrainer, LocalPlan
from fedllm_bench.federation.worker import Worker
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.tensors import Tensors
from made_up import people
from small_parts import sft

SIZES = (2, 5, 9)


@dataclass(frozen=True)
class Federation:
    """All of some people in every round of a method.

    Args:
        model: the base with its adapter sites.
        folder: for what clients keep.
        algorithm: the method.
        sizes: training conversations of each person.
        steps: local ones.
        lr: of every round.
        optimizer: the local one.
        start: adapter before the first round; the model's initial one if none is given.
        keep_optimizer: whether clients keep its state.
    """

    model: LanguageModel
    folder: Path
    algorithm: Algorithm
    sizes: Sequence[int] = SIZES
    steps: int = 2
    lr: float = 0.02
    optimizer: LocalOptimizer = AdamW()  # noqa: RUF009 (frozen)
    start: Tensors | None = None
    keep_optimizer: bool = False

    @cached_property
    def plan(self) -> RoundPlan:
        members = range(len(self.sizes))
        return RoundPlan(
            seed=7,
            members=members,
            cohort=len(members),
            lr=constant(self.lr, 0, 1),
            algorithm=self.algorithm,
            channel=Pipeline([]),
            width=len(members),
            keys=self.algorithm.keys,
        )

    @cached_property
    def worker(self) -> Worker:
        objective = sft(self.model)
        local = LocalPlan(2, clip_norm=None, optimizer=self.optimizer, keep_optimizer=self.keep_optimizer)
        trainer = CohortTrainer(
            self.model,
            objective,
            self.algorithm.client,
            local,
            token_budget=300,
            seed=self.plan.seed,
            keys=self.algorithm.keys,
            beside=self.algorithm.beside,
        )
        return Worker(
            trainer, EncodedClients(people(*self.sizes), objective, self.folder / "cache"), lambda _: self.steps
        )

    @cached_property
    def own(self) -> DiskStates:
        return DiskStates(self.folder / "own", back=100)

    @property
    def first(self) -> RunState:
        return first_state(self.plan, self.start or self.model.lora.initial(7))

    def updates(self, state: RunState) -> Sequence[Update]:
        """What every client sends in the round after that state."""
        own = {client: self.own.load(client, state.round + 1) for client in self.plan.members}
        job = Job(state.round + 1, tuple(self.plan.members), state.adapter, state.shared, own, self.lr, state.base)
        return self.worker.run(job).updates

    def round(self, state: RunState) -> tuple[RunState, RoundRecord]:
        return run_round(self.plan, state, InProcess(self.worker), self.own)

    def rounds(self, count: int) -> RunState:
        """The state after so many rounds from the start."""
        state = self.first
        for _ in range(count):
            state, _ = self.round(state)
        return state

    def personal(self, client: int) -> Tensors:
        """The model of its own that a client has now."""
        return personal_model(self.own.load(client, before=1_000_000))
