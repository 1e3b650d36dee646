"""Which scores are averaged and compared: those of equal judges, questions and settings, each run once."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench.benchmark_scores import ItemScore, Scores, write_scores
from run_folders import experiment, write_run
from scored_runs import SETTINGS, made_scores, write_base_scores, write_scored

PROX = {"algorithm": {"name": "fedprox"}}
LIMITED = {**SETTINGS, "limit": 5}


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


def rows_of(fedllm: Command, *arguments: Any) -> dict[str, dict[str, Any]]:
    done = fedllm("table", *arguments, "--json")
    assert done.code == 0, done.err
    return {row["method"]: row for row in json.loads(done.out)["rows"]}


def text_of(fedllm: Command, *arguments: Any) -> str:
    done = fedllm("table", *arguments)
    assert done.code == 0, done.err
    return " ".join(done.out.split())


def judged_by(name: str, **more: Any) -> dict[str, Any]:
    return {**SETTINGS, "judge": name, **more}


# --- kinds of chat


@pytest.mark.parametrize("number", [3, 5])
def test_runs_on_one_turn_and_on_several_are_no_seeds_of_one_row(fedllm: Command, tmp_path: Path, number: int) -> None:
    single = experiment(name="paper-table3", data={"name": "fed-chatbotit"})
    multi = experiment(name="paper-table4-multi", data={"name": "fed-wildchat-multi"})
    runs = [write_scored(tmp_path, single, 0.0, ["vicuna"]), write_scored(tmp_path, multi, 3.0, ["vicuna"])]
    for run in runs:
        write_base_scores(run, -1.0, ["vicuna"])
    rows = rows_of(fedllm, number, tmp_path)
    own = {title: row["vicuna"] for title, row in rows.items() if row["vicuna"]["n"]}
    assert sorted(title.split(" (")[0] for title in own) == [
        "Base Model", "Base Model", "FedAvg data=fed-chatbotit", "FedAvg data=fed-wildchat-multi",
    ]  # fmt: skip
    assert {cell["replicas"] for cell in own.values()} == {1}


# --- judges


def test_seeds_by_different_judges_are_not_averaged(fedllm: Command, tmp_path: Path) -> None:
    for seed, judge in enumerate(("endpoint:a", "endpoint:b")):
        for changes in ({}, PROX):
            run = experiment(seed=seed, **changes)
            write_scored(tmp_path, run, 3.0 * seed, ["vicuna"], settings=judged_by(judge))
    cell = rows_of(fedllm, 3, tmp_path)["FedAvg"]["vicuna"]
    assert (cell["mean"], cell["against"]) == (None, {})
    assert "different judges" in cell["missing"]
    assert cell["hint"].startswith(f"fedllm-bench eval {tmp_path}") and "--suite vicuna --judge" in cell["hint"]


def test_an_average_by_exchanged_judges_is_not_compared(fedllm: Command, tmp_path: Path) -> None:
    for changes, judges in (({}, "ab"), (PROX, "ba")):
        run = write_run(tmp_path, experiment(**changes))
        for benchmark, judge in zip(("mt-bench", "vicuna"), judges, strict=True):
            write_scores(run, made_scores(benchmark, 0.0, settings=judged_by(judge)))
    row = rows_of(fedllm, 5, tmp_path)["FedProx"]
    assert row["average"]["mean"] is not None and row["average"]["against"] == {}


def test_one_name_is_two_judges_where_temperature_or_seed_differ(fedllm: Command, tmp_path: Path) -> None:
    for place, changes in enumerate(({}, PROX)):
        own = {"judge_identity": f"{place}abc", "judge_settings": {"temperature": float(place), "seed": None}}
        write_scored(tmp_path, experiment(**changes), 0.0, ["vicuna"], settings=judged_by("m at server", **own))
    assert rows_of(fedllm, 3, tmp_path)["FedProx"]["vicuna"]["against"] == {}
    text = text_of(fedllm, 3, tmp_path)
    assert "Judged by m at server (temperature 0.0); m at server (temperature 1.0)." in text
    assert "Rows of Vicuna are by different judges" in text


# --- questions and settings


@pytest.mark.parametrize(
    "other", [{"limit": 5}, {"seed": 1}, {"max_new_tokens": 16}, {"template": "vicuna"}, {"dtype": "int8"}]
)
def test_what_was_asked_or_answered_otherwise_is_shown_and_not_compared(
    fedllm: Command, tmp_path: Path, other: dict[str, Any]
) -> None:
    write_scored(tmp_path, experiment(), 0.0, ["mmlu"])
    write_scored(tmp_path, experiment(**PROX), 0.0, ["mmlu"], settings={**SETTINGS, **other})
    rows = rows_of(fedllm, 3, tmp_path)
    assert rows["FedProx"]["mmlu"]["mean"] is not None and rows["FedProx"]["mmlu"]["against"] == {}
    text = text_of(fedllm, 3, tmp_path)
    assert "Rows of MMLU answered different questions or under different settings" in text
    assert "How firm" not in text
    assert "answered different questions" in text_of(fedllm, tmp_path, "--metrics")


def test_seeds_that_answered_different_questions_are_not_averaged(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0, ["vicuna"])
    write_scored(tmp_path, experiment(seed=1), 0.0, ["vicuna"], settings=LIMITED)
    cell = rows_of(fedllm, 3, tmp_path)["FedAvg"]["vicuna"]
    assert cell["mean"] is None and "(limit)" in cell["missing"]
    assert cell["hint"].count(str(tmp_path)) == 2 and "--suite vicuna" in cell["hint"]


def test_ref_judge_is_compared_where_the_same_was_asked(fedllm: Command, tmp_path: Path) -> None:
    """Fed-Aya and Fed-Aya wide share the paper's test set; other data share nothing but numbers of questions."""
    first, second, third = experiment(data={"name": "fed-aya"}), PROX, {"algorithm": {"name": "fedyogi"}}
    asked = {**SETTINGS, "questions": "cafe"}
    write_scored(tmp_path, first, 0.0, ["ref-judge"], settings=asked)
    write_scored(tmp_path, experiment(data={"name": "fed-aya-wide"}, **second), 0.0, ["ref-judge"], settings=asked)
    write_scored(tmp_path, experiment(data={"name": "fed-wildchat"}, **third), 2.0, ["ref-judge"])
    rows = rows_of(fedllm, 3, tmp_path)
    assert set(rows["FedProx"]["ref-judge"]["against"]) == {"fedavg"}
    assert rows["FedYogi"]["ref-judge"]["against"] == {}


