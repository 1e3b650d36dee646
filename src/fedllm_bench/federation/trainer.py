"""The cohort trainer: several clients' local training in one forward and backward pass over one frozen base."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedllm_bench import rng
from fedllm_bench.federation.hooks import ClientHook, TrainContext
from fedllm_bench.federation.messages import ClientReport, Update
from fedllm_bench.federation.optimizer import LocalOptimizer
from fedllm_bench.federation.stack import AdapterStack
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.layout import plan_micro_batches
from fedllm_bench.objectives.encoded import EncodedPart
from fedllm_bench.objectives.protocol import Objective, Row
from fedllm_bench.tensors import Tensors

__all__ = ["CohortTrainer", "Learner", "LocalPlan", "draw_batches"]


@dataclass(frozen=True)
class LocalPlan:
    """How a client trains in a round.

    Args:
        steps: optimizer steps.
        batch_size: examples a step.
        clip_norm: largest norm of a client's gradient; None leaves it as it is.
        optimizer: the local optimizer.
        keep_optimizer: whether its state stays with the client until its next round.
    """

    steps: int
    batch_size: int
    clip_norm: float | None
    optimizer: LocalOptimizer
    keep_optimizer: bool = False


@dataclass(frozen=True)
class Learner:
    """One client about to train.

    Args:
        client: position in the dataset.
        id: its name.
        rows: its encoded examples.
        steps: optimizer steps it takes; clients of one cohort may differ.
        own: what it kept from its last round.
    """

    client: int
    id: str
    rows: EncodedPart
    steps: int
    own: Tensors


def draw_batches(generator: np.random.Generator, examples: int, batch_size: int, steps: int) -> list[list[int]]:
    """Examples of each step: shuffled passes over the data, one after the other, cut into batches.

    A client with fewer examples than it needs goes through them again in a new order.
    """
    needed = batch_size * steps
    passes = -(-needed // examples)
    order = np.concatenate([generator.permutation(examples) for _ in range(passes)])[:needed]
    return [[int(row) for row in order[step * batch_size : (step + 1) * batch_size]] for step in range(steps)]


@dataclass(frozen=True)
class _Tally:
    """Sums per client of one step, in stack order."""

    loss: Tensor
    weight: Tensor
    tokens: Tensor
    flops: Tensor


class CohortTrainer:
    """Trains clients together; the result equals training them one by one, up to rounding.

    Args:
        model: the frozen base with adapter sites.
        objective: what is learnt.
        hook: what the method adds.
        plan: how a client trains.
        token_budget: most tokens in one micro-batch.
        seed: the run's seed.
    """

    def __init__(
        self,
        model: LanguageModel,
        objective: Objective,
        hook: ClientHook,
        plan: LocalPlan,
        token_budget: int,
        seed: int,
    ) -> None:
        self.model = model
        self.objective = objective
        self.hook = hook
        self.plan = plan
        self.token_budget = token_budget
        self.seed = seed

    def train(
        self, round: int, learners: Sequence[Learner], adapter: Tensors, shared: Tensors, lr: float
    ) -> list[Update]:
        """Train every learner from the same adapter and give their updates, in the order given."""
        # Those with most steps first: at any step the active ones are the head of the stack.
        order = sorted(range(len(learners)), key=lambda i: -learners[i].steps)
        team = [learners[i] for i in order]
        updates = self._train_team(round, team, adapter, shared, lr)
        return [updates[order.index(i)] for i in range(len(learners))]

    def _train_team(
        self, round: int, team: Sequence[Learner], adapter: Tensors, shared: Tensors, lr: float
    ) -> list[Update]:
        stack = AdapterStack(adapter, len(team), self.model.device)
        keep = self.plan.keep_optimizer
        memory = self.plan.optimizer.start(stack, [learner.own if keep else {} for learner in team])
        batches = [
            draw_batches(
                rng.stream(self.seed, "batches", round, learner.id),
                len(learner.rows),
                self.plan.batch_size,
                learner.steps,
            )
            for learner in team
        ]
        anchor = {name: value.to(self.model.device) for name, value in adapter.items()}
        owns = [learner.own for learner in team]
        clients = [learner.client for learner in team]
        tallies: list[_Tally] = []
        for step in range(team[0].steps):
            count = sum(step < learner.steps for learner in team)
            active = torch.arange(len(team), device=self.model.device) < count
            ctx = TrainContext(round, clients, anchor, shared, owns, active)
            rows = [
                Row(learner.rows[row], position, rng.integer(self.seed, "dropout", round, learner.id, step, place))
                for position, learner in enumerate(team[:count])
                for place, row in enumerate(batches[position][step])
            ]
            tallies.append(self._gradients(stack, rows, len(team)))
            stack.use_gradients(self.hook.on_gradients(ctx, stack.params, stack.grads))
            if self.plan.clip_norm is not None:
                stack.clip(self.plan.clip_norm)
            self.plan.optimizer.step(stack, memory, count, lr)
            self.hook.after_step(ctx, stack.params, lr)
        everyone = torch.ones(len(team), dtype=torch.bool, device=self.model.device)
        ctx = TrainContext(round, clients, anchor, shared, owns, everyone)
        updates = []
        for position, learner in enumerate(team):
            done = self.hook.finish(ctx, position, stack.one(position), learner.steps, lr)
            own = {**done.own, **(self.plan.optimizer.state(memory, position) if keep else {})}
            report = _report(learner, position, tallies[: learner.steps])
            updates.append(Update(learner.client, float(len(learner.rows)), done.delta, done.extra, own, report))
        return updates

    def _gradients(self, stack: AdapterStack, rows: Sequence[Row], width: int) -> _Tally:
        """Accumulate each client's gradient of its own mean loss over its rows of this step."""
        weight, tokens, flops = torch.zeros(width), torch.zeros(width), torch.zeros(width, dtype=torch.float64)
        lengths = [self.objective.length(row.data) for row in rows]
        for row, length in zip(rows, lengths, strict=True):
            scored = self.objective.weight(row.data)
            weight[row.owner] += scored
            tokens[row.owner] += length
            flops[row.owner] += self.model.flops([length], int(scored), training=True)
        loss = torch.zeros(width)
        stack.zero_gradients()
        for chosen in plan_micro_batches(lengths, self.token_budget):
            part = [rows[i] for i in chosen]
            owners = torch.tensor([row.owner for row in part])
            result = self.objective.loss(self.model, stack.params, part, training=True, metrics=False)
            share = (1.0 / weight[owners]).to(result.total.device)
            (result.total * share).sum().backward()
            loss.index_add_(0, owners, result.total.detach().float().cpu())
        return _Tally(loss, weight, tokens, flops)


def _report(learner: Learner, position: int, tallies: Sequence[_Tally]) -> ClientReport:
    losses = [float(tally.loss[position]) for tally in tallies]
    weights = [float(tally.weight[position]) for tally in tallies]
    means = [loss / weight for loss, weight in zip(losses, weights, strict=True)]
    return ClientReport(
        client=learner.client,
        samples=len(learner.rows),
        steps=len(tallies),
        tokens=int(sum(float(tally.tokens[position]) for tally in tallies)),
        trained_tokens=int(sum(weights)),
        loss_first=means[0] if means else None,
        loss_last=means[-1] if means else None,
        loss=sum(losses) / sum(weights) if means else None,
        flops=sum(float(tally.flops[position]) for tally in tallies),
        notes=learner.rows.notes,
    )
