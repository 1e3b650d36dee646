"""From an experiment to the live objects of a run."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fedllm_bench import assets
from fedllm_bench.check import check, require_cohort
from fedllm_bench.clients import build_data, evaluated_clients, groups_of, trained_clients
from fedllm_bench.errors import ExperimentError
from fedllm_bench.examples import FederatedDataset
from fedllm_bench.experiment import Experiment
from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.channel import Pipeline, Terms
from fedllm_bench.federation.keys import Keys
from fedllm_bench.federation.needs import needs_of
from fedllm_bench.federation.rounds import Executor, RoundPlan
from fedllm_bench.federation.steps import dynamic_steps, fixed_steps
from fedllm_bench.federation.trainer import CohortTrainer, LocalPlan
from fedllm_bench.federation.worker import Worker
from fedllm_bench.model.base import LanguageModel, load_model
from fedllm_bench.model.compute import Compute, resolve_compute
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.quantize import require_library
from fedllm_bench.model.source import BASE_ASSETS
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.objectives.protocol import Objective, of_kind
from fedllm_bench.progress import Progress
from fedllm_bench.tables import (
    DRAWS,
    EXAMPLES,
    EXECUTORS,
    OPTIMIZERS,
    SAMPLINGS,
    SCHEDULES,
    channel_specs,
    objective_builder,
)

__all__ = ["Parts", "build", "local_plan", "local_steps", "lora_spec", "make_objective"]


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
    require_cohort(experiment.algorithm.name, algorithm, min(experiment.federation.cohort, len(members)))
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
    annotation = objective.annotation(model)
    encoded = EncodedClients(dataset, objective, assets.cache_dir(), annotation, progress)
    local = experiment.local
    keys = _keys(experiment, algorithm)
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
    federation, terms = experiment.federation, _terms(experiment, dataset, members)
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
            channel=_bound_channels(experiment, terms),
            width=compute.width,
            keys=keys,
            sampling=SAMPLINGS[experiment.federation.sampling],
        ),
        executor=EXECUTORS[experiment.executor.name](Worker(trainer, encoded, local_steps(experiment, len(members)))),
        compute=compute,
        has_personal_models=bool(keys.private) or "per-client models" in needs_of(algorithm),
        groups=groups_of(experiment, dataset, evaluated),
    )


def _terms(experiment: Experiment, dataset: FederatedDataset, members: Sequence[int]) -> Terms:
    """What channels must know of the federation."""
    federation = experiment.federation
    return Terms(
        clients=len(members),
        samples=sum(dataset.size(member) for member in members),
        cohort=min(federation.cohort, len(members)),
        rounds=federation.rounds,
        sampling=federation.sampling,
        lr=experiment.local.lr,
    )


def _bound_channels(experiment: Experiment, terms: Terms) -> Pipeline:
    parts = []
    for name, spec in channel_specs(experiment):
        try:
            parts.append(spec.bind(terms))
        except ExperimentError as error:
            raise ExperimentError(f"channel.{name}: {error.message}", error.hint) from None
    return Pipeline(parts)


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
    return objective_builder(experiment)(codec, hashlib.sha256(repr(parts).encode()).hexdigest())


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


def _keys(experiment: Experiment, algorithm: Algorithm) -> Keys:
    """Which tensors train and travel: what the method says, and what the experiment keeps with clients."""
    return Keys(algorithm.keys.frozen, (*algorithm.keys.private, *experiment.federation.private))
