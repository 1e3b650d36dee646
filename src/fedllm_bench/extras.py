"""Packages that only some commands need."""

from importlib import import_module
from typing import Any

from fedllm_bench.errors import FedLLMError

__all__ = ["hint_of", "needed"]

MADE = ("analysis", "evaluation", "quantization")  # what `make extras` installs


def hint_of(extra: str) -> str:
    """The command that installs an extra."""
    checkout = "make extras in a checkout of the project, or " if extra in MADE else ""
    return f"{checkout}pip install 'fedllm-bench[{extra}]'"


def needed(module: str, extra: str, what: str) -> Any:
    """Import a package of an extra.

    Args:
        module: its import name.
        extra: of this project, which brings it.
        what: needs it, such as "root verbs".

    Raises:
        FedLLMError: it is not installed; the hint has the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise FedLLMError(f"{what}: the package {module} cannot be loaded ({error})", hint_of(extra)) from error
