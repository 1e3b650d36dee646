"""Preference runs from the command line: killed and continued, tabled and reported; the wrong data is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from command_line import start
from test_runs import Bench, assert_same, contents

from made_up import chitchat, take_as_chitchat
from preference_parts import opinionated

EXPERIMENT = """
name = "small"
[data]
name = "fed-chatbotpa"
min_samples = 2
[data.fed-chatbotpa]
file = "{file}"
[model]
base = "{base}"
lora = {{ rank = 4, alpha = 8, dropout = 0.1 }}
[objective]
name = "dpo"
template = "none"
truncation = "paper-dpo"
max_length = 120
[objective.dpo]
beta = 0.2
max_prompt_length = 60
[local]
steps = "dynamic"
passes = 6
batch_size = 2
lr = 1e-2
[federation]
rounds = 4
cohort = 2
[evaluate]
every = 2
[executor]
threads = 1
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Bench:
    """A file of pairs, an experiment on it, and the cache of their tokens and reference."""
    above = tmp_path_factory.mktemp("preference-world")
    content = {
        member.id: [
            {"prompt": example.prompt[-1].content, "chosen": example.chosen, "rejected": example.rejected}  # type: ignore[union-attr]
            for example in (*member.train, *member.test)
        ]
        for member in opinionated(4, 9, 6, held_out=0).members
    }
    file = above / "pairs.json"
    file.write_text(json.dumps(content))
    experiment = above / "small.toml"
    experiment.write_text(EXPERIMENT.format(base=tiny_model, file=file))
    return Bench(above / "cache", experiment, above / "runs")


@pytest.fixture(scope="module")
def whole(world: Bench) -> dict[str, Any]:
    """The files of an uninterrupted run."""
    return contents(world.run())


@pytest.fixture
def bench(world: Bench, tmp_path: Path) -> Bench:
    return Bench(world.cache, world.experiment, tmp_path / "runs")


def test_records_speak_of_pairs(whole: dict[str, Any]) -> None:
    base = [row for row in whole["evaluations.jsonl"] if row["round"] == 0]
    assert all(row["loss"] == pytest.approx(math.log(2)) for row in base)
    assert {row["margin"] for row in base} == {0.0}
    last = [row for row in whole["evaluations.jsonl"] if row["round"] == 4]
    assert all(row["margin"] == pytest.approx(row["reward_chosen"] - row["reward_rejected"]) for row in last)
    assert all(0 <= row["accuracy"] <= 1 and row["tokens"] > row["samples"] > 0 for row in last)
    steps = {row["client"]: (row["samples"], row["steps"]) for row in whole["clients.jsonl"]}
    # 3 clients, 4 rounds of 2: each is expected 8/3 times; 6 passes in batches of 2 are 9/8 steps a sample.
    assert all(steps == math.ceil(samples * 9 / 8) for samples, steps in steps.values())
    assert len({steps for _, steps in steps.values()}) > 1
    assert all(row["trained_tokens"] == 2 * row["steps"] for row in whole["clients.jsonl"])
    assert whole["rounds.jsonl"][-1]["train_loss"] < whole["rounds.jsonl"][0]["train_loss"]


@pytest.mark.slow
def test_a_run_killed_and_continued_ends_with_the_same_bytes(bench: Bench, whole: dict[str, Any]) -> None:
    bench.killed_after(2)
    assert_same(bench.run(), whole)


@pytest.mark.slow
def test_a_reference_that_was_lost_is_computed_again_to_the_same_bytes(
    bench: Bench, world: Bench, whole: dict[str, Any]
) -> None:
    lost = sorted((world.cache / "encoded").rglob("*.reference-*.safetensors"))
    assert len(lost) == 6  # of every client, to train on and held out
    lost[0].unlink()
    lost[1].write_bytes(b"damaged")
    assert_same(bench.run(), whole)
    assert all(path.read_bytes() != b"damaged" for path in lost)


def test_table_and_report_speak_of_pairs(bench: Bench, world: Bench, whole: dict[str, Any], tmp_path: Path) -> None:
    folder = str(world.folder().path)
    said = tmp_path / "said.txt"
    assert start(said, bench.cache, "table", folder, "--format", "md").code() == 0
    table = said.read_text()
    assert "DPO loss per held-out pair" in table
    assert "| method | held-out loss | change to base | pair acc. | margin |" in table
    assert "| base | 0.693 [0.693, 0.693] | - | 50.0% | +0.000 |" in table
    assert "token" not in table
    assert "perplexity" not in table
    page = tmp_path / "report.html"
    assert start(said, bench.cache, "report", folder, "--out", str(page)).code() == 0
    html = page.read_text()
    assert "<th>pair accuracy</th><th>margin</th>" in html
    assert "per pair" in html
    assert "nats per token" not in html
    assert "perplexity" not in html


def test_a_plan_knows_dynamic_steps(bench: Bench) -> None:
    command = bench.start("--dry-run", "--json")
    assert command.code() == 0, command.text
    (row,) = json.loads(command.text)["rows"]
    assert row["steps"] > 4 * 2
    assert row["tokens"] > row["steps"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("objective.name=sft", "the objective sft learns from conversations, but example 'person-0/"),
        ("objective.dpo.beta=-1", "objective.dpo: beta is -1"),
        ("objective.dpo.beat=1", "did you mean beta?"),
        ("objective.dpo.loss=dpo", "objective.dpo: unknown loss 'dpo'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_model_is_loaded(bench: Bench, change: str, what: str) -> None:
    changes = ("--set", change, *(("--set", "objective.truncation=skip") if "sft" in change else ()))
    command = bench.start("--set", "model.base=org/none", *changes)
    assert command.code() == 2
    assert what in command.text
    assert "Traceback" not in command.text


def test_conversations_and_the_papers_cut_are_refused_where_they_do_not_belong(bench: Bench) -> None:
    take_as_chitchat(bench.runs / "cache", chitchat())
    elsewhere = Bench(bench.runs / "cache", bench.experiment, bench.runs)
    command = elsewhere.start("--set", "data.name=fed-chitchat")
    assert command.code() == 2
    assert "dpo learns from preference pairs, but example" in command.text
    assert 'objective.name = "sft"' in command.text
    command = elsewhere.start("--set", "objective.name=sft")
    assert command.code() == 2
    assert "objective.truncation with sft: unknown name 'paper-dpo'" in command.text