def test_an_order_says_how_many_items_it_rests_on(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0, ["vicuna"])
    run = write_run(tmp_path, experiment(algorithm={"name": "scaffold"}))
    items = tuple(ItemScore("vicuna", str(place), 10.0) for place in range(5))
    write_scores(run, Scores("vicuna", items, SETTINGS))
    text = text_of(fedllm, 3, tmp_path)
    assert "items that all rows have" in text and "Vicuna: SCAFFOLD in 100%, tau 1.00, n=5." in text


# --- runs


def test_how_many_runs_a_number_rests_on_stands_beside_it(fedllm: Command, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_scored(tmp_path, experiment(seed=seed), 0.0, ["vicuna"])
    assert "n=80, 1 seed" not in text_of(fedllm, 3, tmp_path / experiment().run_id)
    write_scored(tmp_path, experiment(**PROX), 0.0, ["vicuna"])
    text = text_of(fedllm, 3, tmp_path)
    assert "n=80, 2 seeds" in text and "n=80, 1 seed " in text
    assert "is compared with one, nothing is said of other seeds" in text
    assert "n=80, 2 seeds" in text_of(fedllm, tmp_path, "--metrics")
    assert rows_of(fedllm, 3, tmp_path)["FedProx"]["vicuna"]["against"]["fedavg"]["runs"] == 1


def test_two_seeds_each_need_no_word_of_caution(fedllm: Command, tmp_path: Path) -> None:
    for seed in (0, 1):
        for changes in ({}, PROX):
            write_scored(tmp_path, experiment(seed=seed, **changes), 0.0, ["vicuna"])
    write_base_scores(tmp_path / experiment().run_id, -1.0, ["vicuna"])
    assert "nothing is said of other seeds" not in text_of(fedllm, 3, tmp_path)


@pytest.mark.parametrize("view", [[3], ["--metrics"], []])
def test_a_copied_run_counts_once_and_is_named(fedllm: Command, tmp_path: Path, view: list[Any]) -> None:
    run = write_scored(tmp_path, experiment(), 0.0, ["vicuna"])
    shutil.copytree(run, tmp_path / "copy")
    number, flags = view[:1] if view == [3] else [], view if view != [3] else []
    rows = rows_of(fedllm, *number, tmp_path, *flags)
    row = rows["FedAvg"]["vicuna"] if number else rows["fedavg"]["metrics"]["vicuna"]
    assert row["replicas"] == 1
    assert "Copies of a run count once; left out:" in text_of(fedllm, *number, tmp_path, *flags)


def test_of_two_copies_the_finished_one_counts_and_then_the_scored_one(fedllm: Command, tmp_path: Path) -> None:
    write_run(tmp_path / "a", experiment(), complete=False, rounds=2)
    write_run(tmp_path / "b", experiment())
    write_scored(tmp_path / "c", experiment(), 0.0, ["vicuna"])
    row = rows_of(fedllm, 3, tmp_path / "a", tmp_path / "b", tmp_path / "c")["FedAvg"]
    assert row["vicuna"]["replicas"] == 1 and row["vicuna"]["unfinished"] == []


def test_base_scores_in_two_folders_are_joined(fedllm: Command, tmp_path: Path) -> None:
    for name, benchmark, seed in (("a", "vicuna", 0), ("b", "mmlu", 1)):
        run = write_scored(tmp_path / name, experiment(seed=seed), 0.0, ["vicuna"])
        write_base_scores(run, -1.0, [benchmark])
        if name == "a":
            write_scores(next((tmp_path / name).glob("base-*")), Scores("mmlu", (), {}, "no questions", "bring them"))
    row = rows_of(fedllm, 3, tmp_path / "a", tmp_path / "b")["Base Model"]
    assert row["vicuna"]["n"] == 80 and row["mmlu"]["n"] == 570
