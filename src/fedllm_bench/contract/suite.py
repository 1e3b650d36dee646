"""All promises of a method, one finding each."""

import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedllm_bench.contract.bench import Bench, workplace
from fedllm_bench.contract.checks import CHECKS, Broken, Check, Refused, Skipped
from fedllm_bench.errors import FedLLMError
from fedllm_bench.experiment import Plugin

__all__ = ["CHECKS", "Finding", "check_method", "find"]

Outcome = Literal["passed", "refused", "skipped", "failed"]


@dataclass(frozen=True)
class Finding:
    """What a check came to.

    Args:
        check: its name.
        claim: the promise.
        outcome: "refused" is as good as passed: the method says what it needs, and the refusal says so.
        detail: what was seen.
    """

    check: str
    claim: str
    outcome: Outcome
    detail: str


def check_method(
    method: str,
    plugins: Sequence[Plugin] = (),
    options: Mapping[str, Any] | None = None,
    neutral: Mapping[str, Any] | None = None,
    on_finding: Callable[[Finding], object] = lambda _: None,
) -> list[Finding]:
    """Hold a method to every promise, in a temporary folder, with runs like any other.

    Args:
        method: its name.
        plugins: files that may bring it.
        options: of the method; its defaults otherwise.
        neutral: options under which it is FedAvg.
        on_finding: told of each check that is done.

    Raises:
        ExperimentError: there is no such method, or a plugin cannot be loaded.
    """
    with (
        tempfile.TemporaryDirectory(prefix="fedllm-bench-") as folder,
        workplace(Path(folder), method, options, plugins, neutral) as bench,
    ):
        return list(_told(on_finding, (find(check, bench) for check in CHECKS)))


def _told(on_finding: Callable[[Finding], object], findings: Iterator[Finding]) -> Iterator[Finding]:
    for finding in findings:
        on_finding(finding)
        yield finding


def find(check: Check, bench: Bench) -> Finding:
    """Hold a method to one promise; whatever goes wrong inside it is a finding."""
    outcome, detail = _outcome(check, bench)
    return Finding(check.name, check.claim, outcome, detail)


def _outcome(check: Check, bench: Bench) -> tuple[Outcome, str]:
    try:
        return "passed", check.run(bench)
    except Refused as refusal:
        return "refused", str(refusal)
    except Skipped as reason:
        return "skipped", str(reason)
    except Broken as broken:
        return "failed", str(broken)
    except FedLLMError as error:
        return "failed", error.message
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error} ({_where(error)})"


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
