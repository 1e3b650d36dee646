"""Scores that join a table are asked as those beside them were, and the caption says how that was."""

import json
from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench.analysis.beside import Beside
from fedllm_bench.analysis.ways import evaluations
from fedllm_bench.benchmark_scores import ItemScore, Scores, write_scores
from run_folders import experiment, write_run
from scored_runs import SETTINGS, made_scores, write_scored

PROX = {"algorithm": {"name": "fedprox"}}
JUDGED = {
    "judge": "gpt-4o at https://server/v1",
    "judge_settings": {"temperature": 0.5, "seed": 7, "max_tokens": 1024},
    "answers": "vicuna-1.jsonl",
}


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


def text_of(fedllm: Command, *arguments: Any) -> str:
    done = fedllm("table", *arguments)
    assert done.code == 0, done.err
    return " ".join(done.out.split())


def scores(benchmark: str, **settings: Any) -> Scores:
    return Scores(benchmark, (), {**SETTINGS, "judge": None, **settings})


def test_the_way_to_a_base_models_scores_leaves_those_of_others_as_they_are(fedllm: Command, tmp_path: Path) -> None:
    settings = {**SETTINGS, **JUDGED, "limit": 20, "seed": 3, "max_new_tokens": 128, "engine": "vllm 0.11"}
    run = write_scored(tmp_path, experiment(), 0.0, settings=settings)
    text = text_of(fedllm, run, "--metrics")
    judge = "--judge endpoint:gpt-4o --judge-temperature 0.5 --judge-seed 7"
    options = "--limit 20 --seed 3 --max-new-tokens 128 --engine vllm"
    suites = " ".join(
        f"--suite {name}" for name in ("mt-bench", "vicuna", "ref-judge", "advbench", "mmlu", "humaneval")
    )
    assert f"fedllm-bench eval {run} {suites} {options} {judge}" in text


def test_a_benchmark_takes_the_settings_of_its_own_scores_and_else_those_of_most() -> None:
    beside = Beside(
        (
            scores("mmlu", limit=5),
            scores("vicuna", limit=20, **JUDGED),
            scores("humaneval", limit=20, samples=4),
            scores("advbench", limit=20, judge="rule (refusal phrases)"),
            Scores("mt-bench", (), {}, "no questions", "bring them"),
        )
    )
    assert [beside.limit(name) for name in ("mmlu", "vicuna", "mt-bench")] == [5, 20, 20]
    wanted = {"mmlu": False, "mt-bench": True, "humaneval": False, "advbench": True}
    asked, by_rule = evaluations(["runs/a"], wanted, beside)
    limits = "--limit mt-bench=20 --limit mmlu=5 --limit humaneval=20"
    judge = "--judge endpoint:gpt-4o --judge-temperature 0.5 --judge-seed 7"
    suites = "--suite mt-bench --suite mmlu --suite humaneval"
    assert asked == f"fedllm-bench eval runs/a {suites} {limits} --samples 4 {judge}"
    assert by_rule == "fedllm-bench eval runs/a --suite advbench --limit 20 --judge rule"


def test_no_judge_is_named_where_nobody_judges() -> None:
    assert evaluations(["a"], {"mmlu": False, "humaneval": False}, Beside((scores("vicuna", **JUDGED),))) == [
        "fedllm-bench eval a --suite mmlu --suite humaneval"
    ]


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("org/model at http://127.0.0.1:80/v1 (too small to judge)", "endpoint:org/model"),
        ("smollm2-135m, local (too small to judge)", "local:smollm2-135m"),
        ("script replies.jsonl", "scripted:replies.jsonl"),
        ("somebody", "endpoint:MODEL"),
    ],
)
def test_a_judge_is_asked_for_by_what_it_is_called(name: str, option: str) -> None:
    assert Beside((scores("vicuna", judge=name),)).judge("vicuna") == ("--judge", option)


def test_settings_that_differ_for_a_whole_call_are_two_calls() -> None:
    beside = Beside((scores("mmlu", seed=1), scores("humaneval", seed=2)))
    assert evaluations(["a"], {"mmlu": False, "humaneval": False}, beside) == [
        "fedllm-bench eval a --suite mmlu --seed 1",
        "fedllm-bench eval a --suite humaneval --seed 2",
    ]


def test_a_judge_that_gave_no_score_is_not_asked_the_same_again(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0, ["mmlu"])
    run = write_run(tmp_path, experiment(**PROX))
    items = tuple(ItemScore("vicuna", str(place), None, "no score in the reply") for place in range(3))
    write_scores(run, Scores("vicuna", items, {**SETTINGS, **JUDGED}))
    text = text_of(fedllm, tmp_path, "--metrics")
    assert "Vicuna: no item has a score (no score in the reply): another --judge, or more --judge-tokens" in text


# --- how far scores go


