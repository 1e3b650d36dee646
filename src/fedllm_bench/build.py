"""From an experiment to live objects: the only reader of the name tables."""

import difflib
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from fedllm_bench import assets
from fedllm_bench.data import cap, draw, draw_positions, group_by, nearest, pool, with_samples
from fedllm_bench.data.table import DATASETS
from fedllm_bench.errors import AssetError, DataError, ExperimentError
from fedllm_bench.examples import ChatExample, FederatedDataset, PreferenceExample
from fedllm_bench.experiment import Data, Experiment, Local, Plugin
from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.algorithms import ALGORITHMS
from fedllm_bench.federation.channel import ChannelSpec, Pipeline, Terms
from fedllm_bench.federation.compression import Quantize, TopK
from fedllm_bench.federation.executors.inprocess import InProcess
from fedllm_bench.federation.keys import Keys
from fedllm_bench.federation.needs import NEEDS, PRIVATE_DENIES, Part, refuse_without_meaning
from fedllm_bench.federation.optimizer import SGD, AdamW, AdamWHF, LocalOptimizer
from fedllm_bench.federation.paper_noise import PaperNoise
from fedllm_bench.federation.privacy import ClientDP, require_order
from fedllm_bench.federation.rounds import (
    Executor,
    RoundPlan,
    Sampling,
    cohort_of_the_paper,
    constant,
    cosine,
    fixed_cohort,
    poisson_cohort,
)
from fedllm_bench.federation.steps import dynamic_steps, fixed_steps
from fedllm_bench.federation.trainer import CohortTrainer, Draw, LocalPlan, batches_of_the_paper, shuffled_batches
from fedllm_bench.federation.worker import Worker
from fedllm_bench.model.base import LanguageModel, load_model
from fedllm_bench.model.compute import Compute, resolve_compute
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.quantize import QUANTIZATIONS, require_library
from fedllm_bench.model.source import BASE_ASSETS
from fedllm_bench.model.tokenise import PAIR_TRUNCATIONS, TRUNCATIONS, Codec
from fedllm_bench.objectives.dpo import dpo
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.objectives.protocol import Objective, of_kind
from fedllm_bench.objectives.sft import sft
from fedllm_bench.plugins import Offer, built_in, on_offer
from fedllm_bench.progress import SILENT, Progress

__all__ = [
    "DATASETS",
    "Parts",
    "algorithm_builder",
    "algorithm_offer",
    "algorithms",
    "build",
    "build_data",
    "channels",
    "check",
    "local_plan",
    "local_steps",
    "lora_spec",
    "make_objective",
    "offered",
    "trained_clients",
]


# Told its options, a builder gives what makes the objective from a codec and the key of what decides its output.
OBJECTIVES: dict[str, Callable[..., Callable[[Codec, str], Objective]]] = {"sft": sft, "dpo": dpo}
# What each learns from, and the policies for what is too long.
EXAMPLES: dict[str, type[ChatExample] | type[PreferenceExample]] = {"sft": ChatExample, "dpo": PreferenceExample}
POLICIES: dict[str, Mapping[str, Any]] = {"sft": TRUNCATIONS, "dpo": PAIR_TRUNCATIONS}
CHANNELS: dict[str, Callable[..., ChannelSpec]] = {
    "client-dp": ClientDP,
    "paper-noise": PaperNoise,
    "quantize": Quantize,
    "top-k": TopK,
}
SAMPLINGS: dict[str, Sampling] = {"fixed": fixed_cohort, "poisson": poisson_cohort, "paper": cohort_of_the_paper}
DRAWS: dict[str, Draw] = {"shuffled": shuffled_batches, "paper": batches_of_the_paper}
OPTIMIZERS: dict[str, Callable[[Local], LocalOptimizer]] = {
    "adamw": lambda local: AdamW(local.betas, weight_decay=local.weight_decay),
    "adamw_hf": lambda local: AdamWHF(local.betas, weight_decay=local.weight_decay),
    "sgd": lambda local: SGD(local.momentum, local.weight_decay),
}
EXECUTORS: dict[str, Callable[[Worker], Executor]] = {"inprocess": InProcess}
SCHEDULES: dict[str, Callable[[float, float, int], Callable[[int], float]]] = {"cosine": cosine, "constant": constant}


