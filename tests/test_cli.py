"""The command line: what goes to which stream, exit codes, and how failures are told."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedllm_bench import __version__, cli
from fedllm_bench.commands.runs import quickstart_file
from fedllm_bench.experiment import load
from run_folders import experiment, write_quickstart, write_run

TRIAL = """
name = "trial"
[federation]
rounds = 4
cohort = 3
[algorithm]
name = ["local", "fedavg"]
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Fedllm = Callable[..., Done]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Fedllm:
    """The command, run in this process."""

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["fedllm-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    file = tmp_path / "trial.toml"
    file.write_text(TRIAL)
    return file


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "quickstart"
    write_quickstart(folder)
    return folder


# --- help


def test_help_names_every_verb(fedllm: Fedllm) -> None:
    done = fedllm("--help")
    assert done.code == 0
    for verb in ("run", "table", "report", "data", "assets", "methods", "doctor", "quickstart"):
        assert f"\n  {verb} " in done.out


@pytest.mark.parametrize("verb", ["run", "table", "report", "data", "assets", "methods", "doctor", "quickstart"])
def test_every_verb_explains_itself_without_a_cut_summary(fedllm: Fedllm, verb: str) -> None:
    assert fedllm(verb, "--help").code == 0
    line = next(line for line in fedllm("--help").out.splitlines() if line.startswith(f"  {verb} "))
    assert not line.endswith("...")


def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "pydantic", "rich", "numpy", "matplotlib", "jinja2")
    program = (
        "import sys; from fedllm_bench import cli; cli.cli.main(['--help'], standalone_mode=False); "
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_version_is_the_packages(fedllm: Fedllm) -> None:
    assert __version__ in fedllm("--version").out


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fedllm_bench", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, __version__ in done.stdout) == (0, True)


# --- table


def test_a_table_goes_to_stdout_and_nothing_to_stderr(fedllm: Fedllm, quickstart: Path) -> None:
    done = fedllm("table", quickstart)
    assert (done.code, done.err) == (0, "")
    assert [word for word in ("base", "local", "fedavg") if word in done.out] == ["base", "local", "fedavg"]


def test_a_table_as_json_is_rows_with_method_and_loss(fedllm: Fedllm, quickstart: Path) -> None:
    for option in (["--json"], ["--format", "json"]):
        rows = json.loads(fedllm("table", quickstart, *option).out)["rows"]
        assert [row["method"] for row in rows] == ["base", "local", "fedavg"]
        losses = {row["method"]: row["held_out_loss"] for row in rows}
        assert losses["fedavg"]["mean"] < losses["local"]["mean"] < losses["base"]["mean"]
        assert all(loss["low"] <= loss["mean"] <= loss["high"] for loss in losses.values())


def test_a_table_as_csv_and_markdown_can_be_read_back(fedllm: Fedllm, quickstart: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(fedllm("table", quickstart, "--format", "csv").out)))
    assert [row["method"] for row in rows] == ["base", "local", "fedavg"]
    assert fedllm("table", quickstart, "--format", "md").out.startswith("| method | held-out loss |")


def test_several_runs_make_one_table(fedllm: Fedllm, quickstart: Path) -> None:
    folders = sorted(path for path in quickstart.iterdir())
    assert len(json.loads(fedllm("table", *folders, "--json").out)["rows"]) == 3


def test_a_folder_without_runs_is_bad_input_with_a_way_out(fedllm: Fedllm, quickstart: Path) -> None:
    done = fedllm("table", quickstart.parent)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {quickstart.parent} holds no run\nhint: runs are in {quickstart}\n"


# --- report


def test_a_report_prints_the_path_of_its_page(fedllm: Fedllm, quickstart: Path) -> None:
    done = fedllm("report", quickstart)
    assert (done.code, done.out) == (0, f"{quickstart / 'report.html'}\n")
    assert (quickstart / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_report_and_its_figures_go_where_they_are_sent(fedllm: Fedllm, quickstart: Path, tmp_path: Path) -> None:
    done = fedllm("report", quickstart, "--out", tmp_path / "page.html", "--figures", tmp_path / "figures")
    assert done.code == 0
    assert (tmp_path / "page.html").exists()
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".svg", ".png"}


