"""The cohort trainer: several clients' local training in one forward and backward pass over one frozen base."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor

from fedllm_bench import rng
from fedllm_bench.federation.batches import Draw, shuffled_batches
from fedllm_bench.federation.hooks import ClientHook, TrainContext, expand
from fedllm_bench.federation.keys import Keys, kept_personal, personal_model
from fedllm_bench.federation.messages import ClientReport, Update
from fedllm_bench.federation.optimizer import LocalOptimizer, Memory
from fedllm_bench.federation.stack import AdapterStack
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.layout import plan_micro_batches
from fedllm_bench.objectives.encoded import EncodedPart
from fedllm_bench.objectives.protocol import Objective, Row
from fedllm_bench.tensors import Tensors, prefixed, unprefixed

__all__ = ["CohortTrainer", "Learner", "LocalPlan"]

_BESIDE = "beside"


@dataclass(frozen=True)
class LocalPlan:
    """How a client trains in a round.

    Args:
        batch_size: examples a step.
        clip_norm: largest norm of a client's gradient; None leaves it as it is.
        optimizer: the local optimizer.
        keep_optimizer: whether its state stays with the client until its next round.
        groups: a step's examples are cut into so many groups, and their mean losses count the same.
        draw: chooses the examples of each step.
    """

    batch_size: int
    clip_norm: float | None
    optimizer: LocalOptimizer
    keep_optimizer: bool = False
    groups: int = 1
    draw: Draw = shuffled_batches


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


@dataclass(frozen=True)
class _Tally:
    """Sums per client of one step, in stack order."""

    loss: Tensor
    weight: Tensor
    tokens: Tensor
    flops: Tensor


@dataclass(frozen=True)
class _Lesson:
    """What the learners of a team train on and with, in stack order; `batches` are rows by learner and step."""

    round: int
    team: Sequence[Learner]
    batches: Sequence[list[list[int]]]
    anchor: Tensors
    shared: Tensors
    lr: float


class CohortTrainer:
    """Trains clients together; the result equals training them one by one, up to rounding.

    Args:
        model: the frozen base with adapter sites.
        objective: what is learnt.
        hook: what the method adds.
        plan: how a client trains.
        token_budget: most tokens in one micro-batch.
        seed: the run's seed.
        keys: which tensors train, and which leave.
        beside: if given, each client also trains a model of its own with this hook, which stays with it.
    """

    def __init__(
        self,
        model: LanguageModel,
        objective: Objective,
        hook: ClientHook,
        plan: LocalPlan,
        token_budget: int,
        seed: int,
        keys: Keys = Keys(),  # noqa: B008 (frozen)
        beside: ClientHook | None = None,
    ) -> None:
        self.model = model
        self.objective = objective
        self.hook = hook
        self.plan = plan
        self.token_budget = token_budget
        self.seed = seed
        self.keys = keys
        self.beside = beside

    def train(
        self,
        round: int,
        learners: Sequence[Learner],
        adapter: Tensors,
        shared: Tensors,
        lr: float,
        base: Tensors | None = None,
    ) -> list[Update]:
        """Train every learner from the same adapter and give their updates, in the order given.

        Args:
            base: what has been added to the base's layers; see `RunState`.
        """
        # Those with most steps first: at any step the active ones are the head of the stack.
        order = sorted(range(len(learners)), key=lambda i: -learners[i].steps)
        team = [learners[i] for i in order]
        plan = self.plan
        batches = [
            plan.draw(self.seed, round, learner.id, len(learner.rows), plan.batch_size, learner.steps)
            for learner in team
        ]
        team = [
            replace(learner, rows=learner.rows.ready(chain.from_iterable(own)))
            for learner, own in zip(team, batches, strict=True)
        ]
        anchor = {name: value.to(self.model.device) for name, value in adapter.items()}
        lesson = _Lesson(round, team, batches, anchor, shared, lr)
        with self.model.lora.changed_base(base or {}):
            updates = self._train_team(lesson)
        return [updates[order.index(i)] for i in range(len(learners))]

    def _train_team(self, lesson: _Lesson) -> list[Update]:
        team, keep = lesson.team, self.plan.keep_optimizer
        # A model trained beside the shared one is no place to start the shared one from.
        starts = [{} if self.beside else personal_model(learner.own) for learner in team]
        stack = AdapterStack([{**lesson.anchor, **start} for start in starts], self.model.device, self.keys.trains)
        memory = self.plan.optimizer.start(stack, [learner.own if keep else {} for learner in team])
        ctx, tallies, others = self._steps(lesson, stack, memory, self.hook, self.keys.leaves)
        beside, more = ([{} for _ in team], []) if self.beside is None else self._train_beside(lesson, self.beside)
        updates = []
        for position, learner in enumerate(team):
            end = stack.one(position)
            leaving = {name: value for name, value in end.items() if self.keys.leaves(name)}
            done = self.hook.finish(ctx, position, leaving, learner.steps, lesson.lr)
            stays = {name: value for name, value in end.items() if self.keys.is_private(name)}
            own = {
                **done.own,
                **kept_personal(stays),
                **beside[position],
                **(self.plan.optimizer.state(memory, position) if keep else {}),
            }
            report = _report(learner, position, tallies[: learner.steps], [*others, *more])
            updates.append(Update(learner.client, float(len(learner.rows)), done.delta, done.extra, own, report))
        return updates

    def _train_beside(self, lesson: _Lesson, hook: ClientHook) -> tuple[list[dict[str, Tensor]], list[_Tally]]:
        """What each client keeps of a model of its own after as many steps on the same examples, and their tallies."""
        team, keep = lesson.team, self.plan.keep_optimizer
        starts = [{**lesson.anchor, **personal_model(learner.own)} for learner in team]
        stack = AdapterStack(starts, self.model.device, self.keys.trains)
        memory = self.plan.optimizer.start(
            stack, [unprefixed(_BESIDE, learner.own) if keep else {} for learner in team]
        )
        _, tallies, others = self._steps(lesson, stack, memory, hook, self.keys.trains)
        moments = [self.plan.optimizer.state(memory, position) if keep else {} for position in range(len(team))]
        kept = [
            {**kept_personal(stack.one(position)), **prefixed(_BESIDE, own)} for position, own in enumerate(moments)
        ]
        return kept, [*tallies, *others]

    def _steps(
        self, lesson: _Lesson, stack: AdapterStack, memory: Memory, hook: ClientHook, seen: Callable[[str], bool]
    ) -> tuple[TrainContext, list[_Tally], list[_Tally]]:
        """Take every learner's steps; the hook sees the tensors whose names `seen` accepts.

        Returns:
            What the hook was given, the tallies of the steps, and those of passes before the first.
        """
        team = lesson.team
        params = {name: value for name, value in stack.trained.items() if seen(name)}
        grads = {name: value for name, value in stack.grads.items() if seen(name)}
        ctx = TrainContext(
            seed=self.seed,
            round=lesson.round,
            clients=[learner.client for learner in team],
            anchor={name: value for name, value in lesson.anchor.items() if seen(name)},
            shared=lesson.shared,
            own=[learner.own for learner in team],
            active=torch.ones(len(team), dtype=torch.bool, device=self.model.device),
            memory={},
            at_anchor={},
        )
        with torch.no_grad():
            hook.start(ctx, params)
        before: list[_Tally] = []
        if hook.wants_gradient_at_anchor:
            at_anchor, before = self._mean_gradient(lesson, stack, grads)
            ctx = replace(ctx, at_anchor=at_anchor)
        tallies: list[_Tally] = []
        for step in range(team[0].steps):
            count = sum(step < learner.steps for learner in team)
            now = replace(ctx, active=torch.arange(len(team), device=self.model.device) < count)
            tallies.append(self._gradients(stack, lesson, step))
            stack.use_gradients(hook.on_gradients(now, params, grads))
            if self.plan.clip_norm is not None:
                stack.clip(self.plan.clip_norm)
            self.plan.optimizer.step(stack, memory, count, lesson.lr)
            hook.after_step(now, params, lesson.lr)
        return ctx, tallies, before

    def _mean_gradient(
        self, lesson: _Lesson, stack: AdapterStack, grads: Tensors
    ) -> tuple[dict[str, Tensor], list[_Tally]]:
        """Each client's gradient where it starts, averaged over its steps' batches, (clients, ...); and the tallies."""
        sums = {name: torch.zeros_like(value) for name, value in grads.items()}
        tallies = []
        for step in range(lesson.team[0].steps):
            tallies.append(self._gradients(stack, lesson, step))
            for name, value in grads.items():
                sums[name] += value
        steps = torch.tensor([learner.steps for learner in lesson.team], device=self.model.device)
        return {name: value / expand(steps, value) for name, value in sums.items()}, tallies

    def _gradients(self, stack: AdapterStack, lesson: _Lesson, step: int) -> _Tally:
        """Accumulate each client's gradient of its own mean loss over its rows of this step."""
        width, groups = len(lesson.team), self.plan.groups
        rows = [
            Row(learner.rows[row], position, rng.integer(self.seed, "dropout", lesson.round, learner.id, step, place))
            for position, learner in enumerate(lesson.team)
            if step < learner.steps
            for place, row in enumerate(lesson.batches[position][step])
        ]
        group = [
            position * groups + place * groups // len(lesson.batches[position][step])
            for position, learner in enumerate(lesson.team)
            if step < learner.steps
            for place in range(len(lesson.batches[position][step]))
        ]
        weight, tokens, flops = torch.zeros(width * groups), torch.zeros(width), torch.zeros(width, dtype=torch.float64)
        lengths = [self.objective.length(row.data) for row in rows]
        for row, length, own in zip(rows, lengths, group, strict=True):
            weight[own] += self.objective.weight(row.data)
            tokens[row.owner] += length
            flops[row.owner] += self.model.flops(*self.objective.sequences(row.data), training=True)
        loss = torch.zeros(width)
        stack.zero_gradients()
        for chosen in plan_micro_batches(lengths, self.token_budget):
            part = [rows[i] for i in chosen]
            result = self.objective.loss(self.model, stack.params, part, training=True, metrics=False)
            share = (1.0 / (groups * weight[[group[i] for i in chosen]])).to(result.total.device)
            (result.total * share).sum().backward()
            owners = torch.tensor([row.owner for row in part])
            loss.index_add_(0, owners, result.total.detach().float().cpu())
        return _Tally(loss, weight.view(width, groups).sum(1), tokens, flops)


def _report(learner: Learner, position: int, tallies: Sequence[_Tally], others: Sequence[_Tally]) -> ClientReport:
    """What is known about a learner's steps; passes that made no step of the shared model count as work alone."""
    losses = [float(tally.loss[position]) for tally in tallies]
    weights = [float(tally.weight[position]) for tally in tallies]
    means = [loss / weight for loss, weight in zip(losses, weights, strict=True)]
    return ClientReport(
        client=learner.client,
        samples=len(learner.rows),
        steps=len(tallies),
        tokens=int(sum(float(tally.tokens[position]) for tally in [*tallies, *others])),
        trained_tokens=int(sum(weights)),
        loss_first=means[0] if means else None,
        loss_last=means[-1] if means else None,
        loss=sum(losses) / sum(weights) if means else None,
        flops=sum(float(tally.flops[position]) for tally in [*tallies, *others]),
        notes=learner.rows.notes,
    )
