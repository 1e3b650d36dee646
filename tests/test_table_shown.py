"""What a table of scores shows: columns that have numbers, names that are the same everywhere, captions on lines."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench import records
from fedllm_bench.analysis.paper_results import printed
from fedllm_bench.benchmark_scores import METRICS, ItemScore, Scores, write_scores
from run_folders import experiment, write_quickstart
from scored_runs import SETTINGS, write_base_scores, write_scored


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


def out_of(fedllm: Command, *arguments: Any) -> str:
    done = fedllm("table", *arguments)
    assert done.code == 0, done.err
    return done.out


def spent(run: Path, epsilon: float) -> None:
    privacy = {"epsilon": epsilon, "delta": 1e-5, "claimed_epsilon": None, "adjacency": "one client"}
    rounds = list(records.read(run / "rounds.jsonl"))
    (run / "rounds.jsonl").unlink()
    records.append(run / "rounds.jsonl", *({**record, "privacy": privacy} for record in rounds))


# --- columns


def test_columns_without_a_number_are_listed_once_with_the_reason(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path, experiment(), 0.0, ["vicuna"])
    write_scores(run, Scores("mmlu", (), {}, "no questions are here", "put them below X"))
    six, of_table_3 = "MT-Bench, AdvBench, Ref-Judge, HumanEval (not", "MT-Bench-1, Ref-Judge, Average, HumanEval (not"
    for arguments, rest in (((run, "--metrics"), six), ((3, run), of_table_3)):
        out = out_of(fedllm, *arguments)
        assert out.splitlines()[0].split() == ["method", "Vicuna"]
        said = " ".join(out.split())
        assert "no questions are here)" in said and f"Without any number: {rest}" in said
        assert "MMLU: no questions are here: put them below X" in said
        assert "pass@1" not in out  # a legend of a column that is not shown
    assert "MMLU" in out_of(fedllm, 3, run, "--with-paper").split("Table 3")[0]
    assert "HumanEval" in out_of(fedllm, run, "--metrics", "--format", "md").splitlines()[0]


def test_a_task_that_could_not_run_has_a_column_that_says_why(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path, experiment(), 0.0, ["vicuna"])
    write_scores(run, Scores("harness-hellaswagg", (), {}, "no task is called hellaswagg", "did you mean hellaswag?"))
    cell = json.loads(out_of(fedllm, run, "--metrics", "--json"))["rows"][-1]["metrics"]["harness-hellaswagg"]
    assert cell["missing"] == "no task is called hellaswagg"
    said = " ".join(out_of(fedllm, run, "--metrics").split())
    assert "no task is called hellaswagg)" in said and "--task" not in said and "did you mean hellaswag?" in said
    name = "harness-arc_easy"
    write_scores(run, Scores(name, (ItemScore(f"{name}:acc", "1", 1.0),), SETTINGS))
    assert "arc_easy acc" in out_of(fedllm, run, "--metrics").splitlines()[0]


def test_an_average_that_lacks_a_part_is_a_dash_alone(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path, experiment(), 0.0, ["mt-bench"], unscored=30)
    row = next(line for line in out_of(fedllm, 3, run, "--format", "md").splitlines() if line.startswith("| FedAvg |"))
    assert [cell.split("\n")[0].strip() for cell in row.split("|")[4:6]] == ["-", "-"] and "30 unscored" in row


def test_epsilon_stands_beside_scores_where_it_is_known(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0, ["vicuna"])
    assert "epsilon" not in out_of(fedllm, tmp_path, "--metrics").splitlines()[0]
    channel = [{"name": "client-dp", "options": {"clip": 0.1, "noise": 1.0}}]
    run = write_scored(tmp_path, experiment(channel=channel), 0.0, ["vicuna"])
    spent(run, 8.0)
    out = out_of(fedllm, tmp_path, "--metrics")
    assert out.splitlines()[0].split() == ["method", "epsilon", "Vicuna"] and "8.00" in out
    assert "Epsilon at delta = 1e-05" in out
    rows = list(csv.DictReader(io.StringIO(out_of(fedllm, tmp_path, "--metrics", "--format", "csv"))))
    assert [row["epsilon"] for row in rows] == ["", "", "8.0"]
    assert "1 run has no place in this table: fedavg client-dp." in " ".join(out_of(fedllm, 8, tmp_path).split())


def test_one_metric_has_one_name_in_every_table(fedllm: Command, tmp_path: Path) -> None:
    assert set(printed(3).columns) - {"average"} <= set(METRICS)
    assert {name.partition("/")[2] for name in printed(4).columns} <= set(METRICS)
    run = write_scored(tmp_path, experiment(), 0.0, ["mt-bench"])
    titles = [out_of(fedllm, *arguments).splitlines()[0] for arguments in ((3, run), (run, "--metrics"))]
    assert all("MT-Bench-1" in title for title in titles)


def test_names_of_rows_stay_on_one_line_where_a_table_is_divided(fedllm: Command) -> None:
    assert sum(line.startswith("Local Training (ar) ") for line in out_of(fedllm, 2).splitlines()) >= 2


# --- cells


def test_seeds_and_clients_of_local_training_are_counted_apart(fedllm: Command, tmp_path: Path) -> None:
    for seed in range(3):
        for changes in ({}, *({"algorithm": {"name": "local"}, "data": {"client_samples": size}} for size in (9, 7))):
            run = write_scored(tmp_path, experiment(seed=seed, **changes), 0.0, ["vicuna"])
    write_base_scores(run, -1.0, ["vicuna"])
    out = out_of(fedllm, tmp_path, "--metrics", "--format", "md")
    vicuna = {line.split("|")[1].strip(): line for line in out.splitlines() if line.startswith("| ")}
    assert "n=80, 3 seeds 2 clients" in vicuna["local"]
    assert "n=80, 3 seeds |" in vicuna["fedavg"] and "n=80 |" in vicuna["base"]
    said = " ".join(out.split())
    assert "seeds, clients (each trained alone): of the runs behind a number." in said


def test_latex_has_values_and_marks_alone(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0, ["vicuna"])
    write_scored(tmp_path, experiment(algorithm={"name": "fedprox"}), 0.0, ["vicuna"], unscored=2)
    out = out_of(fedllm, 3, tmp_path, "--with-paper", "--format", "tex")
    row = next(line for line in out.splitlines() if line.startswith("FedProx"))
    assert r" \textasciitilde{} (7.21) & " in row and "n=" not in row and "[" not in row
    assert "Brackets" not in out and "In parentheses: FedLLM-Bench" in out and "csv and json have counts" in out


# --- captions and ways


def test_a_caption_has_a_line_for_each_thing(fedllm: Command, tmp_path: Path) -> None:
    for name in ("fedavg", "fedprox"):
        write_scored(tmp_path, experiment(algorithm={"name": name}), 0.0, ["mt-bench", "vicuna"])
    out = out_of(fedllm, tmp_path, "--metrics")
    lines = out.splitlines()
    firm = lines.index(next(line for line in lines if line.startswith("How firm the order is")))
    assert [line.split(":")[0] for line in lines[firm + 2 : firm + 5]] == ["MT-Bench-1", "MT-Bench-2", "MT-Bench"]
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in lines)
    md = out_of(fedllm, tmp_path, "--metrics", "--format", "md")
    assert "\n\nVicuna: " in md and "\n\nJudged by " in md


def test_the_way_from_nothing_to_a_table_is_told_to_its_end(fedllm: Command) -> None:
    fill = json.loads(out_of(fedllm, 5, "--json"))["fill"]
    suites = "--suite mt-bench --suite vicuna --suite advbench --suite mmlu"
    assert [way["command"] for way in fill] == [
        "fedllm-bench run experiments/paper/table5.toml",
        f"fedllm-bench eval runs/paper-table5 {suites} --judge endpoint:MODEL",
        "fedllm-bench table 5 runs/paper-table5 --with-paper",
    ]
    assert "Base Model" not in fill[0]["what"] and "base models" in fill[1]["what"]


def test_the_table_of_losses_explains_all_its_columns_and_local_training_sends_nothing(
    fedllm: Command, tmp_path: Path
) -> None:
    write_quickstart(tmp_path)
    said = " ".join(out_of(fedllm, tmp_path).split())
    assert "Worst 10%: mean over the tenth" in said and "Own client: mean over the clients that trained alone" in said
    rows = {row["method"]: row for row in json.loads(out_of(fedllm, tmp_path, "--json"))["rows"]}
    assert rows["local"]["bytes_up"] is None and rows["fedavg"]["bytes_up"] > 0
    assert fedllm("report", tmp_path).code == 0
    assert "<td>none</td><td>none</td>" in (tmp_path / "report.html").read_text().replace("\n", "")
