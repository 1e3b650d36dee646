"""Who is evaluated: finished runs and the base models they started from, grouped by what they share."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedllm_bench.analysis.frames import Run
from fedllm_bench.analysis.terms import WHO_TRAINS
from fedllm_bench.benchmark_scores import base_folder
from fedllm_bench.clients import build_data
from fedllm_bench.evaluate.engine import Candidate
from fedllm_bench.examples import FederatedDataset
from fedllm_bench.experiment import Experiment
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.peft_format import load_adapter
from fedllm_bench.progress import SILENT, Progress
from fedllm_bench.store import write_json
from fedllm_bench.tensors import Tensors

__all__ = ["Group", "dataset_of", "experiment_of", "groups_of", "loaded"]


@dataclass(frozen=True)
class Group:
    """Runs whose adapters fit one model, and the base model if it is evaluated with them."""

    runs: tuple[Run, ...]
    spec: LoraSpec
    with_base: bool

    @property
    def experiment(self) -> Experiment:
        """Of the first run: what decides the questions and the model is the same in all."""
        return experiment_of(self.runs[0])

    @property
    def candidates(self) -> list[Candidate]:
        """The models, their adapters not yet read."""
        first = self.runs[0]
        base = Candidate("base", base_folder(first.path, first.experiment), None, "base")
        return [*([base] if self.with_base else []), *map(_candidate, self.runs)]


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Runs by base model and shape of their adapters; the first group of each base has the base with it."""
    found: dict[tuple[Path, LoraSpec], list[Run]] = {}
    for run in runs:
        found.setdefault((base_folder(run.path, run.experiment), _spec(run)), []).append(run)
    seen: set[Path] = set()
    groups = []
    for (base, spec), members in found.items():
        groups.append(Group(tuple(members), spec, base not in seen))
        seen.add(base)
    return groups


def loaded(group: Group) -> list[Candidate]:
    """The models of a group with their adapters; the base's folder says which base it is of."""
    first, found = group.runs[0], []
    for candidate in group.candidates:
        if candidate.identity != "base":
            found.append(replace(candidate, adapter=_adapter(candidate.folder)[0]))
            continue
        if not (candidate.folder / "model.json").exists():
            settings = {table: first.experiment[table] for table in ("model", "objective", "data")}
            write_json(candidate.folder / "model.json", settings)
        found.append(candidate)
    return found


def experiment_of(run: Run) -> Experiment:
    """The settings of a run."""
    return Experiment.model_validate({key: value for key, value in run.experiment.items() if key != "run_id"})


def dataset_of(experiment: Experiment, progress: Progress = SILENT) -> FederatedDataset:
    """All clients of an experiment, whoever trains in it."""
    document = experiment.model_dump(mode="json")
    document["data"] = {key: value for key, value in document["data"].items() if key not in WHO_TRAINS}
    return build_data(Experiment.model_validate(document), progress)


def _spec(run: Run) -> LoraSpec:
    _, config = _adapter(run.path)
    return LoraSpec(int(config["r"]), float(config["lora_alpha"]), 0.0, tuple(sorted(config["target_modules"])))


def _adapter(folder: Path) -> tuple[Tensors, dict[str, Any]]:
    return load_adapter(folder / "adapter")


def _candidate(run: Run) -> Candidate:
    content = (run.path / "adapter" / "adapter_model.safetensors").read_bytes()
    return Candidate(run.algorithm, run.path, None, hashlib.sha256(content).hexdigest())
