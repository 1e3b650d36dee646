"""Held-out scores are those of the model itself, one sample at a time."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedllm_bench.clients import evaluated_clients, trained_clients
from fedllm_bench.evaluate.heldout import ClientScore, evaluate
from fedllm_bench.examples import ClientData
from fedllm_bench.experiment import Experiment
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.tensors import Tensors
from made_up import People, people
from small_parts import SPEC, language_model, moved, sft

CROWD = people(3, 3, 3, held_out=5)


def scores(
    folder: Path, cache: Path, adapter: Tensors | None, crowd: People = CROWD, budget: int = 200, **options: int
) -> list[ClientScore]:
    model = language_model(folder)
    objective = sft(model, max_length=options.get("max_length", 150), truncation="skip")
    encoded = EncodedClients(crowd, objective, cache)
    return evaluate(
        model, objective, encoded, range(len(crowd)), adapter, token_budget=budget, samples=options.get("samples")
    )


def directly(folder: Path, adapter: Tensors | None, crowd: People = CROWD) -> list[tuple[int, int, float, float]]:
    """Samples, tokens, loss and accuracy of each client by the plain model, the adapter merged into its weights."""
    from transformers import AutoModelForCausalLM

    codec = sft(language_model(folder), max_length=150).codec
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    for name in {name.rsplit(".lora_", 1)[0] for name in adapter or {}}:
        assert adapter is not None
        merged: Tensor = adapter[f"{name}.lora_B.weight"] @ adapter[f"{name}.lora_A.weight"]
        plain.get_submodule(name).weight.data += SPEC.scaling * merged
    found = []
    for client in crowd.members:
        samples, count, total, correct = 0, 0, 0.0, 0
        for example in client.test:
            tokens = codec.tokens(example.turns, example.trained)
            if len(tokens.ids) > 150:
                continue
            ids = torch.tensor(tokens.ids, dtype=torch.long)[None]
            labels = ids.masked_fill(~torch.tensor(tokens.trained)[None], -100)
            with torch.no_grad():
                output = plain(input_ids=ids, labels=labels)
            scored = labels[0, 1:] != -100
            samples += 1
            count += int(scored.sum())
            total += float(output.loss) * int(scored.sum())
            correct += int((output.logits[0, :-1].argmax(-1) == labels[0, 1:])[scored].sum())
        found.append((samples, count, total / count, correct / count))
    return found


@pytest.mark.parametrize("adapted", [False, True], ids=["base", "adapter"])
def test_scores_are_those_of_the_plain_model(tiny_model: Path, tmp_path: Path, adapted: bool) -> None:
    adapter = moved(language_model(tiny_model)) if adapted else None
    for score, (samples, tokens, loss, accuracy) in zip(
        scores(tiny_model, tmp_path, adapter), directly(tiny_model, adapter), strict=True
    ):
        assert (score.samples, score.tokens) == (samples, tokens)
        assert score.loss == pytest.approx(loss, rel=1e-5)
        assert score.accuracy == pytest.approx(accuracy)


def test_scores_do_not_depend_on_how_samples_are_batched(tiny_model: Path, tmp_path: Path) -> None:
    adapter = moved(language_model(tiny_model))
    for a, b in zip(
        scores(tiny_model, tmp_path, adapter, budget=10_000),
        scores(tiny_model, tmp_path, adapter, budget=1),
        strict=True,
    ):
        assert (a.client, a.samples, a.tokens, a.accuracy) == (b.client, b.samples, b.tokens, b.accuracy)
        assert a.loss == pytest.approx(b.loss, rel=1e-5)


def test_a_cap_takes_the_first_samples(tiny_model: Path, tmp_path: Path) -> None:
    fewer = People(tuple(ClientData(c.id, c.train, c.test[:2]) for c in people(3, held_out=5).members))
    all_of_fewer = scores(tiny_model, tmp_path / "fewer", None, fewer, max_length=500)
    capped = scores(tiny_model, tmp_path / "all", None, people(3, held_out=5), max_length=500, samples=2)
    assert [(s.samples, s.tokens) for s in capped] == [(s.samples, s.tokens) for s in all_of_fewer]
    assert capped[0].loss == pytest.approx(all_of_fewer[0].loss)


def test_samples_that_do_not_fit_are_counted_and_a_client_without_any_has_no_loss(
    tiny_model: Path, tmp_path: Path
) -> None:
    long = people(1, 1, held_out=8).members
    crowd = People((long[0], ClientData("none", long[1].train, [])))
    some, none = scores(tiny_model, tmp_path, None, crowd)
    too_long = some.notes.get("longer than max_length", 0)
    assert some.samples + too_long == 8
    assert too_long > 0
    assert (none.samples, none.tokens, math.isnan(none.loss), math.isnan(none.accuracy)) == (0, 0, True, True)


@given(st.integers(2, 30), st.integers(1, 40), st.integers(0, 99))
def test_the_evaluated_clients_are_drawn_by_seed_and_hold_those_that_train_locally(
    clients: int, wanted: int, seed: int
) -> None:
    crowd = people(*[1] * clients, held_out=0)

    def experiment(**tables: object) -> Experiment:
        return Experiment.model_validate(
            {"name": "x", "seed": seed, "federation": {"rounds": 1, "cohort": 1}, **tables}
        )

    chosen = evaluated_clients(experiment(evaluate={"clients": wanted}), crowd)
    assert chosen == evaluated_clients(experiment(evaluate={"clients": wanted}, local={"lr": 1.0}), crowd)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(clients, wanted)
    assert evaluated_clients(experiment(), crowd) == list(range(clients))
    local = experiment(data={"drawn": {"index": 0, "of": min(2, clients, wanted)}})
    assert set(trained_clients(local, crowd)) <= set(chosen)
