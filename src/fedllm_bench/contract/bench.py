"""A tiny random model and made-up clients in a folder, on which a method is run as any experiment is."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedllm_bench import rng
from fedllm_bench.check import check
from fedllm_bench.experiment import Experiment, Plugin, resolve
from fedllm_bench.experiment.documents import Document, merge
from fedllm_bench.model.tiny import write_tiny_model
from fedllm_bench.progress import SILENT, Progress
from fedllm_bench.run import execute
from fedllm_bench.store import RunFolder

__all__ = ["ROUNDS", "Bench", "workplace"]

ROUNDS = 2
CLIENTS = 12
LEAST_COHORT = 3
WORDS = ("rain", "tea", "we", "you", "walk", "often", "never", "mild", "green", "song", "late", "river")
MAPPINGS: Mapping[str, str] = {
    "chats": 'response = "{reply}"',
    "choices": 'chosen = "{reply}"\nrejected = "{other}"',
}


@dataclass(frozen=True)
class Bench:
    """Where a method is tried.

    Args:
        folder: model, clients and runs.
        method: the name of the method.
        options: of it, in all runs.
        plugins: files that may bring it.
        cohort: clients of a round.
        neutral: options under which it is FedAvg, where the suite does not know any.
    """

    folder: Path
    method: str
    options: Mapping[str, Any]
    plugins: tuple[Plugin, ...]
    cohort: int
    neutral: Mapping[str, Any] | None = None

    def experiment(self, changes: Mapping[str, Any] | None = None, data: str = "chats") -> Experiment:
        """A small experiment with the method.

        Args:
            changes: laid over it, as in an experiment file.
            data: the mapping of the clients' rows, a name of `MAPPINGS`.
        """
        document: Document = {
            "name": "check",
            "data": {"name": "import", "min_samples": 1, "import": {"mapping": str(self.folder / f"{data}.toml")}},
            "model": {"base": str(self.folder / "model"), "dtype": "float32", "lora": {"rank": 4, "alpha": 8.0}},
            "objective": {"max_length": 64},
            "local": {"steps": 2, "batch_size": 2, "lr": 1e-2},
            "federation": {"rounds": ROUNDS, "cohort": self.cohort},
            "algorithm": {"name": self.method, self.method: dict(self.options)},
            "executor": {"width": 1, "threads": 1, "device": "cpu"},
            "evaluate": {"clients": 2, "samples": 1},
        }
        files = [Path(plugin.file) for plugin in self.plugins]
        # Local training expands to a run for each of some clients: one tells as much as all.
        return resolve(merge(document, dict(changes or {})), f"check of {self.method}", plugins=files)[0]

    def run(self, experiment: Experiment, where: str = "runs", progress: Progress = SILENT) -> RunFolder:
        """Run an experiment to its end, once: a complete run is left alone.

        Args:
            experiment: one of this bench.
            where: the folder of the runs.
            progress: told how far it is.
        """
        return RunFolder(execute(experiment, self.folder / where, progress))

    def of(self, method: str, options: Mapping[str, Any]) -> "Bench":
        """The same place for another method."""
        return replace(self, method=method, options=options)


@contextmanager
def workplace(
    folder: Path,
    method: str,
    options: Mapping[str, Any] | None = None,
    plugins: Sequence[Plugin] = (),
    neutral: Mapping[str, Any] | None = None,
) -> Iterator[Bench]:
    """Make the model and the clients in a folder, which also takes the place of the cache.

    Raises:
        ExperimentError: there is no such method, or it does not take the options.
    """
    bench = Bench(folder, method, dict(options or {}), tuple(plugins), CLIENTS, neutral)
    if not (folder / "model").exists():
        write_tiny_model(folder / "model", hidden=32)
        _write_clients(folder)
    before = os.environ.get("FEDLLM_BENCH_CACHE")
    os.environ["FEDLLM_BENCH_CACHE"] = str(folder / "cache")
    try:
        yield replace(bench, cohort=max(LEAST_COHORT, check(bench.experiment()).least_cohort))
    finally:
        del os.environ["FEDLLM_BENCH_CACHE"]
        if before is not None:
            os.environ["FEDLLM_BENCH_CACHE"] = before


def _write_clients(folder: Path) -> None:
    """Rows of clients of unequal sizes, and two ways to read them."""
    rows = [
        {"client": f"client-{client:02}", **{field: _sentence(client, row, field) for field in FIELDS}}
        for client in range(CLIENTS)
        for row in range(4 + client % 4)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name, answers in MAPPINGS.items():
        rules = f'name = "{name}"\nfile = "rows.jsonl"\nclient = "client"\nprompt = "{{prompt}}"\n{answers}\n'
        (folder / f"{name}.toml").write_text(rules, encoding="utf-8")


FIELDS = ("prompt", "reply", "other")


def _sentence(client: int, row: int, field: str) -> str:
    draw = rng.stream(0, "made-up row", client, row, field)
    return " ".join(draw.choice(WORDS, int(draw.integers(2, 5))))
