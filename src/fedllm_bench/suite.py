"""The benchmarks of runs and of the base models they started from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from fedllm_bench import assets
from fedllm_bench.analysis.frames import Run
from fedllm_bench.benchmark_scores import Scores, write_scores
from fedllm_bench.candidates import Group, dataset_of, groups_of, loaded
from fedllm_bench.endpoint import EndpointError
from fedllm_bench.errors import FedLLMError, ModelError
from fedllm_bench.evaluate.bench import Bench, Embed, Options
from fedllm_bench.evaluate.engine import Candidate, Engine, OwnWriter, Writer, WriterError
from fedllm_bench.evaluate.judging.judge import JudgeError
from fedllm_bench.evaluate.table import Benchmark
from fedllm_bench.evaluate.vllm_writer import VllmWriter
from fedllm_bench.measure.embed import embedder_of
from fedllm_bench.model.base import device_and_dtype, load_model
from fedllm_bench.model.source import resolve
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.progress import SILENT, Progress

__all__ = ["WRITERS", "evaluate_runs"]

EMBEDDER = "use-multilingual"


def evaluate_runs(
    runs: Sequence[Run], benchmarks: Mapping[str, Benchmark], options: Options, progress: Progress = SILENT
) -> list[Path]:
    """Run benchmarks on finished runs and on their base models; return the files of scores.

    What was answered or judged before is not asked again. A benchmark that cannot run is kept as missing, with its
    reason and the way out, and the others go on.

    Args:
        runs: that are finished.
        benchmarks: by name: rows of `EVALUATIONS`, tasks of lm-evaluation-harness.
        options: of the user.
        progress: shows what is done.

    Raises:
        FedLLMError: a judge or a model cannot go on; what is there is kept.
    """
    written = []
    for group in groups_of(runs):
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
    except (EndpointError, JudgeError, WriterError):
        raise  # the judge or the engine cannot go on: nothing is missing, and what has arrived is kept
    except FedLLMError as error:
        found = [Scores(name, missing=error.message, hint=error.hint or "") for _ in bench.candidates]
    yield from zip(bench.candidates, found, strict=True)


def _own(group: Group) -> AbstractContextManager[Writer]:
    return nullcontext(OwnWriter())


def _vllm(group: Group) -> AbstractContextManager[Writer]:
    experiment = group.experiment
    settings = experiment.model
    if settings.quantization != "none":
        raise ModelError(f"--engine vllm takes no base in {settings.quantization}", "leave --engine out")
    _, dtype = device_and_dtype(experiment.executor.device, settings.dtype)
    return VllmWriter(resolve(settings.base), dtype, group.spec.rank, len(group.runs))


# What `--engine` names.
WRITERS: dict[str, Callable[[Group], AbstractContextManager[Writer]]] = {"own": _own, "vllm": _vllm}


def _bench(group: Group, writer: Writer, options: Options, progress: Progress) -> Bench:
    experiment = group.experiment
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
    candidates = loaded(group)
    for candidate in candidates:
        if candidate.adapter is not None:
            model.lora.require_shape(candidate.adapter, str(candidate.folder))
    return Bench(
        engine,
        candidates,
        partial(dataset_of, experiment, progress),
        _embed(progress),
        options,
        assets.cache_dir(),
        progress,
    )


def _embed(progress: Progress) -> Embed | None:
    """The multilingual embedder, where its package is here."""
    try:
        return embedder_of(EMBEDDER, progress).encode
    except FedLLMError:
        return None
