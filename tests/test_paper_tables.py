"""The paper's tables from run folders with made-up scores, as a user asks for them."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench.analysis import comparison
from fedllm_bench.analysis.frames import read_runs
from fedllm_bench.analysis.paper_filled import Filled, fill
from fedllm_bench.analysis.paper_results import printed
from fedllm_bench.analysis.paper_tables import PAPER_TABLES
from fedllm_bench.analysis.paper_words import caption, columns_of
from fedllm_bench.analysis.paper_words import rows_of as rows_from
from fedllm_bench.analysis.scoreboard import NO_RUN
from fedllm_bench.analysis.tables import render
from fedllm_bench.benchmark_scores import BENCHMARKS, ItemScore, Scores, write_scores
from run_folders import experiment, write_run
from scored_runs import SETTINGS, made_scores, write_base_scores, write_scored, write_table3

FEW = ("fedavg", "fedprox", "fedadam")


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    """What tables show does not hang on how fine their intervals are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "RESAMPLES", 1000)
        yield


@pytest.fixture(scope="module")
def table3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    above = tmp_path_factory.mktemp("table3") / "mine"
    runs = write_table3(above, FEW)
    write_base_scores(runs[0], -1.0)
    return above


@pytest.fixture(scope="module")
def filled(table3: Path) -> Filled:
    return fill(PAPER_TABLES[3], read_runs([table3]))


@pytest.fixture(scope="module")
def shown(filled: Filled) -> dict[str, dict[str, Any]]:
    """Rows by title, with the paper's numbers."""
    return {row["method"]: row for row in rows_from(filled, with_paper=True)}


def rows_of(fedllm: Command, *arguments: Any) -> dict[str, dict[str, Any]]:
    done = fedllm("table", *arguments, "--json")
    assert done.code == 0, done.err
    return {row.get("method", row.get("metric")): row for row in json.loads(done.out)["rows"]}


# --- what the paper prints


def test_printed_averages_are_those_of_the_printed_columns_to_the_last_digit_or_kept_as_they_are() -> None:
    facts = printed(3)
    assert facts.value("FedAvg", "average") == 5.51 == round((4.30 + 6.93 + 5.29) / 3, 2)
    assert facts.value("FedAvg", "no such column") is facts.value("no such row", "mmlu") is None


@pytest.mark.parametrize("number", sorted(PAPER_TABLES))
def test_every_column_and_row_of_the_paper_has_its_number(number: int) -> None:
    filled = fill(PAPER_TABLES[number], [])
    keys = [heading.key for heading in filled.table.headings]
    assert tuple(keys) == filled.printed.columns
    assert [row.title for row in filled.rows] == list(filled.printed.rows)
    assert all(filled.printed.value(row.title, key) is not None for row in filled.rows for key in keys)
    assert {cell.missing for cells in filled.board.cells.values() for cell in cells.values()} == {NO_RUN}


@pytest.mark.parametrize("number", range(1, 9))
def test_a_table_without_runs_is_the_papers_with_the_way_to_ones_own(fedllm: Command, number: int) -> None:
    done = fedllm("table", str(number))
    assert (done.code, done.err) == (0, "")
    if number in PAPER_TABLES:
        assert "paper " in done.out and "fedllm-bench run" in done.out and "experiments/paper/table" in done.out


# --- table 3


def test_table_3_has_the_papers_columns_and_rows_with_intervals_and_counts(fedllm: Command, table3: Path) -> None:
    rows = rows_of(fedllm, "3", table3, "--with-paper")
    assert list(rows) == ["Base Model", *printed(3).rows]
    cell = rows["FedAvg"]["vicuna"]
    assert cell["low"] < cell["mean"] < cell["high"]
    assert (cell["n"], cell["unscored"], cell["paper"]) == (80, 0, 6.93)
    assert rows["Base Model"]["mmlu"]["paper"] is None


def test_the_average_is_that_of_three_columns(shown: dict[str, dict[str, Any]]) -> None:
    row = shown["FedProx"]
    parts = [row[key]["mean"] for key in ("mt-bench-1", "vicuna", "ref-judge")]
    assert row["average"]["mean"] == pytest.approx(sum(parts) / 3)
    assert row["average"]["paper"] == 5.49


