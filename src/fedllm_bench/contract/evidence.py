"""What a run left behind, in the form in which two runs are compared."""

import json
from typing import Any

from fedllm_bench import records
from fedllm_bench.federation.checkpoint import Checkpoints
from fedllm_bench.store import RunFolder
from fedllm_bench.tensors import Tensors, norm, prefixed, subtract

__all__ = ["contents", "difference", "model_of"]


def contents(folder: RunFolder) -> dict[str, Any]:
    """Every file of a run by name: its bytes, and of records and environment all but the times."""
    found: dict[str, Any] = {}
    for path in sorted(folder.path.rglob("*")):
        name = path.relative_to(folder.path).as_posix()
        if path.suffix == ".jsonl":
            found[name] = [{key: row[key] for key in row if key != "seconds"} for row in records.read(path)]
        elif path == folder.environment:
            facts = json.loads(path.read_text(encoding="utf-8"))
            found[name] = {key: facts[key] for key in facts if key != "started"}
        elif path.is_file() and path.name != ".lock":
            found[name] = path.read_bytes()
    return found


def model_of(folder: RunFolder) -> dict[str, Any]:
    """The tensors of a run's model at its end: the adapter, and what was added to the base."""
    state = Checkpoints(folder.checkpoints, keep=1).newest()
    if state is None:
        raise AssertionError(f"{folder.path} has no checkpoint")
    return {**prefixed("adapter", state.adapter), **prefixed("base", state.base)}


def difference(a: Tensors, b: Tensors) -> float:
    """|a - b| / |b|."""
    return norm(subtract(a, b)) / norm(b)
