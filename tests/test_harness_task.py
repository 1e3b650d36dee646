"""Any task of lm-evaluation-harness: its numbers on our model are those of its own class, and what was done is kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedllm_bench.benchmark_scores import Scores, harness_benchmark, harness_metric, metric_of
from fedllm_bench.errors import DataError, FedLLMError, RunError
from fedllm_bench.evaluate import harness_task as module
from fedllm_bench.evaluate.bench import Bench, Options
from fedllm_bench.evaluate.engine import Candidate, Engine
from fedllm_bench.evaluate.harness_task import harness_task, require_task
from fedllm_bench.model.base import load_model
from fedllm_bench.model.harness import HarnessModel
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.tokenise import Codec
from test_mmlu import theirs

pytestmark = pytest.mark.filterwarnings("ignore")

SPEC = LoraSpec(2, 4.0, 0.0, ("q_proj", "v_proj"))
ROWS = [
    {"question": f"{at} + {at}?", "choices": ["1", "22", str(2 * at)], "answer": 2, "said": "so"} for at in range(6)
]
CHOICE = """
task: made_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FILE, validation: FILE}}
test_split: test
fewshot_split: validation
num_fewshot: 2
output_type: multiple_choice
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: answer
doc_to_choice: "{{choices}}"
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: brier_score, higher_is_better: false}]
"""
WRITING = """
task: made_writing
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: generate_until
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: said
generation_kwargs: {until: ["e", "!"], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match}]
"""
TEXT = """
task: made_text
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: question
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""
GROUP = "group: made_all\ntask: [made_choice, made_writing]\naggregate_metric_list: [{metric: acc}]\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task files with their data."""
    found = tmp_path_factory.mktemp("tasks")
    data = found / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    for name, text in {"choice": CHOICE, "writing": WRITING, "text": TEXT, "group": GROUP}.items():
        (found / f"{name}.yaml").write_text(text.replace("FILE", str(data)))
    return found


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    model = load_model(str(tiny_model), SPEC, dtype="float32", device="cpu")
    return Engine(model, Codec(model.tokenizer, "native", 512), "float32")


def bench(engine: Engine, tmp_path: Path, options: Options | None = None) -> Bench:
    draw = torch.Generator().manual_seed(0)
    adapter = {name: torch.randn(shape, generator=draw) * 0.5 for name, shape in engine.model.lora.shapes.items()}
    candidates = [
        Candidate("base", tmp_path / "base", None, "base"),
        Candidate("fedavg", tmp_path / "run", adapter, "a"),
    ]
    unused: Any = None
    return Bench(engine, candidates, unused, None, options or Options(), tmp_path)


def found(name: str, folder: Path, given: Bench) -> list[Scores]:
    return list(harness_task(name, [folder], given))


@pytest.mark.parametrize("name", ["made_choice", "made_writing", "made_text"])
def test_numbers_are_those_of_the_harness_by_itself(
    name: str, folder: Path, engine: Engine, tiny_model: Path, tmp_path: Path
) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    base, tuned = found(name, folder, bench(engine, tmp_path))
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    others = simple_evaluate(theirs(tiny_model), tasks=[name], task_manager=manager)
    expected = {key: value for key, value in others["results"][name].items() if "stderr" not in key}
    own = base.settings["results"][name]
    assert {key for key in expected if isinstance(expected[key], float)} <= own.keys()
    assert all(own[key] == pytest.approx(value, rel=1e-3) for key, value in expected.items() if key in own)
    assert base.settings["results"] != tuned.settings["results"] or name == "made_writing"


def test_every_item_has_a_score_by_every_metric_that_is_a_mean_of_items(
    folder: Path, engine: Engine, tmp_path: Path
) -> None:
    base, _ = found("made_all", folder, bench(engine, tmp_path))
    assert base.benchmark == "harness-made_all"
    by_metric = {
        metric: [item for item in base.items if item.metric == metric] for metric in {i.metric for i in base.items}
    }
    assert by_metric.keys() == {f"harness-made_all:{own}" for own in ("acc", "acc_norm", "exact_match")}
    for metric, own in (("acc", "made_choice"), ("exact_match", "made_writing")):
        items = by_metric[f"harness-made_all:{metric}"]
        assert [item.item for item in items] == [f"{own}/{at}" for at in range(6)]
        mean = base.settings["results"][own][f"{metric},none"]
        assert sum(item.score or 0.0 for item in items) / 6 == pytest.approx(mean)
        assert {item.category for item in items} == {own}


def test_a_limit_draws_items_by_seed_and_a_second_time_nothing_is_worked_out(
    folder: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = bench(engine, tmp_path, Options(seed=3, limits={"": 2}))
    first = found("made_choice", folder, given)
    chosen = {item.item for item in first[0].items}
    other = found("made_choice", folder, replace(given, options=Options(seed=4, limits={"": 2})))
    assert len(chosen) == 2 and chosen != {item.item for item in other[0].items}
    monkeypatch.setattr(module, "_records", lambda *_: pytest.fail("worked out again"))
    assert found("made_choice", folder, given) == first


@pytest.mark.slow  # all that the harness has is looked through
def test_what_is_no_task_is_told_with_what_it_may_have_been(folder: Path, engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(FedLLMError, match="no task 'made_choise'") as told:
        found("made_choise", folder, bench(engine, tmp_path))
    assert "made_choice" in str(told.value.hint)
    with pytest.raises(FedLLMError, match="no task 'made_choise'"):
        require_task("made_choise", [folder])


def test_a_task_whose_data_are_not_there_is_told_with_a_way_out(folder: Path, engine: Engine, tmp_path: Path) -> None:
    require_task("made_choice", [folder])
    (folder / "gone.yaml").write_text(CHOICE.replace("made_choice", "made_gone").replace("FILE", "/nowhere.jsonl"))
    with pytest.raises(DataError, match="its data cannot be loaded"):
        found("made_gone", folder, bench(engine, tmp_path))


def test_beginnings_and_special_tokens_are_the_tokenizers_own(engine: Engine) -> None:
    """Llama's tokenizer begins every text with a mark, and the harness by itself passes it on."""
    from copy import deepcopy

    from tokenizers.processors import TemplateProcessing

    tokenizer = deepcopy(engine.model.tokenizer)
    tokenizer.add_special_tokens({"bos_token": "<|im_start|>"})
    first = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", first)]
    )
    harness = HarnessModel(replace(engine.model, tokenizer=tokenizer), None)
    assert harness.tok_encode("ab")[0] == first and harness.prefix_token_id == first
    assert harness.tok_encode("<|im_start|>ab").count(first) == 1
    assert harness.tok_encode("ab", add_special_tokens=False)[0] != first


def test_a_metric_of_a_task_says_which_way_is_up() -> None:
    benchmark = harness_benchmark("my task/a")
    assert benchmark == "harness-my_task_a"
    up, down = (metric_of(harness_metric(benchmark, "acc", way)) for way in (True, False))
    assert (up.benchmark, up.higher_is_better, down.higher_is_better) == (benchmark, True, False)
    with pytest.raises(RunError, match="is no metric"):
        metric_of("accuracy")