def test_local_training_is_the_mean_over_its_two_clients(shown: dict[str, dict[str, Any]]) -> None:
    assert shown["Local Training"]["humaneval"]["replicas"] == 2


def test_what_cannot_be_told_from_fedavg_is_marked_and_what_can_is_not(
    filled: Filled, shown: dict[str, dict[str, Any]]
) -> None:
    assert shown["FedAdam"]["vicuna"]["against"]["fedavg"]["holm"] < 0.05
    assert shown["FedProx"]["vicuna"]["against"]["fedavg"]["holm"] >= 0.05
    assert set(shown["FedAvg"]["vicuna"]["against"]) == {"local"}
    text = render(rows_from(filled, False), columns_of(filled, form="md"), "md")
    lines = {line.split("|")[1].strip(): line.split("|")[3] for line in text.splitlines()}
    assert "~" in lines["FedProx"] and "~" not in lines["FedAdam"] + lines["FedAvg"]


def test_correction_is_never_below_the_p_it_corrects(shown: dict[str, dict[str, Any]]) -> None:
    cells = [cell for row in shown.values() for cell in row.values() if isinstance(cell, dict)]
    found = [each for cell in cells for each in cell["against"].values()]
    assert len(found) == 2 * 4 * 6  # five models against each of two, each but itself, in six columns
    assert all(each["p"] <= each["holm"] <= 1 and each["low"] <= each["mean"] <= each["high"] for each in found)


def test_how_firm_the_order_is_and_who_judged_stand_below(filled: Filled) -> None:
    assert set(filled.board.stability) == {heading.key for heading in PAPER_TABLES[3].headings}
    assert all(0 <= each.first_share <= 1 for each in filled.board.stability.values())
    text = caption(filled, False)
    assert "Runs here: smollm2-135m on fed-chitchat." in text
    assert "How firm the order is" in text and "Judged by scripted:made-up" in text


@pytest.mark.parametrize("form", ["text", "md", "tex", "csv", "json"])
def test_every_format_has_every_row(filled: Filled, form: str) -> None:
    out = render(rows_from(filled, True, form == "csv"), columns_of(filled, True, form), form, "A note.")
    assert all(name in out for name in printed(3).rows)
    if form == "text":
        assert max(map(len, out.splitlines())) <= 80


def test_csv_cells_are_numbers(fedllm: Command, table3: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(fedllm("table", "3", table3, "--format", "csv", "--with-paper").out)))
    row = next(row for row in rows if row["method"] == "FedProx")
    assert float(row["mmlu_low"]) < float(row["mmlu"]) < float(row["mmlu_high"])
    assert float(row["mmlu_paper"]) == 46.12 and 0 <= float(row["mmlu_fedavg_holm"]) <= 1
    assert "{" not in "".join(row.values())


def test_a_missing_benchmark_is_a_dash_with_the_command_that_fills_it(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path / "mine", experiment(), 0.0, ["vicuna"])
    content = json.loads(fedllm("table", "3", run, "--json").out)
    assert {row["method"]: row["mmlu"]["mean"] for row in content["rows"]}["FedAvg"] is None
    commands = [way["command"] for way in content["fill"]]
    suites = " ".join(f"--suite {name}" for name in ("mt-bench", "ref-judge", "humaneval", "mmlu"))
    assert f"fedllm-bench eval {run} {suites} --judge endpoint:MODEL" in commands
    assert "fedllm-bench run experiments/paper/table3.toml" in commands


def test_a_benchmark_that_could_not_run_says_why_and_how(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path / "mine", experiment(), 0.0, ["vicuna"])
    write_scores(run, Scores("mmlu", (), {}, "no questions are here", "put them below FEDLLM_BENCH_DATA"))
    text = " ".join(fedllm("table", "3", run).out.split())
    assert "no questions are here: put them below FEDLLM_BENCH_DATA" in text


