"""Answers side by side in the report: every method's words to the same question, safely, with the judge's."""

from pathlib import Path

import pytest

from command import Command
from fedllm_bench import records
from fedllm_bench.analysis.answers import answers
from fedllm_bench.analysis.frames import read_runs
from fedllm_bench.analysis.methods import group
from fedllm_bench.benchmark_scores import ItemScore, Scores, base_folder, write_scores
from run_folders import experiment, write_run

EVIL = '<script>alert(1)</script> & "quotes" </div>'


def write_answers(folder: Path, text: str, score: float | None, name: str = "vicuna-1.jsonl") -> None:
    """What `eval` leaves of one question."""
    row = {
        "question": "1",
        "prompts": ["How do rivers <b>flow</b>?"],
        "category": "generic",
        "language": "en",
        "references": ["Down."],
        "turns": [text],
        "stopped": [False],
        "tokens": [3],
        "cut": [False],
    }
    for kind in ("generations", "judgments"):
        (folder / kind).mkdir(parents=True)
    records.append(folder / "generations" / name, {"settings": {}}, row)
    judged = {"question": "1", "turn": 1, "metric": "vicuna", "judge": "small", "rubric": "vicuna@1"}
    reason = "" if score is not None else "no score in the reply"
    judged |= {"score": score, "unscored": reason, "raw": [f"I say {EVIL}"]}
    records.append(folder / "judgments" / name, judged)
    settings = {"judge": "small", "rubric": "vicuna@1", "answers": name, "judgments": name, "limit": 1, "seed": 0}
    write_scores(folder, Scores("vicuna", (ItemScore("vicuna", "1", score, reason, "generic", "en"),), settings))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for method, text, score in (("local", "Uphill.", 2.0), ("fedavg", EVIL, None)):
        run = write_run(tmp_path / "runs", experiment(algorithm={"name": method}))
        write_answers(run, text, score)
    first = read_runs([tmp_path / "runs"])[0]
    write_answers(base_folder(first.path, first.experiment), "Sideways.", 5.0)
    return tmp_path / "runs"


def test_every_question_is_shown_as_long_as_the_page_has_room(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedllm_bench.analysis import answers as module

    asked, totals = answers(group(read_runs([runs])))
    assert len(asked) == totals["vicuna"] == 1
    monkeypatch.setattr(module, "ROOM", len(asked[0].words) - 1)
    assert answers(group(read_runs([runs]))) == ([], totals)


def test_a_question_has_the_answers_of_all_methods_in_their_order(runs: Path) -> None:
    asked, totals = answers(group(read_runs([runs])))
    assert totals == {"vicuna": 1}
    (one,) = asked
    assert [(said.method, said.turns) for said in one.said] == [
        ("base", ("Sideways.",)),
        ("local", ("Uphill.",)),
        ("fedavg", (EVIL,)),
    ]
    assert [said.scores["Vicuna"] for said in one.said] == ["5", "2", "no score in the reply"]
    assert all(said.judged[0].startswith("I say") and said.cut for said in one.said)


def test_the_report_shows_them_and_runs_nothing_that_an_answer_says(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Command(capsys, monkeypatch)("report", runs)
    assert done.code == 0, done.err
    page = (runs / "report.html").read_text(encoding="utf-8")
    assert "Answers side by side" in page and "Uphill." in page and "Benchmarks" in page
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    assert 'data-benchmark="vicuna" data-category="generic" data-language="en"' in page


def test_a_report_of_runs_that_were_not_evaluated_has_no_benchmarks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "runs", experiment(algorithm={"name": "fedavg"}))
    assert Command(capsys, monkeypatch)("report", tmp_path / "runs").code == 0
    page = (tmp_path / "runs" / "report.html").read_text(encoding="utf-8")
    assert "Benchmarks" not in page and "side by side" not in page


def test_replies_of_a_judge_that_was_reminded_are_told_apart(runs: Path) -> None:
    path = next(path for path in runs.glob("*/judgments/vicuna-1.jsonl") if not path.parts[-3].startswith("base-"))
    rows = list(records.read(path))
    path.unlink()
    records.append(path, *({**row, "raw": ["Nice.", "[[5]]"]} for row in rows))
    judged = [said.judged[0] for said in answers(group(read_runs([runs])))[0][0].said]
    assert "Reply 1 of 2:\nNice.\n\nReply 2 of 2:\n[[5]]" in judged