@dataclass(frozen=True)
class Parts:
    """The live objects of a run.

    Args:
        dataset: all clients.
        evaluated: positions of the clients whose held-out parts are scored.
        compute: width, token budget, threads and precision in force.
        has_personal_models: whether clients end with a model, or part of one, of their own.
        groups: evaluated client -> its value of `data.group_by`; empty where the experiment does not group them.
    """

    dataset: FederatedDataset
    evaluated: Sequence[int]
    model: LanguageModel
    objective: Objective
    encoded: EncodedClients
    plan: RoundPlan
    executor: Executor
    compute: Compute
    has_personal_models: bool
    groups: Mapping[int, str]


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
        ("federation.sampling", experiment.federation.sampling, SAMPLINGS),
        ("local.draw", experiment.local.draw, DRAWS),
    ):
        _row(key, name, table)
    _objective(experiment)
    data = experiment.data
    _require_fitting(f"data.{data.name}", _data_options(DATASETS[data.name].build), data.options)
    name = experiment.algorithm.name
    algorithm: Algorithm = _call(f"algorithm.{name}", algorithm_builder(experiment), experiment.algorithm.options)
    _require_algorithm(name, algorithm)
    parts = [Part(f"channel {name}", spec.denies) for name, spec in channel_specs(experiment)]
    require_order([spec for _, spec in channel_specs(experiment)])
    if experiment.federation.private:
        parts.append(Part("federation.private", PRIVATE_DENIES))
    refuse_without_meaning(name, algorithm, parts)
    if experiment.federation.cohort < algorithm.least_cohort:
        raise ExperimentError(
            f"{name} needs at least {algorithm.least_cohort} clients a round, not {experiment.federation.cohort}",
            "raise federation.cohort",
        )
    return algorithm


def _require_algorithm(name: str, built: Any) -> None:
    """Refuse what a plugin's builder gave if it is no method, or asks for what nothing knows."""
    if not isinstance(built, Algorithm):
        raise ExperimentError(f"algorithm.{name}: its builder gave {built!r}, no Algorithm", "return an Algorithm(...)")
    if unknown := sorted(built.needs - NEEDS.keys()):
        raise ExperimentError(f"algorithm.{name}: unknown need {unknown[0]!r}", f"known: {', '.join(NEEDS)}")


def algorithm_builder(experiment: Experiment) -> Callable[..., Algorithm]:
    """The builder of the experiment's method; its defaults are the published definition."""
    builder: Callable[..., Algorithm] = algorithm_offer(experiment).load()
    return builder


def algorithm_offer(experiment: Experiment) -> Offer:
    """Where the experiment's method comes from."""
    return offered(experiment.algorithm.name, experiment.plugins)


def offered(name: str, plugins: Sequence[Plugin] = ()) -> Offer:
    """The method of a name.

    Raises:
        ExperimentError: nothing offers it.
    """
    offer: Offer = _row("algorithm.name", name, algorithms(plugins))
    return offer


def algorithms(plugins: Sequence[Plugin] = ()) -> dict[str, Offer]:
    """The methods that `algorithm.name` takes."""
    return on_offer("ALGORITHMS", built_in(ALGORITHMS), plugins)


def channels(plugins: Sequence[Plugin] = ()) -> dict[str, Offer]:
    """The channels that `channel.name` takes."""
    return on_offer("CHANNELS", built_in(CHANNELS), plugins)


def channel_specs(experiment: Experiment) -> list[tuple[str, ChannelSpec]]:
    """The channels of an experiment with their names, in its order, their options checked."""
    known = channels(experiment.plugins) if experiment.channel else {}
    return [
        (
            channel.name,
            _call(f"channel.{channel.name}", _row("channel.name", channel.name, known).load(), channel.options),
        )
        for channel in experiment.channel
    ]


def keys_of(experiment: Experiment, algorithm: Algorithm) -> Keys:
    """Which tensors train and travel: what the method says, and what the experiment keeps with clients."""
    return Keys(algorithm.keys.frozen, (*algorithm.keys.private, *experiment.federation.private))


def require_data(experiment: Experiment) -> None:
    """Refuse data files that are named and not here, before anything is written; assets are fetched in time.

    Raises:
        MissingData: the file, and how to bring it.
    """
    with suppress(AssetError):
        DATASETS[experiment.data.name].require(**experiment.data.options)


def build_data(experiment: Experiment, progress: Progress = SILENT) -> FederatedDataset:
    """The clients that an experiment speaks of."""
    data = experiment.data
    dataset = DATASETS[data.name].build(data.held_out, progress, **data.options)
    dataset = with_samples(_in_group(data, dataset), data.min_samples, data.max_samples)
    if data.cap is not None:
        dataset = cap(dataset, data.cap, experiment.seed)
    if data.clients is not None:
        dataset = draw(dataset, data.clients, experiment.seed)
    return pool(dataset) if data.pool else dataset


def _in_group(data: Data, dataset: FederatedDataset) -> FederatedDataset:
    if data.group is None or data.group_by is None:
        return dataset
    try:
        return group_by(dataset, data.group_by, data.groups.get(data.group, (data.group,)))
    except DataError as error:
        named = f"; data.groups has {', '.join(data.groups)}" if data.groups else ""
        raise DataError(f"data.group: {error.message}", f"{error.hint}{named}") from error