# --- run


def test_a_dry_run_shows_every_run_and_starts_none(fedllm: Fedllm, trial: Path, tmp_path: Path) -> None:
    done = fedllm("run", trial, "--dry-run", "--runs", tmp_path / "out", "--json")
    rows = json.loads(done.out)["rows"]
    assert [row["method"] for row in rows] == ["local", "local", "fedavg"]
    assert [row["run_id"] for row in rows] == [run.run_id for run in load(trial)]
    assert {row["state"] for row in rows} == {"new"}
    assert {"tokens", "bytes_up", "bytes_down", "memory_bytes", "steps", "clients", "seed"} <= rows[0].keys()
    assert not (tmp_path / "out").exists()


def test_a_dry_run_without_model_and_data_says_what_is_unknown(fedllm: Fedllm, trial: Path) -> None:
    done = fedllm("run", trial, "--dry-run")
    assert done.code == 0
    assert "unknown" in done.out
    assert "fedllm-bench assets list" in " ".join(done.out.split())


def test_a_dry_run_tells_finished_and_unfinished_runs_from_new_ones(
    fedllm: Fedllm, trial: Path, tmp_path: Path
) -> None:
    first, second, _ = load(trial)
    write_run(tmp_path / "out" / "trial", first)
    write_run(tmp_path / "out" / "trial", second, rounds=2, complete=False)
    rows = json.loads(fedllm("run", trial, "--dry-run", "--runs", tmp_path / "out", "--json").out)["rows"]
    assert [row["state"] for row in rows] == ["finished", "unfinished", "new"]


def test_overrides_and_seeds_reach_the_runs(fedllm: Fedllm, trial: Path) -> None:
    done = fedllm("run", trial, "--dry-run", "--json", "--set", "algorithm.name=fedavg", "--seed", "3", "--seed", "4")
    assert [(row["method"], row["seed"]) for row in json.loads(done.out)["rows"]] == [("fedavg", 3), ("fedavg", 4)]


def test_finished_runs_are_left_alone_and_their_table_is_printed(fedllm: Fedllm, trial: Path, tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "out" / "trial", run) for run in load(trial)]
    before = {path: path.read_bytes() for folder in folders for path in folder.rglob("*.json*")}
    done = fedllm("run", trial, "--runs", tmp_path / "out", "--json")
    assert done.code == 0
    assert {row["method"] for row in json.loads(done.out)["rows"]} >= {"base", "fedavg"}
    assert "run 3 of 3: fedavg, seed 0" in done.err and "(finished)" in done.err
    assert all(path.read_bytes() == content for path, content in before.items())


def test_the_table_after_a_run_leaves_out_runs_of_other_settings(fedllm: Fedllm, trial: Path, tmp_path: Path) -> None:
    for run in [*load(trial), *load(trial, ["local.lr=1e-3"])]:
        write_run(tmp_path / "out" / "trial", run)
    done = fedllm("run", trial, "--runs", tmp_path / "out", "--json")
    assert "lr=" not in done.out


def test_the_quickstart_ends_with_the_table_and_a_report(fedllm: Fedllm, tmp_path: Path) -> None:
    for run in load(quickstart_file()):
        alone = ["client-000"] if run.data.drawn else None
        write_run(tmp_path / "out" / "quickstart", run, trained=alone)
    done = fedllm("quickstart", "--runs", tmp_path / "out", "--json")
    page = tmp_path / "out" / "quickstart" / "report.html"
    assert done.code == 0
    assert [row["method"] for row in json.loads(done.out)["rows"]] == ["base", "local", "fedavg"]
    assert f"report: {page}" in done.err
    assert page.exists()


def test_a_misspelt_key_is_bad_input_with_a_way_out(fedllm: Fedllm, trial: Path) -> None:
    done = fedllm("run", trial, "--set", "federation.round=3")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        f"error: {trial}: --set federation.round: unknown key",
        "hint: did you mean federation.rounds?",
    ]


