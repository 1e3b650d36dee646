"""Clients with quadratic losses, trained by the engine's own trainer: no language model, everything else as it is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.messages import Job
from fedllm_bench.federation.optimizer import SGD, LocalOptimizer
from fedllm_bench.federation.trainer import CohortTrainer, Learner, LocalPlan
from fedllm_bench.federation.worker import JobResult
from fedllm_bench.objectives.protocol import Row, RowLoss
from fedllm_bench.tensors import Tensors

__all__ = ["SEED", "Client", "Quadratics"]

SEED = 3

# What the trainer asks of a language model besides its losses.
BASE: Any = SimpleNamespace(
    device=torch.device("cpu"),
    lora=SimpleNamespace(changed_base=lambda base: nullcontext()),
    flops=lambda *args, **options: 0.0,
)


@dataclass(frozen=True)
class Client:
    """One client: its samples (H, b), each with the loss 1/2 (w - b)^T H (w - b), and the steps it takes."""

    samples: Sequence[tuple[Any, Any]]
    steps: int

    def gradient(self, w: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        """Mean over some samples, in fp64."""
        found = [np.asarray(h) @ (w - np.asarray(b)) for h, b in (self.samples[row] for row in rows)]
        return np.asarray(np.mean(found, axis=0))


@dataclass(frozen=True)
class _Rows:
    """A client's samples as the trainer takes them."""

    client: Client
    notes: Mapping[str, int] = field(default_factory=dict)

    def ready(self, rows: Iterable[int]) -> "_Rows":
        return self

    def __len__(self) -> int:
        return len(self.client.samples)

    def __getitem__(self, row: int) -> Mapping[str, np.ndarray]:
        h, b = self.client.samples[row]
        return {"h": np.asarray(h, np.float32), "b": np.asarray(b, np.float32)}


class _Quadratic:
    """The objective: each sample weighs 1."""

    key = "quadratic"

    def length(self, row: Mapping[str, np.ndarray]) -> int:
        return 1

    def weight(self, row: Mapping[str, np.ndarray]) -> float:
        return 1.0

    def sequences(self, row: Mapping[str, np.ndarray]) -> tuple[list[int], int]:
        return [1], 1

    def loss(
        self, model: object, params: Tensors | None, rows: Sequence[Row], *, training: bool, metrics: bool
    ) -> RowLoss:
        assert params is not None
        losses = [self._of(params["w"][row.owner], row) for row in rows]
        return RowLoss(torch.stack(losses), torch.ones(len(rows)))

    def _of(self, w: Tensor, row: Row) -> Tensor:
        away = w - torch.from_numpy(row.data["b"])
        return 0.5 * away @ torch.from_numpy(row.data["h"]) @ away


@dataclass(frozen=True)
class Quadratics:
    """A federation of such clients; the adapter is one vector, `w`.

    Args:
        clients: in order.
        batch_size: samples a step.
        optimizer: the local one.
    """

    clients: Sequence[Client]
    batch_size: int = 1
    optimizer: LocalOptimizer = SGD()  # noqa: RUF009 (frozen)

    def executor(self, algorithm: Algorithm) -> "Training":
        plan = LocalPlan(self.batch_size, None, self.optimizer)
        objective: Any = _Quadratic()
        trainer = CohortTrainer(BASE, objective, algorithm.client, plan, 1000, SEED, algorithm.keys, algorithm.beside)
        return Training(self.clients, trainer)


@dataclass(frozen=True)
class Training:
    """An executor that trains in this process."""

    clients: Sequence[Client]
    trainer: CohortTrainer

    def map(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        for job in jobs:
            team = [self._learner(client, job) for client in job.clients]
            updates = self.trainer.train(job.round, team, job.adapter, job.shared, job.lr, job.base)
            yield JobResult(updates, [], {})

    def _learner(self, client: int, job: Job) -> Learner:
        own: Any = _Rows(self.clients[client])
        return Learner(client, str(client), own, self.clients[client].steps, job.own[client])
