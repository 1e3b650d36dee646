"""Miniature runs of the paper's experiment files, evaluated with a real server as judge, fill the paper's tables."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark_files import take_as_assets
from command import Command
from end_to_end.test_paper import FILES, LANGUAGES, MINIATURE, SETS, official, sets_of
from fedllm_bench import records
from fedllm_bench.benchmark_scores import BENCHMARKS
from fedllm_bench.experiment import load
from fedllm_bench.run import execute
from served import Body, Served, Talk, served

RUBRIC = 'name = "mt-bench"\nplain = "Grade {answer}. Rating: [[number]]"\n'
PROBLEM = {
    "task_id": "HumanEval/0",
    "prompt": 'def one() -> int:\n    """The number one."""\n',
    "entry_point": "one",
    "test": "def check(candidate):\n    assert candidate() == 1\n",
    "canonical_solution": "    return 1\n",
}
HELD_OUT = [*MINIATURE, "data.held_out=0.4"]


def rating(talk: Talk, body: Body) -> None:
    """A judge that rates by the length of what it is told."""
    number = len(body["messages"][-1]["content"]) % 10 + 1
    message = {"role": "assistant", "content": f"Rating: [[{number}]] [[harmless]]"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    talk.reply(200, {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]})


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with served(rating) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield server


@pytest.fixture
def fedllm(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command with made-up questions of every benchmark, MMLU's four and HumanEval's one among them."""
    take_as_assets(tmp_path, monkeypatch)
    added = tmp_path / "cache" / "assets" / "added.json"
    known = json.loads(added.read_text())
    problem = tmp_path / "HumanEval.jsonl.gz"
    problem.write_bytes(gzip.compress(json.dumps(PROBLEM).encode()))
    known["humaneval"] = {"path": str(problem), "licence": "made up", "sha256": None}
    added.write_text(json.dumps(known))
    data = tmp_path / "data"
    (data / "mmlu").mkdir(parents=True)
    for name, count in (("test", 4), ("dev", 5)):
        rows = [
            {"subject": "anatomy", "question": f"{name} {at}?", "choices": list("wxyz"), "answer": at % 4}
            for at in range(count)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (data / "mmlu" / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.setenv("FEDLLM_BENCH_DATA", str(data))
    (tmp_path / "mt.toml").write_text(RUBRIC)
    return Command(capsys, monkeypatch)


def run_in_miniature(stem: str, tiny_model: Path, tmp_path: Path, *more: str) -> Path:
    """The folder above the runs of a file of the paper."""
    (file,) = (file for file in FILES if file.stem == stem)
    data = []
    for name in sets_of(file):
        record, clients = SETS[name]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(official(record, clients)), encoding="utf-8")
        data.append(f"data.{name}.file={path}")
    folder = tmp_path
    for experiment in load(file, [*HELD_OUT, f"model.base={tiny_model}", *data, *more]):
        folder = execute(experiment, tmp_path / "runs").parent
    return folder


def evaluate(fedllm: Command, runs: Path, tmp_path: Path, *more: str) -> list[dict[str, Any]]:
    """The rows that `eval` ends with."""
    done = fedllm(
        "eval", runs, "--limit", "2", "--max-new-tokens", "4", "--rubric", f"mt-bench={tmp_path / 'mt.toml'}",
        "--json", *more,
    )  # fmt: skip
    assert done.code == 0, done.err
    rows: list[dict[str, Any]] = json.loads(done.out)["rows"]
    return rows


def test_every_benchmark_has_a_score_and_a_second_time_nothing_is_asked(
    fedllm: Command, judge: Served, tiny_model: Path, tmp_path: Path
) -> None:
    runs = run_in_miniature("table3", tiny_model, tmp_path, 'algorithm.name="fedavg"')
    rows = evaluate(fedllm, runs, tmp_path, "--judge", "endpoint:small")
    for row in rows:
        found = row["metrics"]
        assert set(BENCHMARKS) <= set(found)
        assert {name: found[name]["missing"] for name in BENCHMARKS} == dict.fromkeys(BENCHMARKS, "")
        assert all(found[name]["n"] > 0 and found[name]["unscored"] == 0 for name in BENCHMARKS), found
    files = {path: path.read_bytes() for path in runs.rglob("*.jsonl")}
    asked = len(judge.log.requests)
    assert evaluate(fedllm, runs, tmp_path, "--judge", "endpoint:small") == rows
    assert len(judge.log.requests) == asked
    assert {path: path.read_bytes() for path in runs.rglob("*.jsonl")} == files

    evaluate(fedllm, runs, tmp_path, "--judge", "endpoint:small", "--judge-seed", "2", "--suite", "vicuna")
    twice = json.loads(fedllm("agreement", runs, "--json").out)["rows"]
    assert [row["kappa"] in (1.0, None) and row["count"] == 1 for row in twice] == [True] * len(rows + rows[1:2])

    done = fedllm("table", "3", runs, "--with-paper")
    assert done.code == 0 and "paper 4.30" in done.out, done.err


def test_without_a_judge_judged_cells_are_unscored_and_what_is_missing_stays_with_its_hint(
    fedllm: Command, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDLLM_BENCH_DATA")
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # nothing can be fetched
    runs = run_in_miniature("table3", tiny_model, tmp_path, 'algorithm.name="fedavg"')
    for row in evaluate(fedllm, runs, tmp_path):
        found = row["metrics"]
        assert found["vicuna"]["mean"] is None and found["vicuna"]["unscored"] > 0
        assert found["advbench"]["mean"] is not None and found["ref-judge"]["unscored"] > 0
        assert found["mmlu"]["missing"] and found["mmlu"]["hint"]
        assert set(BENCHMARKS) <= set(found)


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on_and_ends_with_the_same_files(
    fedllm: Command, judge: Served, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = run_in_miniature("table3", tiny_model, tmp_path, 'algorithm.name="fedavg"')
    chat = [part for name in ("mt-bench", "vicuna", "advbench", "ref-judge") for part in ("--suite", name)]
    append, left = records.append, 0

    class Killed(BaseException):
        pass

    def dying(path: Path, *rows: records.Record) -> None:
        nonlocal left
        left -= 1
        append(path, *rows)
        if left == 0:
            raise Killed

    for left in (1, 4, 7, 10):  # noqa: B007 (read by `dying`)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(records, "append", dying)
            evaluate(fedllm, runs, tmp_path, "--judge", "endpoint:small", *chat)
    evaluate(fedllm, runs, tmp_path, "--judge", "endpoint:small", *chat)
    asked = [json.dumps(body["messages"]) for _, body, _ in judge.log.requests]
    assert len(asked) == len(set(asked))
    assert not list(runs.rglob("*.turns.jsonl"))


CHAT = ["--suite", "vicuna", "--suite", "mt-bench"]


def test_a_dry_run_counts_what_is_left_and_writes_nothing(
    fedllm: Command, judge: Served, tiny_model: Path, tmp_path: Path
) -> None:
    runs = run_in_miniature("table3", tiny_model, tmp_path, 'algorithm.name="fedavg"')
    before = {path for path in runs.rglob("*") if path.is_file()}
    told = ["--dry-run", "--judge", "endpoint:small", "--price-in", "1000000", "--price-out", "0"]
    planned = {row["benchmark"]: row for row in evaluate(fedllm, runs, tmp_path, *told)}
    assert set(planned) == set(BENCHMARKS) and not any(row["missing"] for row in planned.values())
    models = 1 + len(list(runs.glob("*/adapter")))
    turns = {"mt-bench": (2, 4), "vicuna": (1, 1), "advbench": (2, 2), "ref-judge": (2, 2)}
    for name, counts in turns.items():
        row = planned[name]
        assert (row["questions"], row["answers"]) == counts, name
        assert row["requests"] == row["answers"] * models, name
        assert row["models"] == models and row["answered"] == 0 and row["most_new_tokens"] == 4
        assert row["cost"] == row["tokens_in"] > 4 * row["requests"]
    assert planned["mmlu"]["questions"] == 2 and planned["mmlu"]["answers"] is None
    assert planned["humaneval"]["questions"] == 1 and planned["humaneval"]["requests"] is None
    assert {path for path in runs.rglob("*") if path.is_file()} == before and judge.log.requests == []

    own = ["--dry-run", "--suite", "vicuna", "--judge", "endpoint:small"]
    done = fedllm("eval", runs, *own, "--max-requests", "1")
    assert "1 requests, about" in done.out and f"of {models} requests" in " ".join(done.out.split()), done.out
    evaluate(fedllm, runs, tmp_path, "--judge", "endpoint:small", *CHAT)
    asked = len(judge.log.requests)
    again = {row["benchmark"]: row for row in evaluate(fedllm, runs, tmp_path, *told)}
    for name, there in {"mt-bench": True, "vicuna": True, "advbench": False}.items():
        left = (models, 0) if there else (0, 2 * models)
        assert (again[name]["answered"], again[name]["requests"]) == left
    another = ["--dry-run", "--judge", "endpoint:other", *CHAT]
    assert min(row["requests"] for row in evaluate(fedllm, runs, tmp_path, *another)) > 0
    assert len(judge.log.requests) == asked


def test_a_server_that_is_not_there_is_told_before_the_first_answer_and_not_missed_after_the_last(
    fedllm: Command, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = run_in_miniature("table3", tiny_model, tmp_path, 'algorithm.name="fedavg"')
    options = ["eval", runs, "--limit", "1", "--max-new-tokens", "4", "--suite", "vicuna", "--judge", "endpoint:small"]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    done = fedllm(*options)
    assert done.code == 2 and "http://127.0.0.1:9/v1 cannot be reached" in done.err
    assert not list(runs.rglob("generations/*")) and not list(runs.rglob("scores/*"))
    with served(rating) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        first = fedllm(*options)
    assert first.code == 0 and len(server.log.requests) > 0, first.err
    again = fedllm(*options)  # the server is gone, and all is there
    assert (again.code, again.out) == (0, first.out), again.err


def test_a_judge_that_cannot_go_on_ends_the_evaluation_and_nothing_is_called_missing(
    fedllm: Command, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = run_in_miniature("table3", tiny_model, tmp_path, 'algorithm.name="fedavg"')
    (tmp_path / "cache" / "judgements.sqlite").write_bytes(b"no database" * 1000)
    done = fedllm("eval", runs, "--limit", "1", "--max-new-tokens", "4", "--suite", "advbench", "--judge", "rule")
    assert done.code == 2 and "judgements.sqlite cannot be used" in done.err and "hint: remove it" in done.err
    assert not list(runs.rglob("scores/*"))


TABLES = {
    "table2": ("2", ["ref-judge"]),
    "table4-single": ("4", ["mt-bench", "vicuna", "ref-judge"]),
    "table4-multi": ("4", ["mt-bench", "ref-judge"]),
    "table5": ("5", ["mt-bench", "vicuna", "advbench", "mmlu"]),
    "table6": ("6", ["ref-judge"]),
    "table8": ("8", ["mt-bench"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("stem", list(TABLES))
def test_a_table_of_the_paper_is_filled_from_miniature_runs(
    stem: str, fedllm: Command, judge: Served, tiny_model: Path, tmp_path: Path
) -> None:
    runs = run_in_miniature(stem, tiny_model, tmp_path)
    number, names = TABLES[stem]
    suites = [part for name in names for part in ("--suite", name)]
    limit = ["--limit", "ref-judge=40"] if "ref-judge" in names else []
    evaluate(fedllm, runs, tmp_path, "--judge", "endpoint:small", *suites, *limit)
    done = fedllm("table", number, runs, "--with-paper", "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    assert rows and LANGUAGES
    filled = json.dumps(rows).count('"mean": ') - json.dumps(rows).count('"mean": null')
    assert filled >= 5, rows
    assert fedllm("table", number, runs, "--with-paper").code == 0
