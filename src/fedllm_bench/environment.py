"""What a run ran with: versions, machine, fingerprints and the compute settings in force."""

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fedllm_bench import __version__
from fedllm_bench.build import Parts
from fedllm_bench.deviations import deviations
from fedllm_bench.errors import RunError
from fedllm_bench.experiment import Experiment
from fedllm_bench.tables import algorithm_offer

__all__ = ["describe", "processor", "require_same"]

# A resumed run must find these as they were; anything else may change between two sittings.
_FIXED = ("base_fingerprint", "data_fingerprint", "packing_in_force", "method_package")


def describe(experiment: Experiment, parts: Parts) -> dict[str, Any]:
    """The facts of this process, machine and run."""
    offer = algorithm_offer(experiment)
    sizes = [rows * columns for rows, columns in parts.model.lora.shapes.values()]
    return {
        "fedllm_bench": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        **({} if experiment.model.quantization == "none" else {"bitsandbytes": version("bitsandbytes")}),
        "platform": platform.platform(),
        "cpu": processor(),
        **asdict(parts.compute),
        "packing_in_force": "packed" if parts.model.packed else "padded",
        "base_model": experiment.model.base,
        "base_fingerprint": parts.model.fingerprint,
        "parameters": parts.model.parameters(),
        "trainable_parameters": sum(sizes),
        "lora_bytes": 4 * sum(sizes),
        "data": parts.dataset.name,
        "data_fingerprint": parts.dataset.fingerprint,
        "clients": len(parts.dataset),
        "deviations": deviations(experiment),
        "method_package": offer.origin if offer.packaged else None,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def require_same(recorded: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with a run whose base model or data have changed.

    Raises:
        RunError: one has.
    """
    for name in _FIXED:
        if recorded.get(name) != now[name]:
            raise RunError(
                f"{folder} was started with another {name.replace('_', ' ')}",
                "bring back what it was started with, or move the folder away to start anew",
            )


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
