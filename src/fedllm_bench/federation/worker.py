"""What turns a job into updates, in whatever process an executor puts it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fedllm_bench.federation.messages import ClientReport, Job, Update
from fedllm_bench.federation.trainer import CohortTrainer, Learner
from fedllm_bench.objectives.encoded import EncodedClients

__all__ = ["JobResult", "Worker"]


@dataclass(frozen=True)
class JobResult:
    """Updates of a job's clients; clients that could not train have a report alone."""

    updates: Sequence[Update]
    idle: Sequence[ClientReport]
    seconds: Mapping[str, float]


class Worker:
    """Encodes clients' examples and trains them.

    Args:
        trainer: trains cohorts.
        encoded: the clients' examples.
        steps: optimizer steps in a round of a client with so many usable samples.
    """

    def __init__(self, trainer: CohortTrainer, encoded: EncodedClients, steps: Callable[[int], int]) -> None:
        self.trainer = trainer
        self.encoded = encoded
        self.steps = steps

    def run(self, job: Job) -> JobResult:
        """Train a job's clients together."""
        started = time.perf_counter()
        dataset = self.encoded.dataset
        learners = [
            Learner(
                client=client,
                id=dataset.client_id(client),
                rows=rows,
                steps=self.steps(len(rows)),
                own=job.own.get(client, {}),
            )
            for client in job.clients
            for rows in [self.encoded.part(client, "train")]
        ]
        able = [learner for learner in learners if len(learner.rows)]
        idle = [
            ClientReport(learner.client, samples=0, notes=learner.rows.notes)
            for learner in learners
            if not len(learner.rows)
        ]
        encoded = time.perf_counter()
        trained = self.trainer.train(job.round, able, job.adapter, job.shared, job.lr, job.base) if able else []
        return JobResult(trained, idle, {"encode": encoded - started, "train": time.perf_counter() - encoded})
