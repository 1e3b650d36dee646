"""Files are whole or not there, and a run folder belongs to one run and one process at a time."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedllm_bench.errors import DataError, RunError
from fedllm_bench.store import RunFolder, replacing, telling_of_full_disk, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def in_a_process(code: str) -> subprocess.CompletedProcess[str]:
    head = "import os, signal\nfrom pathlib import Path\nfrom fedllm_bench.store import *\n"
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)], capture_output=True, text=True, check=False
    )


# ----------------------------------------------------------------------------------------- replacing


def test_a_block_that_ends_well_puts_its_file_in_place(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    for text in ("first", "second"):
        with replacing(path) as scratch:
            scratch.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(failure), replacing(path) as scratch:
        scratch.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RunError, match="no space left") as caught, replacing(path) as scratch:
        scratch.symlink_to("/dev/full")
        scratch.write_text("more")
    assert caught.value.hint is not None
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_is_told_apart_from_other_trouble(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="denied"), telling_of_full_disk(tmp_path):
        raise PermissionError("denied")
    with pytest.raises(DataError), telling_of_full_disk(tmp_path):
        raise DataError("No space left for doubt")


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    done = in_a_process(f"""
        with replacing(Path({str(path)!r})) as scratch:
            scratch.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_what_an_earlier_process_of_the_same_id_left_is_not_written_on(tmp_path: Path) -> None:
    (tmp_path / f".file.{os.getpid()}.tmp").write_text("left behind, ")
    with replacing(tmp_path / "file") as scratch, open(scratch, "a") as file:
        file.write("new")
    assert (tmp_path / "file").read_text() == "new"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=25, deadline=None)
@given(json_values)
def test_json_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    import json

    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair is no text
        return
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == value


# ---------------------------------------------------------------------------------------- run folder


def test_a_folder_is_claimed_once_and_then_only_by_the_same_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.claim({"run_id": "a", "seed": 1})
    before = folder.experiment.read_bytes()
    folder.claim({"run_id": "a", "seed": 1})
    with pytest.raises(RunError, match="holds run a, not b"):
        folder.claim({"run_id": "b"})
    assert folder.experiment.read_bytes() == before


def test_a_broken_experiment_file_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.experiment.write_text("{")
    with pytest.raises(RunError, match=r"experiment\.json is not JSON"):
        folder.claim({"run_id": "a"})


def test_a_run_is_complete_when_its_adapters_configuration_is_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.complete
    write_json(folder.adapter / "adapter_config.json", {})
    assert folder.complete


def test_two_processes_cannot_run_the_same_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    code = f"with RunFolder(Path({str(folder.path)!r})).locked(): print('in')"
    with folder.locked():
        refused = in_a_process(code)
    assert "another process is running" in refused.stderr
    assert in_a_process(code).stdout == "in\n"


def test_half_written_files_are_swept_up(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_json(folder.experiment, {})
    folder.own.mkdir()
    for left in (".experiment.json.123.tmp", "own/.000001.safetensors.9.tmp", "own/.tmpA1b2C3"):
        (tmp_path / left).write_text("half")
    folder.sweep()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["experiment.json", "own"]
