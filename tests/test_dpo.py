"""The preference objective equals the formula, the peer's implementation, and itself in every arrangement."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import log_softmax

from fedllm_bench.errors import DataError, ExperimentError
from fedllm_bench.evaluate.heldout import evaluate
from fedllm_bench.examples import ClientData, PreferenceExample
from fedllm_bench.federation.hooks import Plain
from fedllm_bench.federation.messages import Update
from fedllm_bench.federation.optimizer import AdamW
from fedllm_bench.federation.trainer import CohortTrainer, LocalPlan
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.objectives.dpo import DPO, dpo
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.objectives.preference import LOSSES, PairLoss
from fedllm_bench.objectives.protocol import Row
from fedllm_bench.progress import LineProgress
from fedllm_bench.tensors import Tensors
from made_up import People, chat, people
from preference_parts import (
    encoded_with_reference,
    learners_of,
    opinionated,
    pair,
    preference,
    rows_of_pairs,
    whole_part,
)
from small_parts import SPEC, WITH_DROPOUT, deltas_differ, difference, language_model, moved, sft, stacked

PAIRS = [pair(str(number), 1 + number % 2) for number in range(5)]
LOG_2 = math.log(2)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> LanguageModel:
    return language_model(tiny_model)


def by_hand(folder: Path, objective: DPO, adapter: Tensors, rows: list[Row]) -> tuple[Tensor, Tensor]:
    """log pi of both answers of each pair, by the plain model with W + scale * B A, and by W alone, (pairs, 2)."""
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)
    weights = dict(plain.named_parameters())
    for name in {name.rsplit(".lora_", 1)[0] for name in adapter}:
        change = adapter[f"{name}.lora_B.weight"] @ adapter[f"{name}.lora_A.weight"]
        weights[f"{name}.weight"] = weights[f"{name}.weight"] + SPEC.scaling * change

    def log_prob(parameters: Mapping[str, Tensor], row: Row, answer: str) -> Tensor:
        prompt, said = (torch.from_numpy(row.data[part]).long() for part in ("prompt", answer))
        ids = torch.cat([prompt, said])[None]
        logits = torch.func.functional_call(plain, dict(parameters), (), {"input_ids": ids}).logits[0]
        found = log_softmax(logits[len(prompt) - 1 : -1].double(), -1)  # what comes after each place
        return found.gather(1, said[:, None]).sum()

    def both(parameters: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([torch.stack([log_prob(parameters, r, a) for a in ("chosen", "rejected")]) for r in rows])

    return both(weights), both(dict(plain.named_parameters())).detach()


# ------------------------------------------------------------------------------------- the formula


def test_loss_gradient_and_rewards_are_those_of_the_plain_model(tiny_model: Path, model: LanguageModel) -> None:
    objective = preference(model, beta=0.3)
    rows = rows_of_pairs(objective, *PAIRS)
    adapter = {name: value.requires_grad_() for name, value in moved(model).items()}
    policy, reference = by_hand(tiny_model, objective, adapter, rows)
    ratios = policy - reference
    expected = -torch.log(torch.sigmoid(0.3 * (ratios[:, 0] - ratios[:, 1])))
    gradients = dict(zip(adapter, torch.autograd.grad(expected.sum(), list(adapter.values())), strict=True))

    params = {name: value.detach()[None].clone().requires_grad_() for name, value in adapter.items()}
    found = objective.loss(model, params, rows, training=True, metrics=True)
    assert torch.allclose(found.total, expected, rtol=0, atol=1e-5)
    assert found.weight.tolist() == [1.0] * len(PAIRS)
    assert torch.allclose(found.metrics["reward_chosen"], 0.3 * ratios[:, 0], atol=1e-5)
    assert torch.allclose(found.metrics["reward_rejected"], 0.3 * ratios[:, 1], atol=1e-5)
    assert torch.allclose(found.metrics["margin"], 0.3 * (ratios[:, 0] - ratios[:, 1]), atol=1e-5)
    assert found.metrics["correct"].tolist() == (ratios[:, 0] > ratios[:, 1]).double().tolist()
    assert found.metrics["tokens"].tolist() == [len(r.data["chosen"]) + len(r.data["rejected"]) for r in rows]
    found.total.sum().backward()
    assert difference({n: value.grad[0] for n, value in params.items() if value.grad is not None}, gradients) < 1e-5


@pytest.mark.parametrize("loss", ["sigmoid", "hinge"])
def test_an_adapter_that_adds_nothing_leaves_rewards_at_zero(model: LanguageModel, loss: str) -> None:
    at_zero = {"sigmoid": LOG_2, "hinge": 1.0}[loss]
    params = stacked(model.lora.initial(0))
    for beta in (0.01, 0.1, 1.0, 10.0):
        objective = preference(model, beta=beta, loss=loss)
        found = objective.loss(model, params, rows_of_pairs(objective, *PAIRS), training=False, metrics=True)
        assert torch.allclose(found.total, torch.full_like(found.total, at_zero), atol=1e-9)
        assert found.metrics["margin"].abs().max() < 1e-9


margins = st.floats(-30, 30)
betas = st.floats(0.01, 10)


@given(margins, betas)
def test_the_losses_are_their_papers_formulas(margin: float, beta: float) -> None:
    expected = {
        "sigmoid": math.log1p(math.exp(-margin)),
        "hinge": max(0.0, 1 - margin),
        "ipo": (margin / beta - 1 / (2 * beta)) ** 2,
        "simpo": math.log1p(math.exp(0.4 - margin)),
    }
    assert expected.keys() == LOSSES.keys()
    for name, value in expected.items():
        found = PairLoss(name, beta, gamma=0.4).of(torch.tensor([margin], dtype=torch.float64))
        assert found.item() == pytest.approx(value, rel=1e-9, abs=1e-12)


@given(margins, betas, st.sampled_from(list(LOSSES)), st.floats(0, 0.49))
def test_smoothing_is_the_mean_over_labels_that_may_be_wrong(margin: float, beta: float, loss: str, s: float) -> None:
    at = torch.tensor([margin], dtype=torch.float64)
    plain, smoothed = PairLoss(loss, beta), PairLoss(loss, beta, label_smoothing=s)
    expected = (1 - s) * plain.of(at) + s * plain.of(-at)
    assert torch.allclose(smoothed.of(at), expected)


def test_a_loss_without_a_reference_normalises_by_length_and_asks_the_base_nothing(model: LanguageModel) -> None:
    objective = preference(model, loss="simpo", beta=2.0, gamma=0.5)
    assert objective.annotation(model) is None
    rows = rows_of_pairs(objective, *PAIRS)
    params = stacked(moved(model))
    log_probs = objective.log_probs(model, params, rows, training=False)
    lengths = torch.tensor([[len(row.data["chosen"]), len(row.data["rejected"])] for row in rows])
    rewards = 2.0 * log_probs / lengths
    found = objective.loss(model, params, rows, training=False, metrics=True)
    assert torch.allclose(found.metrics["reward_chosen"], rewards[:, 0])
    assert torch.allclose(found.total, -torch.log(torch.sigmoid(rewards[:, 0] - rewards[:, 1] - 0.5)))


# ------------------------------------------------------------------------------------ arrangements


def test_packed_padded_and_one_by_one_agree(tiny_model: Path) -> None:
    adapter = moved(language_model(tiny_model))
    found = []
    for packing in ("packed", "padded"):
        model = language_model(tiny_model, packing=packing)
        assert model.packed == (packing == "packed")
        objective = preference(model)
        rows = rows_of_pairs(objective, *PAIRS)
        found.append(objective.loss(model, stacked(adapter), rows, training=False, metrics=False).total)
        each = [objective.loss(model, stacked(adapter), [r], training=False, metrics=False).total for r in rows]
        found.append(torch.cat(each))
    for other in found[1:]:
        assert torch.allclose(other, found[0], rtol=0, atol=1e-6)


def test_dropout_differs_between_the_answers_and_comes_back(tiny_model: Path) -> None:
    model = language_model(tiny_model, WITH_DROPOUT)
    objective = preference(model)
    same = PreferenceExample("same", PAIRS[0].prompt, "the same answer", "the same answer")
    (row,) = rows_of_pairs(objective, same)
    params = stacked(moved(model))
    first, second = objective.log_probs(model, params, [row], training=True)[0].tolist()
    assert abs(first - second) > 1e-4
    among_others = objective.log_probs(model, params, [*rows_of_pairs(objective, *PAIRS[:2]), row], training=True)
    assert among_others[2].tolist() == pytest.approx([first, second], abs=1e-4)
    first, second = objective.log_probs(model, params, [row], training=False)[0].tolist()
    assert first == pytest.approx(second, abs=1e-5)


def trained(
    folder: Path, cache: Path, width: int, *, steps: int = 3, cached: bool = True, token_budget: int = 400
) -> list[Update]:
    model = language_model(folder, WITH_DROPOUT)
    objective = preference(model, cache_reference=cached)
    encoded = encoded_with_reference(model, objective, opinionated(4, 2, 3), cache)
    plan = LocalPlan(2, 1.0, AdamW())
    trainer = CohortTrainer(model, objective, Plain(), plan, token_budget, seed=7)
    learners = learners_of(encoded, steps)
    start = moved(model)
    return [
        update
        for at in range(0, len(learners), width)
        for update in trainer.train(1, learners[at : at + width], start, {}, 1e-3)
    ]


def test_a_cohort_trains_as_its_clients_do_one_by_one(tiny_model: Path, tmp_path: Path) -> None:
    together, alone = trained(tiny_model, tmp_path, 3), trained(tiny_model, tmp_path, 1)
    assert deltas_differ(together, alone) < 1e-4
    for a, b in zip(together, alone, strict=True):
        assert a.report.trained_tokens == b.report.trained_tokens == 6  # pairs
        assert a.report.loss == pytest.approx(b.report.loss, abs=1e-5)


def test_micro_batches_of_any_size_give_the_same(tiny_model: Path, tmp_path: Path) -> None:
    whole = trained(tiny_model, tmp_path, 3, token_budget=10_000)
    assert deltas_differ(trained(tiny_model, tmp_path, 3, token_budget=1), whole) < 1e-4


def test_training_makes_the_preferred_answers_win(tiny_model: Path, tmp_path: Path) -> None:
    updates = trained(tiny_model, tmp_path, 3, steps=30)
    assert all(update.report.loss_last < 0.7 * update.report.loss_first for update in updates)  # type: ignore[operator]


# --------------------------------------------------------------------------------------- reference


def references(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.reference-*.safetensors"))


def test_the_base_is_asked_once_for_each_sample(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    objective = preference(model)
    crowd = opinionated(4, 3)
    first = [whole_part(encoded_with_reference(model, objective, crowd, tmp_path), c) for c in range(2)]
    made = {path: path.stat().st_mtime_ns for path in references(tmp_path)}
    assert len(made) == 2
    passes = count_passes(model)
    second = [whole_part(encoded_with_reference(model, objective, crowd, tmp_path), c) for c in range(2)]
    assert passes == []
    assert {path: path.stat().st_mtime_ns for path in references(tmp_path)} == made
    for a, b in zip(first, second, strict=True):
        for row in range(len(a)):
            assert a[row]["reference"].tolist() == b[row]["reference"].tolist()


def test_only_pairs_that_are_used_are_scored_and_in_whatever_company_the_numbers_are_the_same(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = language_model(tiny_model)
    objective, crowd = preference(model), opinionated(6)
    together = whole_part(encoded_with_reference(model, objective, crowd, tmp_path / "together"), 0)
    passes = count_passes(model)
    encoded = encoded_with_reference(model, objective, crowd, tmp_path / "apart")
    part = encoded.part(0, "train")
    few = part.ready([4, 1, 4])
    assert len(passes) == 2
    assert "reference" not in few[0]
    later = part.ready([0, 1, 4])
    assert len(passes) == 3
    for row in (0, 1, 4):
        assert later[row]["reference"].tolist() == together[row]["reference"].tolist()


def count_passes(model: LanguageModel) -> list[int]:
    """A list that grows by one with each pass through the model."""
    passes: list[int] = []
    model.model.register_forward_hook(lambda *_: passes.append(1))
    return passes


def test_the_cached_reference_is_what_the_base_says_and_spares_its_pass(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    cached, anew = preference(model), preference(model, cache_reference=False)
    assert anew.annotation(model) is None
    part = whole_part(encoded_with_reference(model, cached, opinionated(5), tmp_path), 0)
    rows = [Row(part[row], owner=0) for row in range(len(part))]
    bare = [Row({n: v for n, v in row.data.items() if n != "reference"}, owner=0) for row in rows]
    params = stacked(moved(model))
    passes = count_passes(model)
    found = cached.loss(model, params, rows, training=False, metrics=False).total
    assert len(passes) == 1
    expected = anew.loss(model, params, bare, training=False, metrics=False).total
    assert len(passes) == 3
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)


def test_training_with_the_cache_equals_training_without(tiny_model: Path, tmp_path: Path) -> None:
    assert deltas_differ(trained(tiny_model, tmp_path, 3), trained(tiny_model, tmp_path, 3, cached=False)) < 1e-5


@pytest.mark.parametrize("left", [0, 6, 100])
def test_a_damaged_reference_file_is_computed_again(tiny_model: Path, tmp_path: Path, left: int) -> None:
    model = language_model(tiny_model)
    encoded = encoded_with_reference(model, preference(model), opinionated(3), tmp_path)
    before = whole_part(encoded, 0, "test")[1]["reference"].tolist()
    (path,) = references(tmp_path)
    path.write_bytes(path.read_bytes()[:left])
    assert whole_part(encoded, 0, "test")[1]["reference"].tolist() == before


def test_packed_and_padded_references_agree_and_have_files_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    found = []
    for packing in ("packed", "padded"):
        model = language_model(tiny_model, packing=packing)
        part = whole_part(encoded_with_reference(model, preference(model), opinionated(4), tmp_path), 0)
        found.append(torch.tensor([part[row]["reference"].tolist() for row in range(len(part))]))
    assert torch.allclose(*found, rtol=0, atol=1e-4)
    assert len(references(tmp_path)) == 2


def test_another_beta_or_loss_shares_the_reference_and_a_client_without_pairs_has_none(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = language_model(tiny_model)
    for objective in (preference(model), preference(model, beta=1.0), preference(model, loss="ipo")):
        whole_part(encoded_with_reference(model, objective, opinionated(2), tmp_path), 0)
    assert len(references(tmp_path)) == 1
    crowd = People((ClientData("empty", [PreferenceExample("x", PAIRS[0].prompt, " ", "no")], []),))
    part = whole_part(encoded_with_reference(model, preference(model), crowd, tmp_path), 0)
    assert (len(part), dict(part.notes)) == (0, {"empty response": 1})


def test_asking_the_base_shows_its_progress(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    objective = preference(model)
    log = tmp_path / "log.txt"
    with log.open("w") as stream:
        annotation = objective.annotation(model)
        encoded = EncodedClients(opinionated(4), objective, tmp_path, annotation, LineProgress(stream, every=0.0))
        whole_part(encoded, 0)
    assert "base model on 0.train: 4/4 samples" in log.read_text()


# ---------------------------------------------------------------------------------------- held out


def test_held_out_scores_are_means_over_pairs(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    objective = preference(model)
    crowd = opinionated(1, 1, held_out=4)
    adapter = moved(model)
    encoded = encoded_with_reference(model, objective, crowd, tmp_path)
    scores = evaluate(model, objective, encoded, [0, 1], adapter, token_budget=300)
    for client, score in zip(crowd.members, scores, strict=True):
        rows = rows_of_pairs(objective, *client.test)  # type: ignore[arg-type]
        found = objective.loss(model, stacked(adapter), rows, training=False, metrics=True)
        assert score.samples == 4
        assert score.tokens == found.metrics["tokens"].sum()
        assert score.loss == pytest.approx(float(found.total.mean()), abs=1e-6)
        assert score.accuracy == pytest.approx(float(found.metrics["correct"].mean()))
        assert score.metrics.keys() == {"reward_chosen", "reward_rejected", "margin"}
        for name, value in score.metrics.items():
            assert value == pytest.approx(float(found.metrics[name].mean()), abs=1e-5)


def test_the_base_itself_has_a_loss_of_log_2(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    objective = preference(model)
    encoded = encoded_with_reference(model, objective, opinionated(1, held_out=5), tmp_path)
    whole_part(encoded, 0, "test")
    passes = count_passes(model)
    (score,) = evaluate(model, objective, encoded, [0], None, token_budget=300)
    assert score.loss == pytest.approx(LOG_2, abs=1e-12)
    assert (score.accuracy, score.metrics["margin"]) == (0.5, 0.0)
    assert passes == [], "it is its own reference"


# ----------------------------------------------------------------------------------------- refusals


def test_each_objective_refuses_the_other_kind_of_data(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    with pytest.raises(DataError, match="dpo learns from preference pairs, but example '0/train/0' is a conversation"):
        EncodedClients(people(1), preference(model), tmp_path).part(0, "train")
    what = "sft learns from conversations, but example '0/train/0' is a preference pair"
    with pytest.raises(DataError, match=what) as refused:
        EncodedClients(opinionated(1), sft(model), tmp_path).part(0, "train")
    assert 'objective.name = "dpo"' in (refused.value.hint or "")
    with pytest.raises(DataError):
        preference(model).encode(chat("x"))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"loss": "sigmoi"}, "unknown loss 'sigmoi'"),
        ({"beta": 0.0}, "beta is 0"),
        ({"label_smoothing": 0.5}, "label_smoothing is 0.5"),
        ({"max_prompt_length": 0}, "max_prompt_length is 0"),
    ],
)
def test_settings_without_meaning_are_refused(options: dict[str, object], what: str) -> None:
    with pytest.raises(ExperimentError, match=what):
        dpo(**options)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ the peer


@pytest.mark.slow  # the peer takes ten seconds to import
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("loss", ["sigmoid", "hinge"])
def test_loss_gradient_and_reference_are_those_of_trl(
    tiny_model: Path, tmp_path: Path, model: LanguageModel, loss: str
) -> None:
    datasets, peft, transformers, trl = (pytest.importorskip(n) for n in ("datasets", "peft", "transformers", "trl"))
    adapter = moved(model)
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_model)
    # An adapter of the peer's own making: of one that it is given it takes a copy as the reference.
    spec = peft.LoraConfig(
        r=SPEC.rank, lora_alpha=SPEC.alpha, lora_dropout=0.0, target_modules=list(SPEC.targets), task_type="CAUSAL_LM"
    )
    single = [pair(str(number)) for number in range(5)]
    table = datasets.Dataset.from_list(
        [{"prompt": e.prompt[0].content, "chosen": e.chosen, "rejected": e.rejected} for e in single]
    )
    settings = trl.DPOConfig(
        output_dir=str(tmp_path / "out"),
        beta=0.3,
        loss_type=[loss],
        per_device_eval_batch_size=len(single),
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    peer = trl.DPOTrainer(
        base, args=settings, train_dataset=table, eval_dataset=table, processing_class=tokenizer, peft_config=spec
    )
    given = {f"base_model.model.{name}": value for name, value in adapter.items()}
    assert not peft.set_peft_model_state_dict(peer.model, given).unexpected_keys
    batch = next(iter(peer.get_eval_dataloader()))

    objective = preference(model, beta=0.3, loss=loss)
    rows = rows_of_pairs(objective, *single)
    params = {name: value[None].clone().requires_grad_() for name, value in adapter.items()}
    found = objective.loss(model, params, rows, training=True, metrics=True)

    reference = torch.stack(peer.compute_ref_log_probs(peer.model, batch), 1)
    assert torch.allclose(objective.log_probs(model, None, rows, training=False).float(), reference, rtol=1e-6)
    assert found.metrics["margin"].abs().min() > 1e-3
    theirs = peer.compute_loss(peer.model, batch)
    assert float(found.total.mean()) == pytest.approx(float(theirs), abs=1e-5)
    theirs.backward()
    found.total.mean().backward()
    gradients = {
        name.removeprefix("base_model.model.").replace(".default", ""): value.grad
        for name, value in peer.model.named_parameters()
        if value.grad is not None
    }
    assert gradients.keys() == params.keys()
    assert (
        difference({name: value.grad[0] for name, value in params.items() if value.grad is not None}, gradients) < 1e-4
    )
