"""What a figure was measured on."""

import json
import platform
from pathlib import Path
from typing import Any

import torch

from fedllm_bench.environment import processor
from fedllm_bench.model.base import has_bf16_arithmetic

__all__ = ["machine", "save"]

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, cores, precision and versions."""
    return {
        "cpu": processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "bf16_arithmetic": has_bf16_arithmetic(torch.device("cpu")),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def save(name: str, figures: dict[str, Any]) -> None:
    """Print figures and keep them in `results/` with the machine, those of a GPU apart."""
    RESULTS.mkdir(exist_ok=True)
    name = f"{name}-gpu" if torch.cuda.is_available() else name
    text = json.dumps({"benchmark": name, **figures, "machine": machine()}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)
