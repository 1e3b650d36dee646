"""From an experiment to live objects: the only reader of the name tables."""

import difflib
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedllm_bench import assets
from fedllm_bench.data import build_fed_chitchat, draw, draw_positions, with_samples
from fedllm_bench.errors import ExperimentError
from fedllm_bench.examples import FederatedDataset
from fedllm_bench.experiment import Experiment
from fedllm_bench.federation.algorithms import ALGORITHMS, Algorithm
from fedllm_bench.federation.channel import Channel, Pipeline
from fedllm_bench.federation.executors.inprocess import InProcess
from fedllm_bench.federation.optimizer import AdamW, LocalOptimizer
from fedllm_bench.federation.rounds import Executor, RoundPlan, constant, cosine
from fedllm_bench.federation.trainer import CohortTrainer, LocalPlan
from fedllm_bench.federation.worker import Worker
from fedllm_bench.model.base import LanguageModel, load_model
from fedllm_bench.model.compute import Compute, resolve_compute
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.source import BASE_ASSETS
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.objectives.protocol import Objective
from fedllm_bench.objectives.sft import SFT
from fedllm_bench.progress import SILENT, Progress

__all__ = [
    "DATASET_ASSETS",
    "Parts",
    "build",
    "build_data",
    "check",
    "lora_spec",
    "make_objective",
    "methods",
    "trained_clients",
]


def _fed_chitchat(held_out: float, progress: Progress, **options: Any) -> FederatedDataset:
    """Conversations of 1,315 people; a client is a person, an example a reply with the turns before it."""
    path = assets.locate("chitchat", progress)
    return build_fed_chitchat(path, assets.cache_dir(), held_out=held_out, min_samples=1, progress=progress, **options)


DATASETS: dict[str, Callable[..., FederatedDataset]] = {"fed-chitchat": _fed_chitchat}
# What a dataset is built from; an estimate looks whether it is here.
DATASET_ASSETS = {"fed-chitchat": ("chitchat",)}
OBJECTIVES: dict[str, Callable[[Codec, str], Objective]] = {"sft": SFT}
CHANNELS: dict[str, Callable[..., Channel]] = {}
OPTIMIZERS: dict[str, Callable[[tuple[float, float], float], LocalOptimizer]] = {
    "adamw": lambda betas, decay: AdamW(betas=betas, weight_decay=decay)
}
EXECUTORS: dict[str, Callable[[Worker], Executor]] = {"inprocess": InProcess}
SCHEDULES: dict[str, Callable[[float, float, int], Callable[[int], float]]] = {"cosine": cosine, "constant": constant}
QUANTIZATIONS = {"none": None}

# The options of a dataset's builder, which its signature does not show since data settings come in between.
_DATA_OPTIONS = {"fed-chitchat": ("context_turns", "min_words", "seed")}


@dataclass(frozen=True)
class Parts:
    """The live objects of a run.

    Args:
        dataset: all clients.
        evaluated: positions of the clients whose held-out parts are scored.
        compute: width, token budget, threads and precision in force.
    """

    dataset: FederatedDataset
    evaluated: Sequence[int]
    model: LanguageModel
    objective: Objective
    encoded: EncodedClients
    plan: RoundPlan
    executor: Executor
    compute: Compute


def check(experiment: Experiment) -> Algorithm:
    """Refuse names and options that no table has, before anything is downloaded or loaded.

    Raises:
        ExperimentError: the key, the name and the nearest that exists.
    """
    for key, name, table in (
        ("data.name", experiment.data.name, DATASETS),
        ("objective.name", experiment.objective.name, OBJECTIVES),
        ("local.optimizer", experiment.local.optimizer, OPTIMIZERS),
        ("executor.name", experiment.executor.name, EXECUTORS),
        ("model.quantization", experiment.model.quantization, QUANTIZATIONS),
    ):
        _row(key, name, table)
    _known_options(f"data.{experiment.data.name}", experiment.data.options, _DATA_OPTIONS[experiment.data.name])
    for channel in experiment.channel:
        _call("channel", _row("channel.name", channel.name, CHANNELS), channel.options)
    name = experiment.algorithm.name
    algorithm: Algorithm = _call(
        f"algorithm.{name}", _row("algorithm.name", name, ALGORITHMS), experiment.algorithm.options
    )
    return algorithm


def build_data(experiment: Experiment, progress: Progress = SILENT) -> FederatedDataset:
    """The clients that an experiment speaks of."""
    data = experiment.data
    dataset = DATASETS[data.name](data.held_out, progress, **data.options)
    dataset = with_samples(dataset, data.min_samples, data.max_samples)
    return draw(dataset, data.clients, experiment.seed) if data.clients is not None else dataset


def trained_clients(experiment: Experiment, dataset: FederatedDataset) -> Sequence[int]:
    """Positions of the clients that may take part in rounds: all, or the one that local training chose.

    Raises:
        ExperimentError: there is no such client.
    """
    data = experiment.data
    if data.client is None and data.drawn is None:
        return range(len(dataset))
    if data.drawn is not None:
        return (int(draw_positions(dataset, data.drawn.of, experiment.seed)[data.drawn.index]),)
    for position in range(len(dataset)):
        if dataset.client_id(position) == data.client:
            return (position,)
    raise ExperimentError(
        f"data.client: {dataset.name} has no client {data.client!r} with enough samples",
        f"lower data.min_samples, or choose another, such as {dataset.client_id(0)!r}",
    )


