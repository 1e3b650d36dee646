"""Training a cohort together gives what training its clients one by one gives."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedllm_bench.federation.algorithms import ALGORITHMS
from fedllm_bench.federation.batches import shuffled_batches
from fedllm_bench.federation.hooks import Plain, TrainContext
from fedllm_bench.federation.messages import Update
from fedllm_bench.federation.optimizer import AdamW
from fedllm_bench.federation.stack import AdapterStack
from fedllm_bench.federation.trainer import CohortTrainer, Learner, LocalPlan
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.tensors import Tensors, norm
from made_up import People, people
from small_parts import (
    SPEC,
    WITH_DROPOUT,
    deltas_differ,
    difference,
    language_model,
    learners,
    moved,
    sft,
    trainer,
)

LR = 1e-3
UNEQUAL = people(1, 9, 4, 6)
STEPS = (2, 5, 5, 3)


def train(one: CohortTrainer, team: list[Learner], adapter: Tensors) -> list[Update]:
    return one.train(1, team, adapter, {}, LR)


def separately(one: CohortTrainer, team: list[Learner], adapter: Tensors) -> list[Update]:
    return [update for learner in team for update in train(one, [learner], adapter)]


# ------------------------------------------------------------------------- together and one by one


@pytest.mark.parametrize("spec", [SPEC, WITH_DROPOUT], ids=["plain", "dropout"])
@pytest.mark.parametrize("packing", ["packed", "padded"])
def test_a_cohort_trained_together_equals_its_clients_trained_one_by_one(
    tiny_model: Path, tmp_path: Path, packing: str, spec: LoraSpec
) -> None:
    model = language_model(tiny_model, spec, packing=packing)
    objective = sft(model)
    team = learners(UNEQUAL, objective, tmp_path, STEPS)
    together = train(trainer(model, objective), team, moved(model))
    alone = separately(trainer(model, objective, token_budget=90), team, moved(model))
    assert deltas_differ(together, alone) < 1e-4
    for a, b in zip(together, alone, strict=True):
        assert (a.weight, a.report.steps, a.report.tokens) == (b.weight, b.report.steps, b.report.tokens)
        assert a.report.loss == pytest.approx(b.report.loss, rel=1e-5)
    assert [update.report.steps for update in together] == list(STEPS)


def test_packed_and_padded_rows_train_the_same(tiny_model: Path, tmp_path: Path) -> None:
    results = []
    for packing in ("packed", "padded"):
        model = language_model(tiny_model, WITH_DROPOUT, packing=packing)
        objective = sft(model)
        results.append(train(trainer(model, objective), learners(UNEQUAL, objective, tmp_path, STEPS), moved(model)))
    assert deltas_differ(*results) < 1e-4


@pytest.mark.parametrize("spec", [SPEC, WITH_DROPOUT], ids=["plain", "dropout"])
def test_gradient_checkpointing_changes_nothing(tiny_model: Path, tmp_path: Path, spec: LoraSpec) -> None:
    results = []
    for checkpointing in (False, True):
        model = language_model(tiny_model, spec, gradient_checkpointing=checkpointing)
        objective = sft(model)
        results.append(train(trainer(model, objective), learners(UNEQUAL, objective, tmp_path, STEPS), moved(model)))
    assert deltas_differ(*results) < 1e-5


def test_training_twice_gives_the_same_bytes(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model, WITH_DROPOUT)
    objective = sft(model)
    first, second = (
        train(trainer(model, objective), learners(UNEQUAL, objective, tmp_path, STEPS), moved(model)) for _ in range(2)
    )
    assert deltas_differ(first, second) == 0


def test_updates_come_in_the_order_of_the_learners(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    objective = sft(model)
    team = learners(UNEQUAL, objective, tmp_path, STEPS)
    updates = train(trainer(model, objective), team[::-1], moved(model))
    assert [update.client for update in updates] == [3, 2, 1, 0]
    assert [update.weight for update in updates] == [6, 4, 9, 1]


def test_the_base_stays_as_it_was(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    objective = sft(model)
    train(trainer(model, objective), learners(UNEQUAL, objective, tmp_path, STEPS), moved(model))
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())


# --------------------------------------------------------------------------------------------- loss


def everything(tiny_model: Path, tmp_path: Path) -> tuple[LanguageModel, list[Update], People]:
    """One step over all of a person's conversations, from an adapter that is still the base."""
    model = language_model(tiny_model)
    objective = sft(model)
    crowd = people(4, 4)
    team = learners(crowd, objective, tmp_path, (1, 1))
    return model, train(trainer(model, objective, batch_size=4), team, model.lora.initial(0)), crowd


