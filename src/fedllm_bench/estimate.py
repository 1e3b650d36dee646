"""What a run will take, told before it starts; what cannot be known without a download stays unknown."""

from dataclasses import dataclass
from pathlib import Path

from fedllm_bench import assets
from fedllm_bench.build import DATASET_ASSETS, build_data, check, lora_spec, make_objective, trained_clients
from fedllm_bench.errors import AssetError
from fedllm_bench.experiment import Experiment
from fedllm_bench.model.base import load_tokenizer
from fedllm_bench.model.compute import resolve_compute
from fedllm_bench.model.shapes import Shapes, shapes
from fedllm_bench.model.source import BASE_ASSETS, resolve
from fedllm_bench.model.tokenise import Unusable

__all__ = ["Estimate", "estimate"]

# Whose examples are tokenised to learn how long examples are: this many clients, this many examples of each.
SAMPLED_CLIENTS = 8
SAMPLED_EXAMPLES = 16


@dataclass(frozen=True, slots=True)
class Estimate:
    """Figures of a whole run; None where the model or the data are not here yet.

    Args:
        clients: clients that may take part.
        steps: optimizer steps over all clients and rounds.
        tokens: tokens that go through the model in training.
        bytes_up: from clients to the server.
        bytes_down: from the server to clients.
        memory_bytes: weights, adapters and the activations of one micro-batch.
    """

    clients: int | None
    steps: int
    tokens: int | None
    bytes_up: int | None
    bytes_down: int | None
    memory_bytes: int | None


def estimate(experiment: Experiment) -> Estimate:
    """Estimate a run from what is here; nothing is downloaded.

    Raises:
        ExperimentError: the experiment names something that does not exist.
    """
    check(experiment)
    model_is_here = _model_is_here(experiment.model.base)
    clients, length = _data_facts(experiment, model_is_here)
    cohort = experiment.federation.cohort if clients is None else min(experiment.federation.cohort, clients)
    trips = experiment.federation.rounds * cohort
    steps = trips * experiment.local.steps
    sizes = shapes(resolve(experiment.model.base), lora_spec(experiment)) if model_is_here else None
    return Estimate(
        clients=clients,
        steps=steps,
        tokens=None if length is None else round(steps * experiment.local.batch_size * length),
        bytes_up=None if sizes is None else 4 * sizes.adapter * trips,
        bytes_down=None if sizes is None else 4 * sizes.adapter * trips,
        memory_bytes=None if sizes is None else _memory(experiment, sizes),
    )


def _model_is_here(base: str) -> bool:
    return _is_fetched(BASE_ASSETS[base]) if base in BASE_ASSETS else Path(base).expanduser().exists()


def _is_fetched(asset: str) -> bool:
    try:
        assets.where(asset)
    except AssetError:
        return False
    return True


def _data_facts(experiment: Experiment, model_is_here: bool) -> tuple[int | None, float | None]:
    """Number of clients that may take part, and tokens of an example on average."""
    if not all(_is_fetched(asset) for asset in DATASET_ASSETS[experiment.data.name]):
        return None, None
    dataset = build_data(experiment)
    members = trained_clients(experiment, dataset)
    if not model_is_here:
        return len(members), None
    objective = make_objective(experiment, load_tokenizer(experiment.model.base), "")
    stride = max(1, len(members) // SAMPLED_CLIENTS)
    examples = [example for client in members[::stride] for example in dataset.load(client).train[:SAMPLED_EXAMPLES]]
    encoded = [objective.encode(example) for example in examples]
    lengths = [objective.length(found[0]) for found in encoded if not isinstance(found, Unusable)]
    return len(members), sum(lengths) / len(lengths) if lengths else None


def _memory(experiment: Experiment, sizes: Shapes) -> int:
    """Weights; parameters, gradients and two moments of each client of a pass; what a micro-batch keeps for going back.

    A block keeps about 8 tensors of the hidden and 4 of the inner width per token; with checkpointing one, hidden.
    """
    compute = resolve_compute(experiment.executor, experiment.model.dtype, experiment.federation.cohort, None)
    word = 2 if compute.dtype == "bfloat16" else 4
    kept = sizes.hidden if experiment.executor.gradient_checkpointing else 8 * sizes.hidden + 4 * sizes.inner
    activations = compute.token_budget * (sizes.layers * kept * word + 3 * 4 * sizes.vocabulary)
    return sizes.parameters * word + 16 * sizes.adapter * compute.width + activations
