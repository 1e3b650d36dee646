"""Problems of programming checked by their tests, many at once, each program in a jail."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from tempfile import TemporaryDirectory

from fedllm_bench.errors import FedLLMError
from fedllm_bench.evaluate.sandbox.cell import Limits
from fedllm_bench.progress import SILENT, Progress

__all__ = ["Outcome", "Problem", "kind_of_sandbox", "run", "run_many"]

GRACE = 5.0  # seconds that the checker itself may take beyond its program's
HINT = "install bubblewrap, allow user namespaces, or run programs unprotected with --unsandboxed"


@dataclass(frozen=True, slots=True)
class Problem:
    """A program and what it has to do.

    Args:
        program: its text; nobody has read it.
        function: that it defines.
        preamble: text that tests may use; trusted.
        test: text with a function `check(candidate)` that raises where the candidate is wrong; trusted.
    """

    program: str
    function: str
    preamble: str
    test: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program did.

    Args:
        passed: whether it stood every test.
        reason: why not; empty if it did.
    """

    passed: bool
    reason: str = ""


@cache
def kind_of_sandbox() -> str:
    """How programs are jailed here: "bubblewrap" where it is installed and works, else, and for root, "namespaces".

    Raises:
        FedLLMError: neither works; said with what each lacks.
    """
    sound = Problem("def f(x):\n    return x + 1\n", "f", "", "def check(candidate):\n    assert candidate(1) == 2\n")
    lacks = []
    for kind in ("bubblewrap", "namespaces"):
        if kind == "bubblewrap" and os.geteuid() == 0:
            continue  # it would leave the program root's freedom from limits
        if kind == "bubblewrap" and shutil.which("bwrap") is None:
            lacks.append("bubblewrap is not installed")
            continue
        outcome = run(sound, Limits(), kind)
        if outcome.passed:
            return kind
        lacks.append(f"{kind}: a sound program {outcome.reason}")
    raise FedLLMError(f"no sandbox for generated programs: {'; '.join(lacks)}", HINT)


def run(problem: Problem, limits: Limits, kind: str, number: int = 0) -> Outcome:
    """Check one program.

    The tests run in a process of their own, beside the jail: the program sees neither them nor the verdict, only the
    arguments of each call, and what it returns crosses as plain values.

    Args:
        problem: with the program.
        limits: of the program.
        kind: from `kind_of_sandbox`, or "none".
        number: tells programs that run at once from one another.
    """
    request = {"problem": asdict(problem), "limits": asdict(limits), "kind": kind, "number": number}
    with TemporaryDirectory(prefix="fedllm-bench-cell-") as scratch:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-m", "fedllm_bench.evaluate.sandbox.checker"],
                input=json.dumps({**request, "scratch": scratch}).encode(),
                capture_output=True,
                timeout=limits.seconds + GRACE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(False, "takes too long")
    try:
        return Outcome(**json.loads(done.stdout))
    except (ValueError, TypeError):
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return Outcome(False, f"the checker ended with {done.returncode}{said and f': {said}'}")


def run_many(
    problems: Sequence[Problem], limits: Limits, kind: str, progress: Progress = SILENT, workers: int | None = None
) -> list[Outcome]:
    """Check programs, as many at once as there are processors; their outcomes in order."""
    with (
        progress.task("programs", len(problems), "programs") as task,
        ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool,
    ):

        def one(at: int) -> Outcome:
            outcome = run(problems[at], limits, kind, at)
            task.advance()
            return outcome

        return list(pool.map(one, range(len(problems))))
