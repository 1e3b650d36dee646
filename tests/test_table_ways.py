"""The commands below a table fill its gaps; and its metrics are read on 80 columns."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench.benchmark_scores import METRICS, ItemScore, Scores, write_scores
from run_folders import experiment, write_run
from scored_runs import SETTINGS, made_scores, write_scored

JUDGE = "--judge endpoint:MODEL"


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


def ways(fedllm: Command, *folders: Any) -> dict[str, str]:
    """Command to what it fills, in table 3."""
    content = json.loads(fedllm("table", "3", *folders, "--json").out)
    return {way["command"]: way["what"] for way in content["fill"] if "experiments/paper" not in way["command"]}


def unjudged(run: Path) -> None:
    items = tuple(ItemScore("vicuna", str(place), None, "no judge: name one with --judge") for place in range(80))
    write_scores(run, Scores("vicuna", items, {**SETTINGS, "judge": None}))


def test_a_judge_is_named_where_one_is_needed_and_nowhere_else(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path, experiment(), 0.0, ["mt-bench", "vicuna", "ref-judge"])
    assert ways(fedllm, run) == {f"fedllm-bench eval {run} --suite humaneval --suite mmlu": "not evaluated"}
    bare = write_run(tmp_path / "bare", experiment(seed=1))
    suites = " ".join(f"--suite {name}" for name in ("mt-bench", "vicuna", "ref-judge", "humaneval", "mmlu"))
    command = f"fedllm-bench eval {bare} {suites} {JUDGE}"
    assert ways(fedllm, bare) == {command: "not evaluated"}


def test_unfinished_runs_are_finished_and_finished_ones_are_evaluated(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0)
    evaluated = write_run(tmp_path, experiment(seed=1))
    begun = write_run(tmp_path, experiment(seed=2), complete=False, rounds=2)
    found = ways(fedllm, tmp_path)
    command = next(way for way, what in found.items() if what == "not evaluated")
    assert command.startswith(f"fedllm-bench eval {evaluated} ")
    finish = next(way for way, what in found.items() if what == "not finished")
    assert finish.startswith("fedllm-bench run") and str(begun) in finish and str(evaluated) not in finish
    text = fedllm("table", "3", tmp_path).out
    assert "1 not evaluated" in text and "1 not finished" in text


def test_a_run_that_cannot_be_evaluated_says_why_beside_one_that_was(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0)
    run = write_scored(tmp_path, experiment(seed=1), 0.0)
    write_scores(run, Scores("mmlu", (), {}, "no questions are here", "put them below X"))
    assert ways(fedllm, tmp_path) == {"put them below X": "MMLU: no questions are here"}
    text = " ".join(fedllm("table", "3", tmp_path).out.split())
    assert "no questions are here: put them below X" in text


def test_a_run_that_nobody_judged_is_judged_beside_one_that_was(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0)
    run = write_scored(tmp_path, experiment(seed=1), 0.0)
    unjudged(run)
    assert ways(fedllm, tmp_path) == {f"fedllm-bench eval {run} --suite vicuna {JUDGE}": "not evaluated"}


def test_a_run_that_nobody_judged_has_one_command(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path, experiment(), 0.0)
    unjudged(run)
    why = "Vicuna: no item has a score (no judge: name one with --judge)"
    assert ways(fedllm, run) == {f"fedllm-bench eval {run} --suite vicuna {JUDGE}": why}


def test_folders_with_spaces_are_quoted(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path / "my runs", experiment(), 0.0, ["mt-bench", "vicuna", "ref-judge", "humaneval"])
    (command,) = ways(fedllm, run)
    assert shlex.split(command) == ["fedllm-bench", "eval", str(run), "--suite", "mmlu"]


def test_a_task_of_the_harness_is_asked_for_by_its_own_option(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path, experiment(), 0.0)
    name = "harness-arc_easy"
    write_scores(run, Scores(name, (ItemScore(f"{name}:acc", "1", 1.0),), SETTINGS))
    write_scored(tmp_path, experiment(algorithm={"name": "fedprox"}), 0.0)
    assert f"{tmp_path} --task arc_easy" in " ".join(fedllm("table", tmp_path, "--metrics").out.split())


# --- metrics on a screen


def test_groups_of_mmlu_stand_in_files_and_not_on_the_screen(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path, experiment(), 0.0, ["vicuna"])
    whole = made_scores("mmlu", 0.0)
    groups = [name for name in METRICS if name.startswith("mmlu-")]
    own = tuple(ItemScore(groups[place % 4], item.item, item.score) for place, item in enumerate(whole.items))
    write_scores(run, Scores("mmlu", whole.items + own, SETTINGS))
    for form in ("md", "tex"):
        assert "MMLU social sciences" in fedllm("table", tmp_path, "--metrics", "--format", form).out
    for form in ("csv", "json"):
        assert all(name in fedllm("table", tmp_path, "--metrics", "--format", form).out for name in groups)
    text = fedllm("table", tmp_path, "--metrics").out
    assert "social sciences" not in text and "MMLU by group of subjects: --format" in text
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in text.splitlines())  # a path stays whole
