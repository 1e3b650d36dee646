"""Whole runs at their smallest, in the test's own process: the tiny model and made-up conversations."""

from pathlib import Path
from typing import Any

from fedllm_bench import records
from fedllm_bench.experiment import resolve
from fedllm_bench.federation.checkpoint import Checkpoints
from fedllm_bench.federation.messages import RunState
from fedllm_bench.run import execute
from fedllm_bench.store import RunFolder

SMALL = (
    "data.min_samples=5",
    "model.lora.rank=4",
    "model.lora.alpha=8",
    "model.lora.dropout=0.0",
    "local.steps=2",
    "local.batch_size=2",
    "local.lr=1e-3",
    "federation.rounds=2",
    "federation.cohort=3",
    "evaluate.clients=4",
    "evaluate.samples=2",
    "executor.threads=1",
    "model.dtype=float32",
)


def run(base: Path, runs: Path, *overrides: str) -> RunFolder:
    """The folder of the one run that the small experiment with these overrides asks for, finished.

    The cache, `FEDLLM_BENCH_CACHE`, must hold the conversations (`made_up.take_as_chitchat`).
    """
    document = {"name": "small", "model": {"base": str(base)}, "federation": {"rounds": 1, "cohort": 1}}
    (experiment,) = resolve(document, "small", [*SMALL, *overrides])
    return RunFolder(execute(experiment, runs))


def last_state(folder: RunFolder) -> RunState:
    state = Checkpoints(folder.checkpoints, 2).newest()
    assert state is not None
    return state


def rows(path: Path) -> list[dict[str, Any]]:
    return list(records.read(path))
