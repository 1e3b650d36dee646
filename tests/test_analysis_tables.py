"""Tables in four formats, and large numbers in few characters."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from fedllm_bench.analysis.frames import read_runs
from fedllm_bench.analysis.methods import group
from fedllm_bench.analysis.quantities import bytes_text, count_text, seconds_text
from fedllm_bench.analysis.summary import summarise
from fedllm_bench.analysis.tables import METHOD_COLUMNS, column, epsilon_text, render
from run_folders import experiment, write_quickstart, write_run

NAMES = (column("name", "name"), column("what", "about"), column("size", "size", "{:,}".format, numeric=True))
ROWS: list[dict[str, Any]] = [
    {"name": "a|b", "about": "[bold]text[/bold]", "size": 1200},
    {"name": "c", "about": "", "size": None},
]


@pytest.fixture
def quickstart(tmp_path: Path) -> list[dict[str, Any]]:
    write_quickstart(tmp_path)
    write_run(tmp_path, experiment(local={"lr": 1e-3}), rounds=3, complete=False)
    return [summary.row() for summary in summarise(group(read_runs([tmp_path])))]


def test_the_table_of_methods_fits_eighty_columns(quickstart: list[dict[str, Any]]) -> None:
    text = render(quickstart, METHOD_COLUMNS, note="word " * 40)
    assert max(len(line) for line in text.splitlines()) <= 80


def test_columns_that_do_not_fit_follow_in_a_second_table_with_the_same_first_column() -> None:
    names = [f"language-{number}" for number in range(9)]
    columns = (column("method", "method"), *(column(name, name, "{:.3f}".format, numeric=True) for name in names))
    rows = [{"method": f"fedavg lr={rate}", **dict.fromkeys(names, rate)} for rate in (0.25, 0.125)]
    lines = render(rows, columns).splitlines()
    assert max(map(len, lines)) <= 80
    first = [line.split()[0] for line in lines if line.startswith(("method", "fedavg"))]
    assert first == ["method", "fedavg", "fedavg"] * 2
    assert sum(line.count("0.250") for line in lines) == 9
    assert all(any(name in line.split() for line in lines) for name in names)


def test_words_stay_whole_where_there_is_room(quickstart: list[dict[str, Any]]) -> None:
    named = [{**row, "method": "norm-clipping bound=0.05"} for row in quickstart]
    words = {word for line in render(named, METHOD_COLUMNS).splitlines() for word in line.split()}
    assert {"norm-clipping", "bound=0.05"} <= words


@pytest.mark.parametrize(
    ("epsilon", "text"), [(None, "none"), (7.999, "8.00"), (1e-4, "0.0001"), (7378995.8, "7.4e+06"), (0.0, "0")]
)
def test_epsilon_is_never_rounded_to_zero_nor_long(epsilon: float | None, text: str) -> None:
    assert epsilon_text(epsilon) == text


def test_the_text_carries_no_colour_codes(quickstart: list[dict[str, Any]]) -> None:
    assert "\x1b" not in render(quickstart, METHOD_COLUMNS)


def test_an_unfinished_method_is_marked_in_words_people_read(quickstart: list[dict[str, Any]]) -> None:
    assert "lr=0.001 *" in render(quickstart, METHOD_COLUMNS)
    assert "fedavg lr=0.001 *" in render(quickstart, METHOD_COLUMNS, "md")


def test_several_runs_behind_a_row_are_counted_in_it(quickstart: list[dict[str, Any]]) -> None:
    assert "local (2 runs)" in render(quickstart, METHOD_COLUMNS, "md")


def test_several_seeds_behind_a_row_are_counted_in_it(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path, experiment(seed=seed))
    rows = [summary.row() for summary in summarise(group(read_runs([tmp_path])))]
    assert "fedavg (2 runs, 2 seeds)" in render(rows, METHOD_COLUMNS, "md")


def test_numbers_are_set_to_the_right_and_text_to_the_left() -> None:
    lines = render(ROWS, NAMES).splitlines()
    assert lines[2].startswith("a|b ") and lines[2].endswith("1,200")
    assert lines[3].endswith("    -")


def test_text_is_never_read_as_markup() -> None:
    assert "[bold]text[/bold]" in render(ROWS, NAMES)


def test_a_wide_screen_is_used() -> None:
    rows: list[dict[str, Any]] = [{"name": "n" * 60, "about": "a" * 60, "size": 1}]
    assert len(render(rows, NAMES, width=200).splitlines()) == 3


def test_markdown_escapes_what_would_end_a_cell() -> None:
    lines = render(ROWS, NAMES, "md", note="A note.").splitlines()
    assert lines[:3] == ["| name | what | size |", "| :-- | :-- | --: |", "| a\\|b | [bold]text[/bold] | 1,200 |"]
    assert lines[-1] == "A note."


def test_json_is_every_key_of_every_row(quickstart: list[dict[str, Any]]) -> None:
    found = json.loads(render(quickstart, METHOD_COLUMNS, "json", note="left out"))
    assert found == {"rows": quickstart}


def test_csv_is_every_key_with_the_ends_of_intervals_beside_their_mean(quickstart: list[dict[str, Any]]) -> None:
    found = list(csv.DictReader(io.StringIO(render(quickstart, METHOD_COLUMNS, "csv", note="left out"))))
    assert [row["method"] for row in found] == [row["method"] for row in quickstart]
    assert float(found[1]["held_out_loss_low"]) == quickstart[1]["held_out_loss"]["low"]
    assert float(found[1]["held_out_loss"]) == quickstart[1]["held_out_loss"]["mean"]
    assert found[0]["difference_to_base"] == found[0]["difference_to_base_low"] == ""


@pytest.mark.parametrize("form", ["text", "md", "csv", "json"])
def test_no_rows_are_a_table_without_rows(form: str) -> None:
    assert isinstance(render([], NAMES, form), str)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1000, "1k"),
        (24_000, "24k"),
        (153_600, "154k"),
        (3.84e13, "38.4T"),
        (999_999, "1M"),
    ],
)
def test_counts_have_three_digits(value: float, text: str) -> None:
    assert count_text(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 B"), (512, "512 B"), (44_236_800, "44.2 MB"), (2e12, "2 TB")])
def test_bytes_have_their_unit(value: float, text: str) -> None:
    assert bytes_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (200, "3 min 20 s"), (7_500, "2 h 05 min")],
)
def test_durations_read_as_people_say_them(value: float, text: str) -> None:
    assert seconds_text(value) == text
