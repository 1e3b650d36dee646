"""Tables of preference runs, alone and beside others, say what their numbers are."""

import json
from pathlib import Path

import pytest

from fedllm_bench.analysis.frames import read_runs
from fedllm_bench.analysis.headline import headline
from fedllm_bench.analysis.methods import group
from fedllm_bench.analysis.summary import Summary, caption, summarise
from fedllm_bench.analysis.tables import METHOD_COLUMNS, render
from run_folders import experiment, write_run


def preference_run(above: Path) -> Path:
    """A made-up run with the fields that held-out pairs have."""
    folder = write_run(above, experiment(objective={"name": "dpo", "template": "none"}))
    path = folder / "evaluations.jsonl"
    rows = [{**json.loads(line), "margin": 0.25} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> list[Summary]:
    return summarise(group(read_runs([preference_run(tmp_path)])))


def test_pairs_have_an_accuracy_and_a_margin_but_no_perplexity(rows: list[Summary]) -> None:
    for row in rows:
        assert (row.perplexity, row.token_accuracy) == (None, None)
        assert row.margin == pytest.approx(0.25)
        assert row.pair_accuracy is not None


def test_columns_without_a_value_are_left_out(rows: list[Summary]) -> None:
    head = render([row.row() for row in rows], METHOD_COLUMNS, "md").splitlines()[0]
    assert "pair acc. | margin" in head
    assert "perplexity" not in head
    assert "token" not in head


def test_caption_and_headline_speak_of_pairs(tmp_path: Path) -> None:
    methods = group(read_runs([preference_run(tmp_path)]))
    assert caption(methods).startswith("DPO loss per held-out pair, mean over")
    assert "per pair, a change of" in headline(methods, summarise(methods))


def test_runs_of_both_objectives_in_one_table_keep_their_own_columns(tmp_path: Path) -> None:
    methods = group(read_runs([preference_run(tmp_path), write_run(tmp_path, experiment())]))
    found = summarise(methods)
    assert sorted((row.perplexity is None, row.pair_accuracy is None) for row in found) == [
        *[(False, True)] * 2,
        *[(True, False)] * 2,
    ]
    for words in ("DPO loss per held-out pair", "Loss in nats per held-out token"):
        assert words in caption(methods)
    head = render([row.row() for row in found], METHOD_COLUMNS, "md").splitlines()[0]
    assert "| perplexity | token acc. | pair acc. | margin |" in head
