"""A folder appears whole or not at all, once."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fedllm_bench.folders import build_folder, locked


def fill(folder: Path) -> None:
    (folder / "content").write_text("whole")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_built_folder_holds_what_was_filled_in(tmp_path: Path) -> None:
    build_folder(tmp_path / "deep" / "target", fill)
    assert (tmp_path / "deep" / "target" / "content").read_text() == "whole"


def test_a_folder_that_is_there_is_not_built_again(tmp_path: Path) -> None:
    build_folder(tmp_path / "target", fill)
    build_folder(tmp_path / "target", lambda _: pytest.fail("built twice"))


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_folder(tmp_path / "target", fail)
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    script = f"""
        import time
        from pathlib import Path
        from fedllm_bench.folders import build_folder
        def fill(folder):
            (folder / "half").write_text("half")
            print("filling", flush=True)
            time.sleep(60)
        build_folder(Path({str(tmp_path / "target")!r}), fill)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert names(tmp_path) == [".target.partial"]
    build_folder(tmp_path / "target", fill)
    assert names(tmp_path) == ["target"]
    assert names(tmp_path / "target") == ["content"]


def test_of_several_processes_one_builds_and_all_find_it(tmp_path: Path) -> None:
    script = f"""
        import time
        from pathlib import Path
        from fedllm_bench.folders import build_folder
        def fill(folder):
            print("built")
            time.sleep(0.3)
            (folder / "content").write_text("whole")
        target = Path({str(tmp_path / "target")!r})
        build_folder(target, fill)
        assert (target / "content").read_text() == "whole"
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    outcomes = [process.communicate(timeout=30) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outcomes
    assert b"".join(out for out, _ in outcomes) == b"built\n"


def test_a_lock_is_free_after_its_block(tmp_path: Path) -> None:
    with locked(tmp_path / "file"):
        pass
    with locked(tmp_path / "file"):
        pass
