"""Tables of methods against groups of clients, own models and privacy, from run folders."""

import json
from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench import records
from fedllm_bench.analysis.by_group import by_group
from fedllm_bench.analysis.frames import read_runs
from fedllm_bench.analysis.methods import group
from fedllm_bench.analysis.report import write_report
from fedllm_bench.analysis.summary import caption, summarise
from fedllm_bench.analysis.tables import METHOD_COLUMNS, render
from fedllm_bench.errors import RunError
from run_folders import experiment, write_run

LANGUAGES = ("French", "Telugu")
SPENT = {
    "channel": "client-dp",
    "epsilon": 7.9,
    "delta": 1e-5,
    "adjacency": "add or remove one client",
    "sampling": "poisson",
    "accountant": "pld",
    "noise_multiplier": 0.6,
    "clip": 0.1,
    "reason": None,
    "assumes": ["who is in a cohort stays secret"],
}


def change(path: Path, **fields: Any) -> None:
    """Rewrite each record of a file with further fields; a field may be a function of the record."""
    rows = list(records.read(path))
    path.unlink()
    for row in rows:
        records.append(path, {**row, **{k: v(row) if callable(v) else v for k, v in fields.items()}})


def language(row: dict[str, Any]) -> str:
    return LANGUAGES[int(row["client"].rpartition("-")[2]) % 2]


def within(above: Path, group_name: str) -> Path:
    """A run of the clients of one language."""
    run = experiment(data={"group_by": "language", "group": group_name})
    folder = write_run(above, run, gain=0.4)
    rows = list(records.read(folder / "evaluations.jsonl"))
    (folder / "evaluations.jsonl").unlink()
    own = [{**row, "group": group_name} for row in rows if language(row) == group_name]
    records.append(folder / "evaluations.jsonl", *own)
    return folder


def test_runs_of_single_groups_are_one_method_and_their_clients_one_row(tmp_path: Path) -> None:
    together = write_run(tmp_path, experiment(data={"group_by": "language"}), gain=0.3)
    change(together / "evaluations.jsonl", group=language)
    apart = [within(tmp_path, name) for name in LANGUAGES]
    methods = group(read_runs([together, *apart]))
    trained = [method for method in methods if method.base is not None]
    assert sorted(len(method.runs) for method in trained) == [1, 2]
    rows = {row["method"]: row for row in by_group(methods)}
    joined = next(row for name, row in rows.items() if name.startswith("fedavg") and "group=each" in name)
    assert joined["French"]["clients"] == joined["Telugu"]["clients"] == 10
    losses = [row["loss"] for row in records.read(apart[0] / "evaluations.jsonl") if row["round"] == 4]
    assert joined["French"]["mean"] == pytest.approx(sum(losses) / len(losses))
    assert joined["average"] == pytest.approx((joined["French"]["mean"] + joined["Telugu"]["mean"]) / 2)


def test_a_table_by_group_needs_groups(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())
    with pytest.raises(RunError, match="do not say which groups"):
        by_group(group(read_runs([folder])))


def test_the_table_by_group_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in LANGUAGES:
        within(tmp_path, name)
    done = Command(capsys, monkeypatch)("table", tmp_path, "--by-group")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].split() == ["method", "French", "Telugu", "average"]


def test_own_models_are_shown_beside_the_shared_one(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment(algorithm={"name": "fedsa-lora"}))
    change(
        folder / "evaluations.jsonl",
        personal=lambda row: {"loss": row["loss"] - 0.1, "accuracy": 0.5} if row["client"] < "client-010" else None,
    )
    methods = group(read_runs([folder]))
    (row,) = (summary for summary in summarise(methods) if summary.method == "fedsa-lora")
    assert row.personal_change is not None
    assert row.personal_change.mean == pytest.approx(-0.1)
    assert "own" in render([summary.row() for summary in summarise(methods)], METHOD_COLUMNS).splitlines()[0]
    assert "10 clients that have one" in caption(methods)
    assert "own model" in write_report([folder], tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "cell", "note"),
    [
        ({}, "7.90", "Epsilon at delta = 1e-05, for datasets that differ by this: add or remove one client."),
        (
            {"epsilon": None, "claimed_epsilon": 0.1, "reason": "nothing bounds what one client sends"},
            "none",
            "No privacy is guaranteed by client-dp: nothing bounds what one client sends.",
        ),
    ],
)
def test_the_epsilon_that_is_guaranteed_is_shown(tmp_path: Path, changes: Any, cell: str, note: str) -> None:
    folder = write_run(tmp_path, experiment(channel=[{"name": "client-dp", "options": {}}]))
    change(folder / "rounds.jsonl", privacy={**SPENT, **changes})
    methods = group(read_runs([folder]))
    text = render([summary.row() for summary in summarise(methods)], METHOD_COLUMNS)
    assert cell in text
    assert ("claimed" in text) == ("claimed_epsilon" in changes)
    assert note in caption(methods)
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "<h2>Privacy</h2>" in page
    assert ("It holds as long as: who is in a cohort stays secret." in page) == (cell != "none")


def test_the_report_lists_departures_from_published_definitions(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())
    path = folder / "environment.json"
    row = {"setting": "local.optimizer", "published": "adamw", "here": "adamw_hf", "why": "epsilon stands outside"}
    path.write_text(json.dumps({**json.loads(path.read_text()), "deviations": [row]}))
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "Departures from the published definitions" in page
    assert "adamw_hf" in page
