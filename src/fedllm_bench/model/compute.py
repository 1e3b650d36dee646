"""Where and how wide to compute: looked up from the device and the processor, never timed."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch

from fedllm_bench.errors import ModelError, RunError
from fedllm_bench.model.base import has_bf16_arithmetic

__all__ = ["Compute", "resolve_compute", "telling_of_order"]

# Packed tokens of one pass. On two cores a product of 256 rows fills the processor already, and 1,024 was best of
# 512 to 4,096; a GPU wants more rows to be busy. docs/log.md has the measurements.
TOKEN_BUDGETS = {"cpu": 1024, "cuda": 8192}
# Clients trained together: no gain on a CPU; on a GPU small batches leave it idle otherwise.
WIDTHS = {"cpu": 1, "cuda": 8}


class Wanted(Protocol):
    """What an experiment says about computing; "auto" leaves it to the tables above."""

    @property
    def width(self) -> int | str: ...
    @property
    def token_budget(self) -> int | str: ...
    @property
    def threads(self) -> int | str: ...
    @property
    def packing(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def deterministic(self) -> bool: ...


@dataclass(frozen=True)
class Compute:
    """The settings in force; equal values give equal bytes on the same kind of machine."""

    device: str
    dtype: str
    width: int
    token_budget: int
    threads: int
    packing: str


def resolve_compute(wanted: Wanted, dtype: str, cohort: int, recorded: Mapping[str, Any] | None) -> Compute:
    """Settings for this machine, or those a run was started with.

    Args:
        wanted: what the experiment says.
        dtype: "auto", "float32" or "bfloat16".
        cohort: clients of a round; no width goes beyond.
        recorded: the environment of a run that is resumed.

    Raises:
        RunError: the run was started on a device that is not here.
    """
    if recorded is not None:
        compute = Compute(**{field.name: recorded[field.name] for field in fields(Compute)})
        if compute.device == "cuda" and not torch.cuda.is_available():
            raise RunError(
                "the run was started on a CUDA device, and there is none here",
                "resume it on such a machine, or remove its folder to start anew",
            )
    else:
        compute = _look_up(wanted, dtype, cohort)
    torch.set_num_threads(compute.threads)
    if compute.device == "cuda":
        _repeat_exactly(wanted.deterministic)
    return compute


def _look_up(wanted: Wanted, dtype: str, cohort: int) -> Compute:
    device = wanted.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "bfloat16" if has_bf16_arithmetic(torch.device(device)) else "float32"
    width = WIDTHS[device] if wanted.width == "auto" else int(wanted.width)
    budget = TOKEN_BUDGETS[device] if wanted.token_budget == "auto" else int(wanted.token_budget)
    threads = _cores() if wanted.threads == "auto" else int(wanted.threads)
    return Compute(device, dtype, min(width, cohort), budget, threads, wanted.packing)


@contextmanager
def telling_of_order() -> Iterator[None]:
    """Say which setting lets an operation run that a GPU cannot do in one order.

    Raises:
        ModelError: the model needs such an operation.
    """
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise ModelError(
            f"the model needs an operation that a GPU does in any order: {str(error).partition(',')[0]}",
            "set executor.deterministic = false: the same seed then gives nearly the same numbers, not the same bytes",
        ) from error


def _repeat_exactly(wanted: bool) -> None:
    """Let a GPU add in one order always: a run that is repeated or resumed gives the same bytes there, too."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    # A help for debugging, and a pass over every new tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _cores() -> int:
    """Cores that this process may use; where the system cannot say, all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
