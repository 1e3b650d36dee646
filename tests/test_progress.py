"""Progress says how far a step is: lines for logs, bars for terminals, nothing for tests."""

import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from rich.console import Console

from fedllm_bench.live import LiveProgress
from fedllm_bench.progress import SILENT, LineProgress, TaskState, progress_on


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


def test_a_line_appears_every_ten_seconds_and_at_the_end(clock: Clock, log: io.StringIO) -> None:
    with LineProgress(log, clock=clock).task("train", 40, "rounds") as task:
        for second in range(1, 26):
            clock.now = second
            task.advance(loss=3.5)
    assert log.getvalue().splitlines() == [
        "train: 10/40 rounds (25%), 1.0/s, 0:30 left, loss 3.5",
        "train: 20/40 rounds (50%), 1.0/s, 0:20 left, loss 3.5",
        "train: done, 25/40 rounds (62%), 1.0/s, 0:15 left, loss 3.5",
    ]


def test_a_short_step_inside_another_says_nothing(clock: Clock, log: io.StringIO) -> None:
    progress = LineProgress(log, clock=clock)
    with progress.task("train", 2, "rounds") as outer:
        with progress.task("evaluate", 3, "clients") as inner:
            inner.advance(3)
        outer.advance(2)
    assert log.getvalue().startswith("train: done, 2/2 rounds (100%)")
    assert "evaluate" not in log.getvalue()


def test_a_step_that_fails_says_where_it_stopped(clock: Clock, log: io.StringIO) -> None:
    def fail_half_way() -> None:
        with LineProgress(log, clock=clock).task("train", 4, "rounds") as task:
            task.advance(2)
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail_half_way()
    assert log.getvalue() == "train: stopped after 2/4 rounds (50%), 0:00\n"


@pytest.mark.parametrize(
    ("done", "total", "unit", "text"),
    [
        (0, 20, "rounds", "0/20 rounds"),
        (1200, 7168, "clients", "1,200/7,168 clients"),
        (7, None, "files", "7 files"),
        (0, 92_871_040, "B", "0.0/92.9 MB"),
        (46_435_520, 92_871_040, "B", "46.4/92.9 MB"),
        (812, None, "B", "812 B"),
        (0, None, "B", "0 B"),
        (3, 4, "", "3/4"),
    ],
)
def test_counts_read_well(clock: Clock, done: int, total: int | None, unit: str, text: str) -> None:
    assert TaskState("step", total, unit, done, clock).count_text() == text


def test_units_done_before_do_not_count_for_the_rate(clock: Clock) -> None:
    state = TaskState("train", 20, "rounds", 15, clock)
    clock.now = 4.0
    state.advance(2)
    assert state.count_text() == "17/20 rounds"
    assert state.rate_text() == "2.0 s each"
    assert state.time_text() == "0:06 left"


def test_long_times_show_hours(clock: Clock) -> None:
    state = TaskState("train", 100, "rounds", 0, clock)
    clock.now = 3600.0
    state.advance(50)
    assert state.time_text() == "1:00:00 left"


def test_a_step_of_nothing_is_shown_without_dividing_by_zero(clock: Clock) -> None:
    state = TaskState("train", 0, "rounds", 0, clock)
    assert state.fraction() is None
    assert state.count_text() == "0/0 rounds"


def test_fields_keep_their_latest_value(clock: Clock) -> None:
    state = TaskState("train", 2, "rounds", 0, clock)
    state.advance(loss=3.91234, tokens_per_s=1234.5)
    state.advance(loss=3.5, up="3.1 MB", steps=12_000)
    assert state.field_texts() == ["loss 3.5", "tokens per s 1,234", "up 3.1 MB", "steps 12,000"]


def test_the_silent_one_takes_everything() -> None:
    with SILENT.task("train", 2, "rounds") as task:
        task.advance()
        task.advance(0, loss=1.0)


def test_a_pipe_gets_plain_lines(log: io.StringIO) -> None:
    assert isinstance(progress_on(log), LineProgress)


def drawn(progress: LiveProgress, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True, no_color=True)
    console.print(progress.render())
    return console.export_text().splitlines()


def test_bars_fit_eighty_columns(clock: Clock, log: io.StringIO) -> None:
    progress = LiveProgress(log, clock=clock)
    with (
        progress.task("federated rounds of a long experiment name", 200, "rounds") as outer,
        progress.task("evaluate", 1063, "clients") as inner,
    ):
        clock.now = 3000.0
        outer.advance(50, loss=3.6312, tokens_per_s=1234, up="3.1 MB", down="12.4 MB", note="x" * 80)
        inner.advance(1063)
        first, fields, second = drawn(progress, 80)
    assert first == "federated rounds of a l…  ━━━─────────  50/200 rounds  60.0 s each  2:30:00 left"[:80]
    assert len(fields) == 80 and fields.startswith("  loss 3.631  tokens per s 1,234  up 3.1 MB  down 12.4 MB")
    assert second.startswith("evaluate                  ━━━━━━━━━━━━  1,063/1,063 clients")


def test_a_finished_inner_step_leaves_the_screen(clock: Clock, log: io.StringIO) -> None:
    progress = LiveProgress(log, clock=clock)
    with progress.task("train", 2, "rounds"):
        with progress.task("evaluate", 3, "clients"):
            assert len(drawn(progress, 80)) == 2
        assert [line.split()[0] for line in drawn(progress, 80)] == ["train"]


def on_terminal(script: str, **environment: str) -> str:
    """What a script writes to a terminal of 80 columns."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    variables = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    variables |= {"TERM": "xterm-256color", "COLUMNS": "80", "PYTHONIOENCODING": "utf-8", **environment}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, stdin=theirs, env=variables) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:  # how a terminal says that its last writer is gone
            pass
        os.close(ours)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


SCRIPT = """
    import sys
    from fedllm_bench.progress import progress_on
    with progress_on().task("train", 3, "rounds") as task:
        task.advance(3, loss=3.5)
        print("a warning", file=sys.stderr)
        print("data")
"""
GREEN = "\x1b[32m"


def test_a_terminal_gets_bars_and_log_lines_stay_whole() -> None:
    shown = on_terminal(SCRIPT)
    assert GREEN in shown
    assert "a warning\r\n" in shown
    assert "3/3 rounds" in shown
    assert "data" not in shown


def test_no_color_is_honoured() -> None:
    shown = on_terminal(SCRIPT, NO_COLOR="1")
    assert "3/3 rounds" in shown
    assert GREEN not in shown


def test_a_terminal_that_cannot_draw_gets_plain_lines() -> None:
    assert on_terminal(SCRIPT, TERM="dumb").replace("\r", "").startswith("a warning\ntrain: done, 3/3 rounds")


def test_choosing_a_display_does_not_load_rich(tmp_path: Path) -> None:
    script = "import sys, fedllm_bench.progress as p; p.progress_on(); sys.exit('rich' in sys.modules)"
    with open(tmp_path / "log", "w") as stream:
        assert subprocess.run([sys.executable, "-c", script], stderr=stream, check=False).returncode == 0
