"""Files of scores: what a run leaves comes back, and what is no score does not become a number."""

import json
import re
from pathlib import Path

import pytest

from command import Command
from fedllm_bench.benchmark_scores import ItemScore, Scores, read_scores, write_scores
from fedllm_bench.errors import RunError
from run_folders import experiment
from scored_runs import SETTINGS, made_scores, write_scored


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


def vicuna(folder: Path, *, count: int = 4) -> Path:
    items = tuple(ItemScore("vicuna", str(place), 5.0) for place in range(count))
    return write_scores(folder, Scores("vicuna", items, SETTINGS))


def refused(folder: Path) -> str:
    with pytest.raises(RunError, match="holds no scores") as error:
        read_scores(folder)
    assert error.value.hint == "remove it and run eval again"
    return error.value.message


def test_scores_come_back_as_they_were_written(tmp_path: Path) -> None:
    made = made_scores("mt-bench", 0.0, unscored=2)
    write_scores(tmp_path, made)
    assert read_scores(tmp_path) == {"mt-bench": made}


@pytest.mark.parametrize("left", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path, left: float) -> None:
    path = vicuna(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    assert str(path) in refused(tmp_path)


def test_a_file_that_was_cut_between_two_lines_is_refused(tmp_path: Path) -> None:
    path = vicuna(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert "3 items of 4" in refused(tmp_path)


@pytest.mark.parametrize("score", ["NaN", "1e999", "-Infinity", "true", '"7"', "-1", "99", "[5]"])
def test_what_is_no_score_on_the_scale_is_refused(tmp_path: Path, score: str) -> None:
    path = vicuna(tmp_path)
    path.write_text(re.sub(r'"score": [\d.]+', f'"score": {score}', path.read_text(), count=1))
    assert "item 0" in refused(tmp_path)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({"settings": None}, "settings are no table"),
        ({"benchmark": "mmlu"}, "it is of 'mmlu'"),
        ({"count": None}, "items of None"),
        ({"beauty": 1}, "beauty"),
        ({"settings": {**SETTINGS, "scale": "wide"}}, "unpack"),
    ],
)
def test_a_head_that_does_not_fit_its_file_is_refused(tmp_path: Path, head: dict[str, object], said: str) -> None:
    path = vicuna(tmp_path)
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), **head}), *rest, ""]))
    assert said in refused(tmp_path)


@pytest.mark.parametrize("metric", ["vicuna", "mmlu", "beauty"])
def test_an_item_that_stands_twice_or_is_of_another_benchmark_is_refused(tmp_path: Path, metric: str) -> None:
    items = (ItemScore("vicuna", "1", 5.0), ItemScore(metric, "1", 1.0))
    write_scores(tmp_path, Scores("vicuna", items, SETTINGS))
    refused(tmp_path)


@pytest.mark.parametrize("text", ["[1]\n", '"text"\n', "{\n\n", "\ufffd\n"])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    vicuna(tmp_path).write_text(text)
    refused(tmp_path)


def test_a_rubric_of_ones_own_has_its_own_scale(tmp_path: Path) -> None:
    run = write_scored(tmp_path, experiment(), 0.0, [])
    items = tuple(ItemScore("vicuna", str(place), float(place)) for place in range(6))
    write_scores(run, Scores("vicuna", items, {**SETTINGS, "scale": [0, 5]}))
    assert len(read_scores(run)["vicuna"].items) == 6
    write_scores(run, Scores("vicuna", items, {**SETTINGS, "scale": [0, 4]}))
    assert "outside of 0 to 4" in refused(run)


def test_files_without_a_count_are_still_read(tmp_path: Path) -> None:
    path = vicuna(tmp_path)
    path.write_text(path.read_text().replace(', "count": 4', ""))
    assert len(read_scores(tmp_path)["vicuna"].items) == 4


def test_a_cosine_may_exceed_one_by_what_floats_lose(tmp_path: Path) -> None:
    write_scores(tmp_path, Scores("ref-judge", (ItemScore("ref-similarity", "1", 1.0000002),), SETTINGS))
    assert len(read_scores(tmp_path)["ref-judge"].items) == 1


def test_broken_scores_end_a_table_with_code_2(fedllm: Command, tmp_path: Path) -> None:
    run = write_scored(tmp_path, experiment(), 0.0, ["vicuna"])
    path = run / "scores" / "vicuna.jsonl"
    path.write_text(re.sub(r'"score": [\d.]+', '"score": "7"', path.read_text(), count=1))
    done = fedllm("table", "3", tmp_path)
    assert (done.code, done.out) == (2, "") and "vicuna.jsonl" in done.err and "hint:" in done.err
