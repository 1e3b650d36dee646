"""MMLU: the harness's numbers by our pass are those of the harness's own model class, and the data are whole."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedllm_bench.errors import AssetError
from fedllm_bench.evaluate.mmlu import mmlu_data, run_tasks
from fedllm_bench.model.base import LanguageModel, load_model
from fedllm_bench.model.harness import HarnessModel
from fedllm_bench.model.lora import LoraSpec

SPEC = LoraSpec(2, 4.0, 0.0, ("q_proj", "v_proj"))
DEV = {
    "anatomy": [
        {"id": at, "question": f"What is {at}?", "choices": ["one", "two", "three", str(at)], "answer": at % 4}
        for at in range(5)
    ]
}
TEST = {
    "anatomy": [
        {"id": at, "question": f"Which is {'long ' * at} {at}?", "choices": list("wxyz"), "answer": at % 4}
        for at in range(6)
    ]
}
PAIRS = [
    ("The capital of France is", " Paris"),
    ("The capital of France is", " A"),
    ("The capital of France is", " B"),
    ("Answer: ", "a longer continuation of several tokens"),
    ("", "nothing before"),
    ("one two three " * 300, " four"),
]


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> LanguageModel:
    return load_model(str(tiny_model), SPEC, dtype="float32", device="cpu")


def theirs(folder: Path) -> object:
    """The harness's own class for Hugging Face models."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=1, device="cpu")


def log_likelihoods(model: object, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
    from lm_eval.api.instance import Instance

    asked = [Instance("loglikelihood", {}, pair, at) for at, pair in enumerate(pairs)]
    return model.loglikelihood(asked, disable_tqdm=True)  # type: ignore[attr-defined, no-any-return]


def agree(ours: list[tuple[float, bool]], others: list[tuple[float, bool]]) -> None:
    for (mine, best), (other, also) in zip(ours, others, strict=True):
        assert mine == pytest.approx(other, abs=2e-3) and best == also


@pytest.mark.filterwarnings("ignore")
def test_log_likelihoods_are_those_of_the_harness(tiny: LanguageModel, tiny_model: Path) -> None:
    agree(log_likelihoods(HarnessModel(tiny, None), PAIRS), log_likelihoods(theirs(tiny_model), PAIRS))


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_in_a_stack_changes_them_as_it_does_alone(tiny: LanguageModel) -> None:
    draw = torch.Generator().manual_seed(0)
    stack = {name: torch.randn(2, *shape, generator=draw) * 0.3 for name, shape in tiny.lora.shapes.items()}
    alone = {name: value[1:] for name, value in stack.items()}
    found = log_likelihoods(HarnessModel(tiny, stack, 1), PAIRS)
    agree(found, log_likelihoods(HarnessModel(tiny, alone, 0), PAIRS))
    assert found != log_likelihoods(HarnessModel(tiny, None), PAIRS)


@pytest.mark.filterwarnings("ignore")
def test_every_question_has_an_item_with_its_subject(tiny: LanguageModel) -> None:
    found = run_tasks(tiny, None, 0, TEST, DEV)
    items, grouped = ([item for item in found if item.metric == metric] for metric in ("mmlu", "mmlu-stem"))
    assert [item.item for item in items] == [f"anatomy/{at}" for at in range(6)]
    assert [replace(item, metric="mmlu") for item in grouped] == items and len(found) == 12
    assert {item.category for item in items} == {"anatomy"} and all(item.score in (0.0, 1.0) for item in items)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_accuracy_of_the_real_model_is_that_of_the_harness_by_itself() -> None:
    from fedllm_bench.model.source import resolve

    try:
        test, dev = mmlu_data()
    except AssetError as error:
        pytest.skip(str(error))
    assert len(test) == 57 and sum(map(len, test.values())) == 14_042
    few = {subject: docs[:1] for subject, docs in list(test.items())[:24]}
    model = load_model("smollm2-135m", SPEC, dtype="float32", device="cpu")
    ours = run_tasks(model, None, 0, few, dev)
    from fedllm_bench.model import harness

    own = theirs(resolve("smollm2-135m"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "HarnessModel", lambda *_: own)
        others = run_tasks(model, None, 0, few, dev)
    assert [(item.item, item.score) for item in ours] == [(item.item, item.score) for item in others]