def trained_clients(experiment: Experiment, dataset: FederatedDataset) -> Sequence[int]:
    """Positions of the clients that may take part in rounds: all, or the one that the experiment chose.

    Raises:
        ExperimentError: there is no such client.
    """
    data = experiment.data
    if not data.choices:
        return range(len(dataset))
    if data.pool:
        return (len(dataset) - 1,)
    if data.client_samples is not None:
        return (nearest(dataset, data.client_samples),)
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
    clients = len(dataset) - experiment.data.pool  # the pooled client comes last and has nothing held out
    if wanted == "all" or wanted >= clients:
        return list(range(clients))
    return sorted(int(position) for position in draw_positions(dataset, wanted, experiment.seed, clients))


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
    require_library(experiment.model.quantization)
    dataset = build_data(experiment, progress)
    members = trained_clients(experiment, dataset)
    for example in dataset.load(members[0]).train[:1]:  # before the model is fetched and loaded
        of_kind(EXAMPLES[experiment.objective.name], example, experiment.objective.name)
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
        quantization=experiment.model.quantization,
    )
    objective = make_objective(experiment, model.tokenizer, model.fingerprint)
    annotation = objective.annotation(model, compute.token_budget)
    encoded = EncodedClients(dataset, objective, assets.cache_dir(), annotation, progress)
    local = experiment.local
    keys = keys_of(experiment, algorithm)
    keys.require_sense(model.lora.shapes)
    trainer = CohortTrainer(
        model,
        objective,
        algorithm.client,
        local_plan(experiment),
        compute.token_budget,
        experiment.seed,
        keys,
        algorithm.beside,
    )
    federation = experiment.federation
    terms = Terms(
        clients=len(members),
        samples=sum(dataset.size(member) for member in members),
        cohort=min(federation.cohort, len(members)),
        rounds=federation.rounds,
        sampling=federation.sampling,
        lr=local.lr,
    )
    evaluated = evaluated_clients(experiment, dataset)
    return Parts(
        dataset=dataset,
        evaluated=evaluated,
        model=model,
        objective=objective,
        encoded=encoded,
        plan=RoundPlan(
            seed=experiment.seed,
            members=members,
            cohort=federation.cohort,
            lr=SCHEDULES[local.schedule](local.lr, local.lr_min, federation.rounds),
            algorithm=algorithm,
            channel=Pipeline([spec.bind(terms) for _, spec in channel_specs(experiment)]),
            width=compute.width,
            keys=keys,
            sampling=SAMPLINGS[experiment.federation.sampling],
        ),
        executor=EXECUTORS[experiment.executor.name](Worker(trainer, encoded, local_steps(experiment, len(members)))),
        compute=compute,
        has_personal_models=bool(keys.private) or "per-client models" in algorithm.needs,
        groups=_groups(experiment.data.group_by, dataset, evaluated),
    )


def _groups(field: str | None, dataset: FederatedDataset, clients: Sequence[int]) -> dict[int, str]:
    if field is None:
        return {}
    return {client: dataset.load(client).meta.get(field, "none") for client in clients}


def local_plan(experiment: Experiment) -> LocalPlan:
    """How an experiment's clients train."""
    local = experiment.local
    return LocalPlan(
        local.batch_size,
        local.clip_norm or None,
        OPTIMIZERS[local.optimizer](local),
        local.keep_optimizer,
        local.accumulation,
        DRAWS[local.draw],
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
    return _objective(experiment)(codec, hashlib.sha256(repr(parts).encode()).hexdigest())


def _objective(experiment: Experiment) -> Callable[[Codec, str], Objective]:
    """What makes the objective, its name, options and policy for long samples checked."""
    name, settings = experiment.objective.name, experiment.objective
    _row(f"objective.truncation with {name}", settings.truncation, POLICIES[name])
    builder: Callable[[Codec, str], Objective] = _call(f"objective.{name}", OBJECTIVES[name], settings.options)
    return builder


def local_steps(experiment: Experiment, clients: int) -> Callable[[int], int]:
    """From the samples of a client to its optimizer steps in a round; `clients` may take part."""
    local, federation = experiment.local, experiment.federation
    if local.steps != "dynamic":
        return partial(fixed_steps, steps=local.steps)
    return partial(
        dynamic_steps,
        rounds=federation.rounds,
        cohort=min(federation.cohort, clients),
        clients=clients,
        batch_size=local.batch_size,
        passes=local.passes,
    )


def _options(builder: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(builder).parameters.values())


def _data_options(builder: Callable[..., Any]) -> list[inspect.Parameter]:
    """What the table of a dataset's name may hold; the other parameters come from `[data]` itself."""
    return [parameter for parameter in _options(builder) if parameter.kind is inspect.Parameter.KEYWORD_ONLY]


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
    _require_fitting(where, _options(builder), options)
    try:
        return builder(**{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()})
    except ExperimentError as error:
        raise ExperimentError(f"{where}: {error.message}", error.hint) from None


def _require_fitting(where: str, known: Sequence[inspect.Parameter], options: Mapping[str, Any]) -> None:
    """Refuse options that are not among the parameters, or not of the kind of their defaults."""
    parameters = {parameter.name: parameter for parameter in known}
    _known_options(where, options, list(parameters))
    for name, value in options.items():
        kind = type(parameters[name].default)
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int)) or _is_array(kind, value)
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise ExperimentError(f"{where}.{name}: expected {_WORDS.get(kind, kind.__name__)}, got {value!r}")


_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", tuple: "an array"}


def _is_array(kind: type, value: Any) -> bool:
    return kind is tuple and isinstance(value, list)
