"""Progress of a download, seen in a folder that another program writes to."""

import io
import shutil
import time
from pathlib import Path

import pytest

from fedllm_bench.assets import watch
from fedllm_bench.progress import LineProgress


def test_the_bytes_that_arrive_are_shown(tmp_path: Path) -> None:
    log = io.StringIO()
    with watch.watched(tmp_path, "download", 1000, LineProgress(log)):
        (tmp_path / "inner").mkdir()
        (tmp_path / "inner" / "part").write_bytes(bytes(600))
        (tmp_path / "part").write_bytes(bytes(400))
    assert "1.0/1.0 kB" in log.getvalue()


def test_folders_that_vanish_while_they_are_looked_at_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK", 0.0)
    until = time.monotonic() + 0.5
    with watch.watched(tmp_path, "download", None, LineProgress(io.StringIO())):
        while time.monotonic() < until:
            (tmp_path / "a" / "b" / "c").mkdir(parents=True)
            shutil.rmtree(tmp_path / "a")