def test_a_misspelt_method_is_bad_input_before_anything_runs(fedllm: Fedllm, trial: Path, tmp_path: Path) -> None:
    done = fedllm("run", trial, "--set", "algorithm.name=fedavgg", "--runs", tmp_path / "out")
    assert done.code == 2
    assert 'did you mean "fedavg"?' in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("algorithm.fedprox.mu=[0.1, -1]", "mu is -1"),
        ("objective.template=alpca", 'did you mean "alpaca"?'),
        ("model.base=no-such-model", "base model 'no-such-model'"),
    ],
)
def test_a_mistake_in_any_run_is_told_before_the_first_one_starts(
    fedllm: Fedllm, trial: Path, tmp_path: Path, change: str, told: str
) -> None:
    methods = 'algorithm.name=["fedavg", "fedprox"]'
    done = fedllm("run", trial, "--set", methods, "--set", change, "--runs", tmp_path / "out")
    assert done.code == 2
    assert told in done.err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_tells_apart_the_runs_of_one_method(fedllm: Fedllm, trial: Path) -> None:
    sweep = ("--set", "algorithm.name=fedprox", "--set", "algorithm.fedprox.mu=[0.01, 0.1]")
    done = fedllm("run", trial, "--dry-run", "--json", *sweep)
    assert [row["label"] for row in json.loads(done.out)["rows"]] == ["fedprox mu=0.01", "fedprox mu=0.1"]


def test_a_missing_file_is_bad_input(fedllm: Fedllm, tmp_path: Path) -> None:
    done = fedllm("run", tmp_path / "none.toml")
    assert (done.code, done.err) == (2, f"error: {tmp_path / 'none.toml'}: no such experiment file\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["run"],
        ["table"],
        ["run", "x.toml", "--seed", "-1"],
        ["table", "x", "--format", "pdf"],
        ["run", "--bogus"],
    ],
)
def test_a_command_line_that_makes_no_sense_is_bad_input(fedllm: Fedllm, arguments: list[str]) -> None:
    done = fedllm(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err


# --- failures


def test_an_unexpected_failure_is_one_line_and_a_way_to_see_more(fedllm: Fedllm, tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())
    (folder / "rounds.jsonl").write_text('{"round": 1, "cohort": []}\n')
    done = fedllm("table", folder)
    assert (done.code, done.out) == (1, "")
    first, second = done.err.splitlines()
    assert first.startswith("error: KeyError: ")
    assert second == "hint: set FEDLLM_BENCH_DEBUG=1 to see where it happened"


def test_an_unexpected_failure_shows_where_it_happened_when_asked(
    fedllm: Fedllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path, experiment())
    (folder / "rounds.jsonl").write_text('{"round": 1, "cohort": []}\n')
    monkeypatch.setenv("FEDLLM_BENCH_DEBUG", "1")
    with pytest.raises(KeyError):
        fedllm("table", folder)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="waits on a named pipe")
