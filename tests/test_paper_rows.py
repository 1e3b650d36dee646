"""Whose runs are a row of the paper, what it prints there, and what is asked for in vain."""

import json
from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench.analysis.frames import Run, read_run
from fedllm_bench.analysis.paper_results import printed
from fedllm_bench.analysis.paper_rows import chats
from fedllm_bench.commands.runs import experiments_folder
from fedllm_bench.experiment import load
from run_folders import experiment, write_run
from scored_runs import write_scored

NOISE = {"name": "paper-noise", "options": {"sigma": 0.1}}


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


def document(fedllm: Command, *arguments: Any) -> dict[str, Any]:
    done = fedllm("table", *arguments, "--with-paper", "--json")
    assert done.code == 0, done.err
    content: dict[str, Any] = json.loads(done.out)
    return content


def rows_of(fedllm: Command, *arguments: Any) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in document(fedllm, *arguments)["rows"]}


def named(folder: Path, name: str, data: str = "fed-wildchat") -> Run:
    return read_run(write_run(folder, experiment(name=name, data={"name": data})))


# --- rows


def test_noise_does_not_take_fedavgs_place(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0, ["vicuna"])
    write_scored(tmp_path, experiment(channel=[NOISE]), -1.0, ["vicuna"])
    write_scored(tmp_path, experiment(algorithm={"name": "fedprox"}), -2.0, ["vicuna"])
    rows = rows_of(fedllm, 3, tmp_path)
    assert rows["FedAvg"]["vicuna"]["paper"] == 6.93
    assert rows["FedAvg + paper-noise"]["vicuna"]["paper"] is None
    assert set(rows["FedProx"]["vicuna"]["against"]) == {"fedavg"}
    metrics = {
        row["method"]: row["metrics"]["vicuna"] for row in json.loads(fedllm("table", tmp_path, "--json").out)["rows"]
    }
    assert set(metrics["fedprox"]["against"]) == {"fedavg"}


def test_the_papers_files_fill_the_papers_rows_alone(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(channel=[NOISE]), 0.0, ["vicuna"])
    filled = {way["command"]: way["what"] for way in document(fedllm, 4, tmp_path)["fill"]}
    assert "FedAvg" in filled["fedllm-bench run experiments/paper/table4-multi.toml"].split(", ")
    assert "paper-noise" not in " ".join(filled.values())


def test_training_within_groups_does_not_take_fedavgs_place(fedllm: Command, tmp_path: Path) -> None:
    data = {"name": "fed-aya", "group_by": "language"}
    write_scored(tmp_path, experiment(data=data), 0.0, ["ref-judge"])
    for group in ("French", "Spanish"):
        write_scored(tmp_path, experiment(data={**data, "group": group}), 0.0, ["ref-judge"])
    rows = rows_of(fedllm, 2, tmp_path)
    assert [title for title in rows if title.startswith("FedAvg")] == ["FedAvg", "FedAvgM", "FedAvg in groups"]
    assert rows["FedAvg in groups"]["fr"]["paper"] is None
    assert set(rows["FedAvg in groups"]["fr"]["against"]) == {"fedavg"}


def test_several_rows_of_fedavg_are_said_to_be_in_the_way(fedllm: Command, tmp_path: Path) -> None:
    for lr in (2e-4, 1e-3):
        write_scored(tmp_path, experiment(local={"lr": lr}), 0.0, ["vicuna"])
    write_scored(tmp_path, experiment(algorithm={"name": "fedprox"}), 0.0, ["vicuna"])
    said = "Several rows are FedAvg: nothing is compared with it."
    assert said in " ".join(fedllm("table", "3", tmp_path).out.split())
    assert said not in " ".join(fedllm("table", "3", tmp_path, "--against", "local").out.split())
    assert "Several rows are fedavg" in " ".join(fedllm("table", tmp_path, "--metrics").out.split())


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("paper-table4-multi", "fed-wildchat", "multi"),
        ("multi-turn-study", "fed-wildchat", "multi"),
        ("mine", "fed-wildchat-multi", "multi"),
        ("multilingual-study", "fed-wildchat", "single"),
        ("multi-seed", "fed-wildchat", "single"),
        ("mine", "fed-multilingual", "single"),
    ],
)
def test_several_turns_are_told_by_the_last_word_of_a_name(tmp_path: Path, name: str, data: str, kind: str) -> None:
    assert chats(named(tmp_path, name, data)) == kind


def test_noise_is_found_behind_another_channel_and_is_not_the_papers_row(fedllm: Command, tmp_path: Path) -> None:
    channels = [{"name": "quantise", "options": {"bits": 8}}, NOISE]
    write_scored(tmp_path, experiment(channel=channels), 0.0, ["mt-bench"])
    write_scored(tmp_path, experiment(channel=[NOISE]), 0.0, ["mt-bench"])
    content = document(fedllm, 8, tmp_path)
    row = content["rows"][0]
    assert content["left_out"] == []
    assert row["FedDP sigma=0.1 + quantise"]["n"] == 80 and row["FedDP sigma=0.1 + quantise"]["paper"] is None
    assert row["FedDP sigma=0.1"]["n"] == 80 and row["FedDP sigma=0.1"]["paper"] == 4.5375


# --- what is printed


@pytest.mark.parametrize(("number", "said"), [(8, ("4.5500", "4.6750")), (5, ("11.0", "16.2", "9.40", "39.70"))])
def test_numbers_of_the_paper_stand_as_they_are_printed(fedllm: Command, number: int, said: tuple[str, ...]) -> None:
    text = " ".join(fedllm("table", str(number)).out.split())
    assert all(f"paper {each} " in text for each in said)
    assert "11.00" not in text


def test_a_printed_number_is_a_number_and_keeps_its_digits() -> None:
    value = printed(5).value("FedAvg", "mmlu")
    assert (value, str(value), json.dumps(value)) == (39.7, "39.70", "39.7")


@pytest.mark.parametrize("file", ["table8", "figure6"])
def test_experiments_of_privacy_take_steps_of_one_sample_as_appendix_d_says(file: str) -> None:
    found = load(experiments_folder() / "paper" / f"{file}.toml")
    assert {(run.local.batch_size, run.local.accumulation) for run in found} == {(1, 1)}


# --- what there is not


@pytest.mark.parametrize("number", ["0", "9", "03", "10"])
def test_a_table_that_the_paper_does_not_have_is_bad_input(fedllm: Command, number: str) -> None:
    done = fedllm("table", number)
    assert done.code == 2 and "tables are 1 to 8" in done.err


@pytest.mark.parametrize(
    "arguments", [("3", "--by-group"), ("2", "--metrics"), (".", "--with-paper"), (".", "--by-group", "--metrics")]
)
def test_options_that_would_do_nothing_are_bad_input(fedllm: Command, arguments: tuple[str, ...]) -> None:
    done = fedllm("table", *arguments)
    assert done.code == 2 and ("do not go together" in done.err or "needs a table's number" in done.err)