def evaluated_clients(experiment: Experiment, dataset: FederatedDataset) -> list[int]:
    """Positions of the clients whose held-out parts are scored, the same for every method of an experiment.

    Drawn as local training draws its clients, so that those are among them and their own loss can be compared.
    """
    wanted = experiment.evaluate.clients
    if wanted == "all" or wanted >= len(dataset):
        return list(range(len(dataset)))
    return sorted(int(position) for position in draw_positions(dataset, wanted, experiment.seed))


def lora_spec(experiment: Experiment) -> LoraSpec:
    """The adapter that an experiment asks for."""
    lora = experiment.model.lora
    return LoraSpec(lora.rank, lora.alpha, lora.dropout, tuple(lora.targets))


def build(experiment: Experiment, recorded: Mapping[str, Any] | None, progress: Progress) -> Parts:
    """Everything that a run needs.

    Args:
        experiment: one resolved run.
        recorded: the environment that the run was started in, whose compute settings a resume keeps.
        progress: shows downloads and conversions.
    """
    algorithm = check(experiment)
    dataset = build_data(experiment, progress)
    members = trained_clients(experiment, dataset)
    if experiment.model.base in BASE_ASSETS:
        assets.locate(BASE_ASSETS[experiment.model.base], progress)
    compute = resolve_compute(experiment.executor, experiment.model.dtype, experiment.federation.cohort, recorded)
    model = load_model(
        experiment.model.base,
        lora_spec(experiment),
        dtype=compute.dtype,
        device=compute.device,
        packing=compute.packing,
        gradient_checkpointing=experiment.executor.gradient_checkpointing,
    )
    objective = make_objective(experiment, model.tokenizer, model.fingerprint)
    encoded = EncodedClients(dataset, objective, assets.cache_dir())
    local = experiment.local
    plan = LocalPlan(
        local.steps,
        local.batch_size,
        local.clip_norm or None,
        OPTIMIZERS[local.optimizer](local.betas, local.weight_decay),
        local.keep_optimizer,
    )
    trainer = CohortTrainer(model, objective, algorithm.client, plan, compute.token_budget, experiment.seed)
    return Parts(
        dataset=dataset,
        evaluated=evaluated_clients(experiment, dataset),
        model=model,
        objective=objective,
        encoded=encoded,
        plan=RoundPlan(
            seed=experiment.seed,
            members=members,
            cohort=experiment.federation.cohort,
            lr=SCHEDULES[local.schedule](local.lr, local.lr_min, experiment.federation.rounds),
            algorithm=algorithm,
            channel=Pipeline([CHANNELS[channel.name](**channel.options) for channel in experiment.channel]),
            width=compute.width,
        ),
        executor=EXECUTORS[experiment.executor.name](Worker(trainer, encoded, local.steps)),
        compute=compute,
    )


def make_objective(experiment: Experiment, tokenizer: Any, fingerprint: str) -> Objective:
    """The objective that an experiment asks for, over one model's tokenizer.

    Args:
        tokenizer: the base model's.
        fingerprint: of the base model; with the settings it names the cache of encoded clients.
    """
    settings = experiment.objective
    codec = Codec(tokenizer, settings.template, settings.max_length, settings.truncation)
    parts = (fingerprint, settings.template, settings.max_length, settings.truncation)
    return OBJECTIVES[settings.name](codec, hashlib.sha256(repr(parts).encode()).hexdigest())


def methods() -> list[dict[str, str]]:
    """One row for each method: its name, what it is, its options and what it needs."""
    rows = []
    for name, builder in ALGORITHMS.items():
        options = ", ".join(f"{option.name} = {option.default}" for option in _options(builder))
        first = (inspect.getdoc(builder) or "").splitlines()[0]
        needs = ", ".join(sorted(builder().needs))
        rows.append({"name": name, "summary": first, "options": options, "needs": needs})
    return rows


def _options(builder: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(builder).parameters.values())


def _row(key: str, name: str, table: Mapping[str, Any]) -> Any:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1)
    known = f"known: {', '.join(table)}" if table else "none is known yet"
    raise ExperimentError(f"{key}: unknown name {name!r}", f'did you mean "{near[0]}"?' if near else known)


def _known_options(where: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"options: {', '.join(known) or 'none'}"
            raise ExperimentError(f"{where}: unknown option {name!r}", hint)


def _call(where: str, builder: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Call a builder with options that fit its signature, whole numbers passing as floats."""
    parameters = {parameter.name: parameter for parameter in _options(builder)}
    _known_options(where, options, list(parameters))
    for name, value in options.items():
        kind = type(parameters[name].default)
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise ExperimentError(f"{where}.{name}: expected {kind.__name__}, got {value!r}")
    return builder(**options)
