"""The benchmarks of runs and of the base models they started from."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fedllm_bench import assets
from fedllm_bench.analysis.frames import Run, read_runs
from fedllm_bench.benchmark_scores import Scores, base_folder, write_scores
from fedllm_bench.clients import build_data
from fedllm_bench.endpoint import EndpointError
from fedllm_bench.errors import FedLLMError, ModelError, RunError
from fedllm_bench.evaluate.bench import Bench, Embed, Options
from fedllm_bench.evaluate.engine import Candidate, Engine, OwnWriter, Writer, WriterError
from fedllm_bench.evaluate.table import Benchmark
from fedllm_bench.evaluate.vllm_writer import VllmWriter
from fedllm_bench.examples import FederatedDataset
from fedllm_bench.experiment import Experiment
from fedllm_bench.measure.embed import embedder_of
from fedllm_bench.model.base import device_and_dtype, load_model
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.peft_format import load_adapter
from fedllm_bench.model.source import resolve
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.progress import SILENT, Progress
from fedllm_bench.store import write_json
from fedllm_bench.tensors import Tensors

__all__ = ["WRITERS", "evaluate_runs"]

EMBEDDER = "use-multilingual"
# Settings of `data` that say who trains: questions come from all clients.
WHO_TRAINS = ("group", "cap", "pool", "client", "client_samples", "drawn", "partition")


@dataclass(frozen=True)
class _Group:
    """Runs whose adapters fit one model, and the base model if it is evaluated with them."""

    runs: tuple[Run, ...]
    spec: LoraSpec
    with_base: bool


def evaluate_runs(
    paths: Sequence[Path], benchmarks: Mapping[str, Benchmark], options: Options, progress: Progress = SILENT
) -> list[Path]:
    """Run benchmarks on finished runs and on their base models; return the files of scores.

    What was answered or judged before is not asked again. A benchmark that cannot run is kept as missing, with its
    reason and the way out, and the others go on.

    Args:
        paths: of runs, or of the folders above them.
        benchmarks: by name: rows of `EVALUATIONS`, tasks of lm-evaluation-harness.
        options: of the user.
        progress: shows what is done.

    Raises:
        RunError: no run among them is finished.
        FedLLMError: a judge or a model cannot go on; what is there is kept.
    """
    found = read_runs(paths)
    runs = [run for run in found if run.complete]
    for run in found:
        if not run.complete:
            options.tell(f"left out, since it is not finished: {run.path}")
    if not runs:
        raise RunError(f"{paths[0]}: no run is finished", "finish one with fedllm-bench run")
    written = []
    for group in _groups(runs):
        with WRITERS[options.engine](group) as writer:
            bench = _bench(group, writer, options, progress)
            for name, benchmark in benchmarks.items():
                for candidate, scores in _evaluated(name, benchmark, bench):
                    written.append(write_scores(candidate.folder, scores))
    return written


def _evaluated(name: str, benchmark: Benchmark, bench: Bench) -> Iterator[tuple[Candidate, Scores]]:
    """The scores of each candidate; of none where something is missing that the benchmark needs."""
    try:
        found = list(benchmark(bench))
    except (EndpointError, WriterError):
        raise  # the judge or the engine cannot go on: nothing is missing, and what has arrived is kept
    except FedLLMError as error:
        found = [Scores(name, missing=error.message, hint=error.hint or "") for _ in bench.candidates]
    yield from zip(bench.candidates, found, strict=True)


def _groups(runs: Sequence[Run]) -> list[_Group]:
    """Runs by base model and shape of their adapters; the first group of each base has the base with it."""
    found: dict[tuple[Path, LoraSpec], list[Run]] = {}
    for run in runs:
        found.setdefault((base_folder(run.path, run.experiment), _spec(run)), []).append(run)
    seen: set[Path] = set()
    groups = []
    for (base, spec), members in found.items():
        groups.append(_Group(tuple(members), spec, base not in seen))
        seen.add(base)
    return groups


def _spec(run: Run) -> LoraSpec:
    _, config = _adapter(run)
    return LoraSpec(int(config["r"]), float(config["lora_alpha"]), 0.0, tuple(sorted(config["target_modules"])))


def _adapter(run: Run) -> tuple[Tensors, dict[str, Any]]:
    return load_adapter(run.path / "adapter")


def _own(group: _Group) -> AbstractContextManager[Writer]:
    return nullcontext(OwnWriter())


def _vllm(group: _Group) -> AbstractContextManager[Writer]:
    experiment = _experiment(group.runs[0])
    settings = experiment.model
    if settings.quantization != "none":
        raise ModelError(f"--engine vllm takes no base in {settings.quantization}", "leave --engine out")
    _, dtype = device_and_dtype(experiment.executor.device, settings.dtype)
    return VllmWriter(resolve(settings.base), dtype, group.spec.rank, len(group.runs))


# What `--engine` names.
WRITERS: dict[str, Callable[[_Group], AbstractContextManager[Writer]]] = {"own": _own, "vllm": _vllm}


def _bench(group: _Group, writer: Writer, options: Options, progress: Progress) -> Bench:
    first = group.runs[0]
    experiment = _experiment(first)
    model = load_model(
        experiment.model.base,
        group.spec,
        dtype=experiment.model.dtype,
        device=experiment.executor.device,
        packing=experiment.executor.packing,
        quantization=experiment.model.quantization,
    )
    objective = experiment.objective
    codec = Codec(model.tokenizer, objective.template, objective.max_length)
    engine = Engine(model, codec, str(model.model.dtype).split(".")[-1], writer)
    candidates = [*([_base(first)] if group.with_base else []), *map(_candidate, group.runs)]
    for candidate in candidates:
        if candidate.adapter is not None:
            model.lora.require_shape(candidate.adapter, str(candidate.folder))
    return Bench(
        engine,
        candidates,
        partial(_dataset, experiment, progress),
        _embed(progress),
        options,
        assets.cache_dir(),
        progress,
    )


def _experiment(run: Run) -> Experiment:
    return Experiment.model_validate({key: value for key, value in run.experiment.items() if key != "run_id"})


def _embed(progress: Progress) -> Embed | None:
    """The multilingual embedder, where its package is here."""
    try:
        return embedder_of(EMBEDDER, progress).encode
    except FedLLMError:
        return None


def _dataset(experiment: Experiment, progress: Progress) -> FederatedDataset:
    """All clients of an experiment, whoever trains in it."""
    document = experiment.model_dump(mode="json")
    document["data"] = {key: value for key, value in document["data"].items() if key not in WHO_TRAINS}
    return build_data(Experiment.model_validate(document), progress)


def _base(run: Run) -> Candidate:
    folder = base_folder(run.path, run.experiment)
    settings = {table: run.experiment[table] for table in ("model", "objective", "data")}
    if not (folder / "model.json").exists():
        write_json(folder / "model.json", settings)
    return Candidate("base", folder, None, "base")


def _candidate(run: Run) -> Candidate:
    tensors, _ = _adapter(run)
    content = (run.path / "adapter" / "adapter_model.safetensors").read_bytes()
    return Candidate(run.algorithm, run.path, tensors, hashlib.sha256(content).hexdigest())
