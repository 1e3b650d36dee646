"""Rounds whose clients train nothing and send what a test states, so that the server's arithmetic stands alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fedllm_bench.federation.channel import Pipeline
from fedllm_bench.federation.messages import ClientReport, Job, Update
from fedllm_bench.federation.methods.paper import fedavg
from fedllm_bench.federation.rounds import RoundPlan, constant
from fedllm_bench.federation.worker import JobResult
from fedllm_bench.tensors import Tensors

__all__ = ["SIZES", "START", "InMemory", "Stated", "growing", "plan"]

SIZES = (1, 3, 6)
START = {"w": torch.tensor([1.0, -2.0])}


def growing(client: int, round: int) -> Tensor:
    """An update worked with by hand: [0.01, -0.02] * (i + 1) * r."""
    return torch.tensor([0.01, -0.02]) * (client + 1) * round


class Stated:
    """An executor that trains nothing.

    Args:
        broken: clients that send something that is not a number.
        empty: clients that have no samples.
        extra: tensors that client i sends besides, `extra * (i + 1)`.
        delta: (client, round) -> what the client sends.
        sizes: samples of each client.
    """

    def __init__(
        self,
        broken: Sequence[int] = (),
        empty: Sequence[int] = (),
        extra: Tensors | None = None,
        delta: Callable[[int, int], Tensor] = growing,
        sizes: Sequence[int] = SIZES,
    ) -> None:
        self.broken, self.empty, self.extra = broken, empty, extra or {}
        self.delta, self.sizes = delta, sizes
        self.jobs: list[Job] = []

    def map(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        for job in jobs:
            self.jobs.append(job)
            able = [client for client in job.clients if client not in self.empty]
            idle = [ClientReport(client, 0) for client in job.clients if client in self.empty]
            yield JobResult([self._update(client, job) for client in able], idle, {"train": 0.5})

    def _update(self, client: int, job: Job) -> Update:
        delta = self.delta(client, job.round).clone()
        if client in self.broken:
            delta[1] = torch.inf
        extra = {name: value * (client + 1) for name, value in self.extra.items()}
        own = {"seen": job.own[client].get("seen", torch.zeros(1)) + job.round}
        size = self.sizes[client]
        return Update(client, size, {"w": delta}, extra, own, ClientReport(client, size))


@dataclass
class InMemory:
    """What clients keep, and who asked for what."""

    kept: dict[int, dict[int, Tensors]] = field(default_factory=dict)

    def load(self, client: int, before: int) -> Tensors:
        past = [round for round in self.kept.get(client, {}) if round < before]
        return self.kept[client][max(past)] if past else {}

    def save(self, client: int, round: int, own: Tensors) -> None:
        self.kept.setdefault(client, {})[round] = own


def plan(members: Sequence[int] = (0, 1, 2), **changes: Any) -> RoundPlan:
    """Rounds of two of three clients by FedAvg, unless said otherwise."""
    settings: dict[str, Any] = {
        "seed": 0,
        "cohort": 2,
        "lr": constant(0.1, 0, 3),
        "algorithm": fedavg(),
        "channel": Pipeline([]),
        "width": 1,
    }
    return RoundPlan(members=members, **{**settings, **changes})
