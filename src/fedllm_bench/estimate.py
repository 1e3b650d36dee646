"""What a run will take, told before it starts; what cannot be known without a download stays unknown."""

from dataclasses import dataclass
from pathlib import Path

from fedllm_bench import assets
from fedllm_bench.build import local_steps, lora_spec, make_objective
from fedllm_bench.check import check
from fedllm_bench.clients import build_data, trained_clients
from fedllm_bench.data.raw import MissingData
from fedllm_bench.errors import AssetError
from fedllm_bench.experiment import Experiment
from fedllm_bench.model.base import load_tokenizer
from fedllm_bench.model.compute import resolve_compute
from fedllm_bench.model.quantize import stored_bytes
from fedllm_bench.model.shapes import Shapes, shapes
from fedllm_bench.model.source import BASE_ASSETS, resolve
from fedllm_bench.model.tokenise import Unusable
from fedllm_bench.tables import DATASETS

__all__ = ["Estimate", "estimate"]

# Whose examples are tokenised to learn how long examples are: this many clients, this many examples of each.
SAMPLED_CLIENTS = 8
SAMPLED_EXAMPLES = 16


@dataclass(frozen=True, slots=True)
class Estimate:
    """Figures of a whole run; None where the model or the data are not here yet.

    Args:
        clients: clients that may take part.
        steps: optimizer steps over all clients and rounds; dynamic ones as of a client of mean size.
        tokens: tokens that go through the model in training.
        bytes_up: from clients to the server, of whole adapters in fp32: compression and what stays behind is not known.
        bytes_down: from the server to clients, likewise.
        memory_bytes: weights, adapters and the activations of one micro-batch.
        missing: what is not here, and how to bring it.
    """

    clients: int | None
    steps: int | None
    tokens: int | None
    bytes_up: int | None
    bytes_down: int | None
    memory_bytes: int | None
    missing: tuple[str, ...]


def estimate(experiment: Experiment) -> Estimate:
    """Estimate a run from what is here; nothing is downloaded.

    Raises:
        ExperimentError: the experiment names something that does not exist.
    """
    check(experiment)
    missing_data, missing_model = _missing_data(experiment), _missing_model(experiment.model.base)
    model_is_here = missing_model is None
    clients, size, length = (None, None, None) if missing_data else _data_facts(experiment, model_is_here)
    cohort = experiment.federation.cohort if clients is None else min(experiment.federation.cohort, clients)
    trips = experiment.federation.rounds * cohort
    steps = _steps(experiment, clients, size)
    every = None if steps is None else trips * steps
    sizes = shapes(resolve(experiment.model.base), lora_spec(experiment)) if model_is_here else None
    return Estimate(
        clients=clients,
        steps=every,
        tokens=None if length is None or every is None else round(every * experiment.local.batch_size * length),
        bytes_up=None if sizes is None else 4 * sizes.adapter * trips,
        bytes_down=None if sizes is None else 4 * sizes.adapter * trips,
        memory_bytes=None if sizes is None else _memory(experiment, sizes),
        missing=tuple(what for what in (missing_data, missing_model) if what is not None),
    )


def _missing_data(experiment: Experiment) -> str | None:
    """What the dataset lacks and how to bring it; None where its raw files are here."""
    try:
        DATASETS[experiment.data.name].require(**experiment.data.options)
    except (AssetError, MissingData) as error:
        return f"{error.message}: {error.hint}"
    return None


def _missing_model(base: str) -> str | None:
    """The same for the base model."""
    if base not in BASE_ASSETS:
        if Path(base).expanduser().exists():
            return None
        return f"model.base: there is no {base} on this disk: name a folder, or leave an org/name for the run to fetch"
    try:
        assets.where(BASE_ASSETS[base])
    except AssetError as error:
        return f"{error.message}: {error.hint}"
    return None


def _steps(experiment: Experiment, clients: int | None, size: int | None) -> int | None:
    """Steps of a client of mean size in one round; None where they depend on data that is not here."""
    if clients is None or size is None:
        return None if experiment.local.steps == "dynamic" else experiment.local.steps
    return local_steps(experiment, clients)(size)


def _data_facts(experiment: Experiment, model_is_here: bool) -> tuple[int, int, float | None]:
    """Number of clients that may take part, their mean number of examples, and tokens of an example on average."""
    dataset = build_data(experiment)
    members = trained_clients(experiment, dataset)
    size = round(sum(dataset.size(member) for member in members) / len(members))
    if not model_is_here:
        return len(members), size, None
    objective = make_objective(experiment, load_tokenizer(experiment.model.base), "")
    stride = max(1, len(members) // SAMPLED_CLIENTS)
    examples = [example for client in members[::stride] for example in dataset.load(client).train[:SAMPLED_EXAMPLES]]
    encoded = [objective.encode(example) for example in examples]
    lengths = [objective.length(found[0]) for found in encoded if not isinstance(found, Unusable)]
    return len(members), size, sum(lengths) / len(lengths) if lengths else None


def _memory(experiment: Experiment, sizes: Shapes) -> int:
    """Weights; parameters, gradients and two moments of each client of a pass; what a micro-batch keeps for going back.

    A block keeps about 8 tensors of the hidden and 4 of the inner width per token; with checkpointing one, hidden.
    """
    compute = resolve_compute(experiment.executor, experiment.model.dtype, experiment.federation.cohort, None)
    word = 2 if compute.dtype == "bfloat16" else 4
    kept = sizes.hidden if experiment.executor.gradient_checkpointing else 8 * sizes.hidden + 4 * sizes.inner
    activations = compute.token_budget * (sizes.layers * kept * word + 3 * 4 * sizes.vocabulary)
    weights = stored_bytes(experiment.model.quantization, sizes.parameters, sizes.quantizable, word)
    return weights + 16 * sizes.adapter * compute.width + activations
