"""The command line in processes of its own, which all come from one that has the imports done and so start at once."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["fedllm_bench.cli", "fedllm_bench.run", "fedllm_bench.analysis.tables"])


@dataclass
class Command:
    """A command that is running, or has ended.

    Args:
        process: it.
        said: the file with what it wrote on stderr and stdout.
    """

    process: multiprocessing.process.BaseProcess
    said: Path

    def code(self) -> int:
        """Its exit code, once it has ended; negative where a signal ended it."""
        self.process.join(120)
        assert self.process.exitcode is not None, "it hangs"
        return self.process.exitcode

    def send(self, number: signal.Signals) -> None:
        if self.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def wait_for(self, reached: Callable[[], bool]) -> None:
        """Wait until something holds, or the command has ended."""
        while self.process.is_alive() and not reached():
            time.sleep(0.002)

    @property
    def text(self) -> str:
        return self.said.read_text(encoding="utf-8", errors="replace")


def start(said: Path, cache: Path, *words: str, die_at: int | None = None) -> Command:
    """Start `fedllm-bench WORDS`.

    Args:
        said: takes what the command writes.
        cache: where its cache is.
        words: its arguments.
        die_at: the process ends, as by `kill -9`, when it is about to make that many writes durable.
    """
    process = _context.Process(target=_main, args=(str(said), str(cache), words, die_at))
    process.start()
    return Command(process, said)


def _main(said: str, cache: str, words: tuple[str, ...], die_at: int | None) -> None:
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", buffering=1)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1)
    os.environ["FEDLLM_BENCH_CACHE"] = cache
    os.environ["HF_HUB_OFFLINE"] = "1"
    if die_at is not None:
        _die_at(die_at)
    sys.argv = ["fedllm-bench", *words]
    from fedllm_bench.cli import main

    main()


def _die_at(count: int) -> None:
    """Let the process kill itself before its `count`-th call that makes a write durable or puts a file in its place."""
    left = count

    def dying(call: Callable[..., None]) -> Callable[..., None]:
        def count_down(*args: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            call(*args)

        return count_down

    os.fsync, os.replace = dying(os.fsync), dying(os.replace)  # type: ignore[assignment]