def test_a_clients_loss_is_the_mean_over_its_own_trained_tokens(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, updates, crowd = everything(tiny_model, tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    codec = sft(model).codec
    for update, client in zip(updates, crowd.members, strict=True):
        total, count = 0.0, 0
        for example in client.train:
            tokens = codec.tokens(example.turns, example.trained)
            ids = torch.tensor(tokens.ids, dtype=torch.long)[None]
            labels = ids.masked_fill(~torch.tensor(tokens.trained)[None], -100)
            scored = int(tokens.trained.sum())
            total += float(base(input_ids=ids, labels=labels).loss.detach()) * scored
            count += scored
        assert update.report.trained_tokens == count
        assert update.report.loss_first == pytest.approx(total / count, rel=1e-5)
        assert update.report.loss == update.report.loss_last == update.report.loss_first


# ---------------------------------------------------------------------------------------- optimizer


def stack_of(shape: tuple[int, int], clients: int) -> AdapterStack:
    start = {"w": torch.linspace(-1, 1, shape[0] * shape[1]).view(shape)}
    return AdapterStack([start] * clients, torch.device("cpu"), lambda name: True)


@settings(deadline=None, max_examples=30)
@given(
    lr=st.floats(1e-5, 1e-1),
    b1=st.sampled_from([0.0, 0.5, 0.9]),
    b2=st.sampled_from([0.9, 0.999]),
    decay=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 1000),
)
def test_adamw_steps_every_client_as_torch_does(lr: float, b1: float, b2: float, decay: float, seed: int) -> None:
    steps = (5, 3, 1)
    stack = stack_of((3, 4), len(steps))
    ours = AdamW((b1, b2), weight_decay=decay)
    memory = ours.start(stack, [{}] * len(steps))
    theirs = [stack.params["w"][client].detach().clone().requires_grad_() for client in range(len(steps))]
    torchs = [torch.optim.AdamW([weight], lr, (b1, b2), 1e-8, decay) for weight in theirs]
    draw = torch.Generator().manual_seed(seed)
    for step in range(max(steps)):
        grads = torch.randn(len(steps), 3, 4, generator=draw)
        stack.grads["w"].copy_(grads)
        count = sum(step < wanted for wanted in steps)
        ours.step(stack, memory, count, lr)
        for client in range(count):
            theirs[client].grad = grads[client]
            torchs[client].step()
    for client, weight in enumerate(theirs):
        torch.testing.assert_close(stack.params["w"][client].detach(), weight.detach(), rtol=1e-5, atol=1e-7)


@given(st.floats(1e-3, 10), st.integers(0, 1000))
def test_each_clients_gradient_is_clipped_as_torch_clips_it(largest: float, seed: int) -> None:
    start = {"a": torch.zeros(3, 4), "b": torch.zeros(5)}
    stack = AdapterStack([start] * 3, torch.device("cpu"), lambda name: True)
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([0.01, 1.0, 100.0])
    stack.grads["a"].copy_(torch.randn(3, 3, 4, generator=draw) * sizes[:, None, None])
    stack.grads["b"].copy_(torch.randn(3, 5, generator=draw) * sizes[:, None])
    expected = []
    for client in range(3):
        leaves = [torch.zeros(3, 4, requires_grad=True), torch.zeros(5, requires_grad=True)]
        for leaf, grad in zip(leaves, stack.grads.values(), strict=True):
            leaf.grad = grad[client].clone()
        torch.nn.utils.clip_grad_norm_(leaves, largest)
        expected.append([leaf.grad for leaf in leaves])
    stack.clip(largest)
    for client in range(3):
        for want, grad in zip(expected[client], stack.grads.values(), strict=True):
            assert want is not None
            torch.testing.assert_close(grad[client], want, rtol=1e-5, atol=1e-8)


def two_rounds(model: LanguageModel, tmp_path: Path, *, keep: bool, steps: tuple[int, int]) -> dict[str, Tensor]:
    """A client's adapter after two rounds; its batches hold all it has, so that their order does not matter."""
    objective = sft(model)
    crowd = people(3)
    one = trainer(model, objective, keep_optimizer=keep)
    adapter, own = moved(model), {}
    for count in steps:
        (update,) = one.train(1, learners(crowd, objective, tmp_path, [count], [own]), adapter, {}, LR)
        adapter, own = {name: adapter[name] + value for name, value in update.delta.items()}, dict(update.own)
    return adapter


def test_a_kept_optimizer_goes_on_where_it_stopped(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    at_once = two_rounds(model, tmp_path, keep=True, steps=(5, 1))
    halved = two_rounds(model, tmp_path, keep=True, steps=(3, 3))
    fresh = two_rounds(model, tmp_path, keep=False, steps=(3, 3))
    assert difference(halved, at_once) < 1e-5
    assert difference(fresh, at_once) > 1e-4


def test_an_optimizer_that_is_not_kept_leaves_nothing_with_the_client(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    objective = sft(model)
    (update,) = train(trainer(model, objective), learners(people(3), objective, tmp_path, [2]), moved(model))
    assert update.own == {}


# --------------------------------------------------------------------------------------------- hooks


@dataclass
class Watching(Plain):
    """Sets the gradients of some clients to zero, and remembers who was active."""

    still: tuple[int, ...]
    active: list[list[int]] = field(default_factory=list)

    def on_gradients(self, ctx: TrainContext, params: Tensors, grads: Tensors) -> Tensors:
        self.active.append([client for client, on in zip(ctx.clients, ctx.active.tolist(), strict=True) if on])
        moves = torch.tensor([client not in self.still for client in ctx.clients])
        return {name: grad * moves.view(-1, *[1] * (grad.dim() - 1)) for name, grad in grads.items()}


def test_a_method_may_replace_the_gradients_of_each_client(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    objective = sft(model)
    hook = Watching(still=(1,))
    team = learners(UNEQUAL, objective, tmp_path, STEPS)
    updates = train(trainer(model, objective, hook=hook), team, moved(model))
    assert [norm(update.delta) > 0 for update in updates] == [True, False, True, True]
    assert [sorted(step) for step in hook.active] == [[0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3], [1, 2], [1, 2]]


@pytest.mark.parametrize("method", ["ditto", "scaffold"])
def test_every_pass_through_the_model_is_in_the_report(tiny_model: Path, tmp_path: Path, method: str) -> None:
    """Ditto's own model and the gradient at the anchor of SCAFFOLD's option I take as many passes again."""
    model = language_model(tiny_model)
    objective = sft(model)
    team = learners(UNEQUAL, objective, tmp_path, STEPS)
    twice = ALGORITHMS[method](**({"option": "I"} if method == "scaffold" else {}))
    reports = []
    for algorithm in (ALGORITHMS["fedavg"](), twice):
        plan = LocalPlan(batch_size=3, clip_norm=1.0, optimizer=AdamW())
        one = CohortTrainer(model, objective, algorithm.client, plan, 300, seed=7, beside=algorithm.beside)
        updates = one.train(1, team, moved(model), algorithm.share_init(moved(model)), LR)
        reports.append([update.report for update in updates])
    for plain, both in zip(*reports, strict=True):
        assert both.flops == pytest.approx(2 * plain.flops)
        assert both.tokens == 2 * plain.tokens
        assert (both.steps, both.trained_tokens, both.loss) == (plain.steps, plain.trained_tokens, plain.loss)


# ------------------------------------------------------------------------------------------- batches


@given(st.integers(1, 40), st.integers(1, 10), st.integers(1, 12), st.integers(0, 100))
def test_batches_are_full_and_go_through_all_examples_before_any_comes_again(
    examples: int, batch_size: int, steps: int, seed: int
) -> None:
    batches = shuffled_batches(seed, 1, "someone", examples, batch_size, steps)
    assert [len(batch) for batch in batches] == [batch_size] * steps
    order = [row for batch in batches for row in batch]
    for start in range(0, len(order), examples):
        part = order[start : start + examples]
        assert len(set(part)) == len(part)
        assert set(part) <= set(range(examples))


def test_other_rounds_draw_other_batches(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    objective = sft(model)
    team = learners(people(12), objective, tmp_path, [1])
    one = trainer(model, objective)
    losses = [one.train(round, team, moved(model), {}, LR)[0].report.loss for round in (1, 2, 1)]
    assert losses[0] == losses[2] != losses[1]


def test_examples_that_cannot_be_used_are_counted_in_the_report(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    objective = sft(model, max_length=90, truncation="skip")
    crowd = people(9)
    encoded = EncodedClients(crowd, objective, tmp_path).part(0, "train")
    too_long = sum(
        len(objective.codec.tokens(example.turns, example.trained).ids) > 90 for example in crowd.members[0].train
    )
    assert 0 < too_long < 9
    (update,) = train(trainer(model, objective), learners(crowd, objective, tmp_path, [1]), moved(model))
    assert update.report.notes == encoded.notes == {"longer than max_length": too_long}
    assert update.weight == update.report.samples == 9 - too_long