def test_an_interrupt_ends_with_one_line_and_exit_code_one(tmp_path: Path) -> None:
    pipe = tmp_path / "never.toml"
    os.mkfifo(pipe)  # reading it waits for a writer, as a long run would wait for its end
    command = [sys.executable, "-m", "fedllm_bench", "run", str(pipe)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    writer = _open_once_read(pipe)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    os.close(writer)
    assert (process.returncode, out) == (1, "")
    assert err.strip() == "interrupted: run again to continue"


def _open_once_read(pipe: Path) -> int:
    """Open a pipe for writing as soon as somebody reads it."""
    for _ in range(600):
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(pipe)


def test_a_reader_that_stops_early_is_no_traceback(quickstart: Path) -> None:
    command = f"{sys.executable} -m fedllm_bench table {quickstart} --json | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_a_screen_that_lacks_characters_still_gets_its_table(quickstart: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "fedllm_bench", "table", str(quickstart)]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"fedavg" in done.stdout


# --- catalogues


def test_methods_are_listed_with_what_they_do(fedllm: Fedllm) -> None:
    rows = {row["name"]: row for row in json.loads(fedllm("methods", "--json").out)["rows"]}
    assert {"fedavg", "local"} <= rows.keys()
    assert all(row["summary"] and "needs" in row for row in rows.values())
    assert "fedavg" in fedllm("methods").out


def test_datasets_are_listed(fedllm: Fedllm) -> None:
    rows = json.loads(fedllm("data", "list", "--json").out)["rows"]
    assert "fed-chitchat" in [row["name"] for row in rows]


@pytest.mark.parametrize("verb", ["build", "describe"])
def test_a_misspelt_dataset_is_bad_input(fedllm: Fedllm, verb: str) -> None:
    done = fedllm("data", verb, "fed-chitchatt")
    assert (done.code, done.err.splitlines()[1]) == (2, 'hint: did you mean "fed-chitchat"?')


def test_a_misspelt_data_setting_is_bad_input(fedllm: Fedllm) -> None:
    done = fedllm("data", "describe", "fed-chitchat", "--set", "data.min_sample=3")
    assert (done.code, done.err.splitlines()[1]) == (2, "hint: did you mean data.min_samples?")


def test_assets_are_listed_with_licence_and_state(fedllm: Fedllm) -> None:
    rows = {row["name"]: row for row in json.loads(fedllm("assets", "list", "--json").out)["rows"]}
    assert (rows["chitchat"]["licence"], rows["chitchat"]["state"]) == ("MIT", "not fetched")


def test_a_file_of_the_users_can_be_named_found_and_listed(fedllm: Fedllm, tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text("{}")
    assert fedllm("assets", "add", "mine", mine, "--licence", "CC0-1.0").out == f"{mine}\n"
    assert fedllm("assets", "where", "mine").out == f"{mine}\n"
    assert fedllm("assets", "fetch", "mine").out == f"{mine}\n"
    rows = {row["name"]: row for row in json.loads(fedllm("assets", "list", "--json").out)["rows"]}
    assert (rows["mine"]["state"], rows["mine"]["licence"]) == ("added", "CC0-1.0")


@pytest.mark.parametrize("verb", ["where", "fetch"])
def test_an_unknown_asset_is_bad_input(fedllm: Fedllm, verb: str) -> None:
    done = fedllm("assets", verb, "chitcat")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[1].startswith("hint: did you mean")


# --- doctor


def test_the_doctor_finds_a_healthy_machine_healthy(fedllm: Fedllm) -> None:
    done = fedllm("doctor", "--json")
    rows = {row["name"]: row for row in json.loads(done.out)["rows"]}
    assert done.code == 0
    assert {"python", "torch", "device", "threads", "bf16", "cache", "disk", "compiler", "colour"} <= rows.keys()
    assert rows["python"]["status"] == rows["cache"]["status"] == "ok"
    assert all(set(row) == {"name", "status", "detail", "hint"} for row in rows.values())


def test_an_asset_that_is_not_here_yet_is_a_note_with_a_hint(fedllm: Fedllm) -> None:
    rows = {row["name"]: row for row in json.loads(fedllm("doctor", "--json").out)["rows"]}
    assert rows["asset chitchat"]["status"] == "note"
    assert "fedllm-bench assets fetch chitchat" in rows["asset chitchat"]["hint"]


def test_a_cache_that_cannot_be_written_is_broken(fedllm: Fedllm, cache: Path) -> None:
    cache.write_text("a file in its place")
    done = fedllm("doctor", "--json")
    rows = {row["name"]: row for row in json.loads(done.out)["rows"]}
    assert (done.code, rows["cache"]["status"]) == (1, "broken")
    assert "FEDLLM_BENCH_CACHE" in rows["cache"]["hint"]


def test_an_added_file_that_is_gone_is_broken(fedllm: Fedllm, tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text("{}")
    fedllm("assets", "add", "mine", mine)
    mine.unlink()
    done = fedllm("doctor", "--json")
    rows = {row["name"]: row for row in json.loads(done.out)["rows"]}
    assert (done.code, rows["asset mine"]["status"]) == (1, "broken")


def test_the_doctor_says_when_colour_is_turned_off(fedllm: Fedllm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    rows = {row["name"]: row for row in json.loads(fedllm("doctor", "--json").out)["rows"]}
    assert rows["colour"]["detail"] == "off: NO_COLOR is set"


def test_the_doctors_table_is_readable_in_a_terminal(fedllm: Fedllm) -> None:
    done = fedllm("doctor")
    assert max(len(line) for line in done.out.splitlines()) <= 80