def test_the_caption_says_how_many_questions_and_how_long_answers(fedllm: Command, tmp_path: Path) -> None:
    asked = {**SETTINGS, "limit": 20, "max_new_tokens": 128, "answers": "some.jsonl", "engine": "fedllm-bench"}
    for changes, cut in (({}, 3), (PROX, 60)):
        settings = {**asked, "cut": cut}
        write_scored(tmp_path, experiment(**changes), 0.0, ["mt-bench", "vicuna"], settings=settings)
    write_scored(tmp_path, experiment(seed=1), 0.0, ["mmlu"], settings={**SETTINGS, "limit": 5})
    text = text_of(fedllm, tmp_path, "--metrics")
    assert "MT-Bench, Vicuna: at most 20 questions (seed 0), answers of at most 128 tokens." in text
    assert "MMLU: at most 5 questions of each subject (seed 0)." in text
    assert "Answers cut short: MT-Bench 63 of 160 (fedprox: 60 of 80); Vicuna 63 of 160 (fedprox: 60 of 80)." in text
    alone = text_of(fedllm, 3, tmp_path / experiment().run_id)
    assert "Answers cut short: MT-Bench 3 of 80; Vicuna 3 of 80." in alone


def test_whole_scores_have_nothing_said_of_them(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0, ["vicuna"])
    text = text_of(fedllm, tmp_path, "--metrics")
    assert "at most" not in text and "cut short" not in text


# --- who judged which row, and what each was asked


def test_rows_that_are_not_compared_are_named_with_what_tells_them_apart(fedllm: Command, tmp_path: Path) -> None:
    for name in ("fedavg", "scaffold"):
        write_scored(tmp_path, experiment(algorithm={"name": name}), 0.0, ["vicuna", "mmlu"])
    other = {**SETTINGS, "judge": "gpt-4o", "limit": 40}
    write_scored(tmp_path, experiment(**PROX), 0.0, ["vicuna", "mmlu"], settings=other)
    text = text_of(fedllm, tmp_path, "--metrics")
    assert (
        "Rows of Vicuna are by different judges or rubrics and are not compared: fedprox: gpt-4o; others: scri" in text
    )
    assert "Rows of Vicuna, MMLU answered different" in text and "fedprox: limit 40; others: limit none." in text


def test_another_rubric_of_the_same_judge_is_named(fedllm: Command, tmp_path: Path) -> None:
    for changes, rubric in (({}, "v1"), (PROX, "v2")):
        settings = {**SETTINGS, "rubric": rubric}
        write_scored(tmp_path, experiment(**changes), 0.0, ["vicuna"], settings=settings)
    text = text_of(fedllm, 3, tmp_path)
    assert "FedAvg: scripted:made-up by rubric v1; FedProx: scripted:made-up by rubric v2." in text


def test_parts_of_an_average_tell_its_rows_apart(fedllm: Command, tmp_path: Path) -> None:
    for changes, judges in (({}, "ab"), (PROX, "ba")):
        run = write_run(tmp_path, experiment(**changes))
        for benchmark, judge in zip(("mt-bench", "vicuna"), judges, strict=True):
            write_scores(run, made_scores(benchmark, 0.0, settings={**SETTINGS, "judge": judge}))
    text = text_of(fedllm, 5, tmp_path)
    assert (
        "Rows of Average are by different judges or rubrics and are not compared: FedAvg: a / b; FedProx: b / a."
        in text
    )


# --- a row of one's choice


def test_a_sweep_is_compared_with_a_row_by_its_title(fedllm: Command, tmp_path: Path) -> None:
    for lr in (2e-4, 1e-3):
        write_scored(tmp_path, experiment(local={"lr": lr}), 0.0, ["vicuna"])
    write_scored(tmp_path, experiment(**PROX), 0.0, ["vicuna"])
    assert 'Choose one, such as --against "fedavg lr=0.0002".' in text_of(fedllm, tmp_path, "--metrics")
    assert 'Choose one, such as --against "FedAvg lr=0.0002".' in text_of(fedllm, 3, tmp_path)
    for arguments in ((tmp_path, "--metrics"), (3, tmp_path)):
        text = text_of(fedllm, *arguments, "--against", "FedAvg lr=0.001")
        assert "5.09 ~" in text and "~: cannot be told from" in text and "Several rows" not in text
    rows = json.loads(fedllm("table", tmp_path, "--metrics", "--against", "fedavg lr=0.001", "--json").out)["rows"]
    found = {row["method"]: set(row["metrics"]["vicuna"]["against"]) for row in rows}
    assert found["fedprox"] == {"fedavg lr=0.001"} and found["fedavg lr=0.001"] == set()
    wrong = fedllm("table", tmp_path, "--metrics", "--against", "fedavg lr=1")
    assert wrong.code == 2 and 'did you mean "fedavg lr=0.001"?' in wrong.err
    unknown = fedllm("table", tmp_path, "--metrics", "--against", "zzz")
    assert unknown.code == 2 and "fedavg lr=0.0002, fedavg lr=0.001, fedprox" in unknown.err


@pytest.mark.parametrize("arguments", [(".",), (".", "--by-group"), ("1",), ("7",)])
def test_a_table_that_compares_no_scores_takes_no_row_to_compare_with(
    fedllm: Command, arguments: tuple[str, ...]
) -> None:
    done = fedllm("table", *arguments, "--against", "local")
    assert done.code == 2 and "--against compares scores" in done.err
