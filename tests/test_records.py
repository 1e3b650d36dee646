"""Records are whole lines, whatever happens while they are written."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedllm_bench import records
from fedllm_bench.errors import RunError

some_records = st.lists(
    st.dictionaries(st.text(alphabet='abé\n"{ '), st.integers() | st.text(alphabet="xü\n"), max_size=3)
)


@settings(max_examples=25, deadline=None)
@given(some_records, some_records)
def test_records_come_back_in_the_order_they_were_added(
    tmp_path_factory: pytest.TempPathFactory, first: list[dict[str, object]], second: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("records") / "file.jsonl"
    records.append(path, *first)
    records.append(path, *second)
    assert list(records.read(path)) == first + second


def test_a_missing_file_has_no_records(tmp_path: Path) -> None:
    assert list(records.read(tmp_path / "none.jsonl")) == []


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_file_cut_anywhere_gives_the_records_before_the_cut(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("records") / "file.jsonl"
    rows = [{"round": number, "name": "Zoë"} for number in range(4)]
    records.append(path, *rows)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    assert list(records.read(path)) == rows[: whole[:cut].count(b"\n")]


def test_after_a_torn_line_is_taken_back_records_go_on(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    records.append(path, {"round": 1}, {"round": 2})
    with open(path, "a") as file:
        file.write('{"round": ')
    records.keep(path, lambda record: True)
    records.append(path, {"round": 3})
    assert [record["round"] for record in records.read(path)] == [1, 2, 3]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(RunError, match=r"file\.jsonl: line 2 is not JSON"):
        list(records.read(path))


def test_only_wanted_records_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    records.append(path, *({"round": number} for number in range(5)))
    records.keep(path, lambda record: record["round"] <= 2)
    assert [record["round"] for record in records.read(path)] == [0, 1, 2]
    records.keep(path, lambda record: False)
    assert path.read_bytes() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["file.jsonl"]


def test_keeping_records_of_a_missing_file_makes_none(tmp_path: Path) -> None:
    records.keep(tmp_path / "none.jsonl", lambda record: True)
    assert list(tmp_path.iterdir()) == []


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.append(tmp_path / "file.jsonl", {"loss": float("nan")})


@pytest.mark.skipif(os.name == "nt", reason="file size limits are POSIX")
def test_a_write_that_runs_out_of_room_leaves_the_records_before_it(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    records.append(path, {"round": 1})
    code = (
        "import resource, signal, sys; from pathlib import Path; from fedllm_bench import records\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (100, {resource.RLIM_INFINITY}))\n"
        "records.append(Path(sys.argv[1]), {'round': 2, 'text': 'x' * 200})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert path.stat().st_size == 100
    assert list(records.read(path)) == [{"round": 1}]