def test_scores_without_a_judge_are_a_dash_and_say_so(fedllm: Command, tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine", experiment())
    items = tuple(ItemScore("vicuna", str(place), None, "no judge") for place in range(3))
    write_scores(run, Scores("vicuna", items, {**SETTINGS, "judge": None}))
    done = fedllm("table", "3", run, "--json")
    cell = json.loads(done.out)["rows"][1]["vicuna"]
    assert (cell["mean"], cell["n"], cell["unscored"]) == (None, 0, 3)
    assert cell["missing"] == "no item has a score (no judge)" and "--judge" in cell["hint"]


def test_unscored_items_are_counted_and_not_averaged(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path / "mine", experiment(), 0.0, ["vicuna"], unscored=5)
    cell = rows_of(fedllm, "3", run)["FedAvg"]["vicuna"]
    assert (cell["n"], cell["unscored"], cell["reasons"]) == (75, 5, {"no rating in the reply": 5})
    assert "5 unscored" in fedllm("table", "3", run).out


def test_scores_of_different_judges_are_shown_and_not_compared(fedllm: Command, tmp_path: Path) -> None:
    above = tmp_path / "mine"
    write_scored(above, experiment(), 0.0, ["vicuna"])
    other = {**SETTINGS, "judge": "endpoint:another"}
    write_scored(above, experiment(algorithm={"name": "fedprox"}), 2.0, ["vicuna"], settings=other)
    assert rows_of(fedllm, "3", above)["FedProx"]["vicuna"]["against"] == {}
    text = " ".join(fedllm("table", "3", above).out.split())
    assert "Rows of Vicuna are by different judges" in text and "How firm" not in text


def test_seeds_are_one_row_and_settings_are_several(fedllm: Command, tmp_path: Path) -> None:
    above = tmp_path / "mine"
    for seed in (0, 1):
        write_scored(above, experiment(seed=seed), 0.0, ["vicuna"])
    write_scored(above, experiment(algorithm={"name": "fedprox"}), 0.0, ["vicuna"])
    write_scored(above, experiment(algorithm={"name": "fedprox"}, local={"lr": 1e-3}), 0.0, ["vicuna"])
    rows = rows_of(fedllm, "3", above, "--with-paper")
    assert rows["FedAvg"]["vicuna"]["replicas"] == 2
    assert {title for title in rows if title.startswith("FedProx")} == {"FedProx lr=0.0002", "FedProx lr=0.001"}
    assert rows["FedProx lr=0.001"]["vicuna"]["paper"] == 7.21


def test_a_method_the_paper_does_not_have_follows_its_rows(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path / "mine", experiment(algorithm={"name": "ffa-lora"}), 0.0, ["vicuna"])
    rows = rows_of(fedllm, "3", tmp_path / "mine", "--with-paper")
    assert list(rows)[-1] == "ffa-lora" and rows["ffa-lora"]["vicuna"]["paper"] is None


def test_broken_scores_are_bad_input_that_names_the_file(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path / "mine", experiment(), 0.0, ["vicuna"])
    (run / "scores" / "vicuna.jsonl").write_text("{\n")
    done = fedllm("table", "3", run)
    assert (done.code, done.out) == (2, "")
    assert "vicuna.jsonl" in done.err and "hint:" in done.err


def test_a_folder_that_is_not_there_is_bad_input(fedllm: Command, tmp_path: Path) -> None:
    assert fedllm("table", "3", tmp_path / "nowhere").code == 2


def test_a_folder_named_like_a_table_is_still_a_folder(
    fedllm: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "3", experiment())
    assert "held-out" in fedllm("table", "3").out


# --- the other tables


def test_table_2_has_a_row_for_the_client_of_each_language(fedllm: Command, tmp_path: Path) -> None:
    def data(**more: Any) -> dict[str, Any]:
        return {"name": "fed-aya", "group_by": "language", **more}

    local = {"algorithm": {"name": "local"}}
    for group in ("Standard Arabic", "Telugu"):
        write_scored(tmp_path / "mine", experiment(**local, data=data(group=group)), -0.5, ["ref-judge"])
    write_scored(tmp_path / "mine", experiment(data=data()), 0.0, ["ref-judge"])
    rows = rows_of(fedllm, "2", tmp_path / "mine", "--with-paper")
    assert rows["Local Training (te)"]["te"]["mean"] is not None
    assert rows["Local Training (en)"]["te"]["mean"] is None
    assert rows["FedAvg"]["te"]["paper"] == 2.0
    assert set(rows["FedAvg"]["te"]["against"]) == {"local"} and rows["FedAvg"]["en"]["against"] == {}
    codes = ("ar", "en", "es", "fr", "pt", "ru", "te", "zh")
    means = [rows["FedAvg"][code]["mean"] for code in codes]
    assert rows["FedAvg"]["average"]["mean"] == pytest.approx(sum(means) / 8)
    assert rows["FedAvg"]["average"]["n"] == 50


def test_languages_may_be_codes_or_names(fedllm: Command, tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine", experiment())
    tongues = ("arb", "Standard Arabic", "Standard_Arabic", "ar-EG", "zh-Hans", "en")
    items = tuple(ItemScore("ref-judge", str(n), 1.0 + n, language=each) for n, each in enumerate(tongues))
    write_scores(run, Scores("ref-judge", items, SETTINGS))
    row = rows_of(fedllm, "2", run)["FedAvg"]
    assert [row[code]["n"] for code in ("ar", "zh", "en", "fr")] == [4, 1, 1, 0]
    assert row["fr"]["missing"] == "no item in fr"


def test_table_4_keeps_single_and_multi_turn_apart(fedllm: Command, tmp_path: Path) -> None:
    for kind, skill in (("single", 0.0), ("multi", 2.0)):
        name = "fed-wildchat" if kind == "single" else "fed-wildchat-multi"
        run = experiment(name=f"paper-table4-{kind}", data={"name": name}, objective={"template": "vicuna"})
        write_scored(tmp_path / kind, run, skill, ["mt-bench", "vicuna", "ref-judge"])
    rows = rows_of(fedllm, "4", tmp_path / "single", tmp_path / "multi", "--with-paper")
    assert [title for title in rows if title.startswith("FedAvg")] == ["FedAvg", "FedAvgM"]
    row = rows["FedAvg"]
    assert row["multi/mt-bench-1"]["mean"] > row["single/mt-bench-1"]["mean"] + 1
    assert row["multi/mt-bench-2"]["paper"] == 3.15
    alone = rows_of(fedllm, "4", tmp_path / "single")["FedAvg"]
    assert alone["multi/ref-judge"]["mean"] is None


def test_table_5_always_has_the_base_model(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path / "mine", experiment(objective={"name": "dpo"}), 0.0)
    cell = rows_of(fedllm, "5", run, "--with-paper")["Base Model"]["advbench"]
    assert (cell["mean"], cell["paper"], cell["missing"]) == (None, 9.4, "not evaluated")
    write_base_scores(run, -1.0)
    rows = rows_of(fedllm, "5", run)
    assert rows["Base Model"]["advbench"]["n"] == 520
    assert "fedavg" in rows["Base Model"]["mmlu"]["against"]


def test_table_6_answers_a_language_by_the_model_of_its_group(fedllm: Command, tmp_path: Path) -> None:
    groups = {"romance": ["French", "Spanish", "Portuguese"]}
    same = {"name": "fed-aya", "group_by": "language", "group": "French"}
    near = {"name": "fed-aya-wide", "group_by": "language", "group": "romance", "groups": groups}
    for data, skill in ((same, 0.0), (near, 1.0), ({"name": "fed-aya"}, 0.5)):
        write_scored(tmp_path / "mine", experiment(data=data), skill, ["ref-judge"])
    rows = rows_of(fedllm, "6", tmp_path / "mine", "--with-paper")
    known = {title: [code for code in ("ar", "es", "en", "fr", "pt") if rows[title][code]["n"]] for title in rows}
    assert known["FedSamLang"] == ["fr"]
    assert known["FedSimLang"] == ["es", "fr", "pt"]
    assert known["FedAvg"] == ["ar", "es", "en", "fr", "pt"] and known["Local"] == []
    assert rows["FedSamLang"]["average"]["mean"] is None and rows["FedAvg"]["average"]["mean"] is not None


def test_table_8_lies_across_with_a_column_for_each_noise(fedllm: Command, tmp_path: Path) -> None:
    for sigma in (1e-3, 1.0):
        channel = [{"name": "paper-noise", "options": {"sigma": sigma}}]
        write_scored(tmp_path / "mine", experiment(channel=channel), -sigma, ["mt-bench"])
    write_scored(tmp_path / "mine", experiment(), 0.0, ["mt-bench"])
    local = experiment(algorithm={"name": "local"}, data={"client_samples": 1702})
    write_scored(tmp_path / "mine", local, -0.5, ["mt-bench"])
    row = rows_of(fedllm, "8", tmp_path / "mine", "--with-paper")["mt-bench-1"]
    assert [title for title, cell in row.items() if title != "metric" and cell["mean"] is not None] == [
        "local(1702)", "FedAvg", "FedDP sigma=1e-3", "FedDP sigma=1",
    ]  # fmt: skip
    assert row["FedDP sigma=1e-3"]["paper"] == 4.675
    assert "paper 3.5375" in " ".join(fedllm("table", "8").out.split())


def test_table_7_has_the_papers_row_below_each_of_ours_and_those_of_runs(fedllm: Command, tmp_path: Path) -> None:
    write_run(tmp_path / "mine", experiment())
    rows = json.loads(fedllm("table", "7", tmp_path / "mine", "--with-paper", "--json").out)["rows"]
    assert len(rows) == 11
    for ours, theirs in zip(rows[0:10:2], rows[1:10:2], strict=True):
        assert {**ours, "file": ""} == {**theirs, "file": ""}
    assert rows[-1]["file"] == "runs of quickstart" and rows[-1]["rounds"] == 4


# --- any runs: --metrics and --json


def test_metrics_are_columns_with_counts_and_all_six_benchmarks(fedllm: Command, table3: Path) -> None:
    done = fedllm("table", table3, "--metrics", "--json")
    rows = {row["method"]: row["metrics"] for row in json.loads(done.out)["rows"]}
    assert set(rows) == {"base", "local", *FEW}
    assert all(set(BENCHMARKS) <= set(metrics) for metrics in rows.values())
    assert {"mean", "low", "high", "n", "unscored", "missing"} <= set(rows["base"]["humaneval"])
    text = fedllm("table", table3, "--metrics").out
    assert "n=164" in text and "MMLU" in text and max(map(len, text.splitlines())) <= 80


def test_the_ordinary_table_as_json_has_the_metrics_too(fedllm: Command, table3: Path) -> None:
    rows = json.loads(fedllm("table", table3, "--json").out)["rows"]
    assert all({"held_out_loss", "metrics"} <= set(row) for row in rows)


def test_runs_that_nobody_evaluated_are_told_how(fedllm: Command, tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine", experiment())
    done = fedllm("table", run, "--metrics")
    assert done.code == 0
    text = "".join(done.out.split())  # lines are broken within long paths
    assert f"notevaluated:fedllm-bencheval{run}" in text and "Brackets" not in text
    metrics = json.loads(fedllm("table", run, "--metrics", "--json").out)["rows"][0]["metrics"]
    assert set(metrics) == set(BENCHMARKS)
    assert all((cell["mean"], cell["missing"]) == (None, "not evaluated") for cell in metrics.values())


def test_lower_is_better_where_the_metric_says_so(fedllm: Command, tmp_path: Path) -> None:
    for name, loss in (("fedavg", 2.0), ("fedprox", 1.0)):
        run = write_run(tmp_path / "mine", experiment(algorithm={"name": name}))
        items = tuple(ItemScore("ref-loss", str(n), loss + n / 100) for n in range(9))
        write_scores(run, Scores("ref-judge", items, SETTINGS))
    text = " ".join(fedllm("table", tmp_path / "mine", "--metrics").out.split())
    assert "ref. loss: fedprox in 100%, tau 1.00, n=9." in text


def test_marks_may_be_against_local_training(fedllm: Command, table3: Path) -> None:
    out = fedllm("table", table3, "--metrics", "--against", "local").out
    assert "cannot be told from local" in " ".join(out.split())


def test_the_numbers_of_one_benchmark_do_not_depend_on_which_runs_stand_beside(tmp_path: Path) -> None:
    write_table3(tmp_path / "all", FEW[:2])
    table = PAPER_TABLES[3]
    many = fill(table, read_runs([tmp_path / "all"]))
    run = next(run for run in read_runs([tmp_path / "all"]) if run.algorithm == "fedavg")
    alone = fill(table, [run]).board.cells["FedAvg"]["vicuna"]
    found = many.board.cells["FedAvg"]["vicuna"]
    assert (alone.mean, alone.low, alone.high) == (found.mean, found.low, found.high)


def test_made_up_scores_are_the_same_every_time() -> None:
    assert made_scores("vicuna", 0.0, "a") == made_scores("vicuna", 0.0, "a") != made_scores("vicuna", 0.0, "b")
