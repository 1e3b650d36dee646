"""Loss and accuracy of a model on each client's held-out part."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.layout import plan_micro_batches
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.objectives.protocol import Objective, Row
from fedllm_bench.tensors import Tensors

__all__ = ["ClientScore", "evaluate"]


@dataclass(frozen=True)
class ClientScore:
    """One client's held-out result.

    Args:
        samples: examples scored.
        tokens: tokens scored.
        loss: the objective's mean loss: per scored token (SFT), or per pair (DPO).
        accuracy: share of scored tokens that are the model's first choice, or of pairs whose preferred answer has the
            higher reward.
        notes: reasons and counts of examples shortened or left out.
        metrics: means of whatever else the objective measures.
    """

    client: int
    samples: int
    tokens: int
    loss: float
    accuracy: float
    notes: Mapping[str, int]
    metrics: Mapping[str, float] = field(default_factory=dict)


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    objective: Objective,
    encoded: EncodedClients,
    clients: Sequence[int],
    adapter: Tensors | None,
    *,
    samples: int | None = None,
    token_budget: int,
    on_samples: Callable[[int], None] = lambda _: None,
) -> list[ClientScore]:
    """Score held-out parts; a client without any sample that fits has no tokens and a loss that is not a number.

    Args:
        model: base with adapter sites.
        objective: how examples are scored.
        encoded: the clients' examples.
        clients: positions to evaluate.
        adapter: one adapter for all; None for the base alone.
        samples: most examples a client, the first ones; None for all.
        token_budget: most tokens in one pass.
        on_samples: told of each batch of examples that is done.
    """
    params = None if adapter is None else {name: value[None].to(model.device) for name, value in adapter.items()}
    held_out = {client: encoded.part(client, "test") for client in clients}
    parts = {client: part.ready(range(len(part))[:samples]) for client, part in held_out.items()}
    rows = [(client, row) for client, part in parts.items() for row in range(len(part))[:samples]]
    lengths = [objective.length(parts[client][row]) for client, row in rows]
    place = {client: at for at, client in enumerate(clients)}
    totals: list[dict[str, float]] = [defaultdict(float) for _ in clients]
    for chosen in plan_micro_batches(lengths, token_budget):
        batch = [Row(parts[rows[i][0]][rows[i][1]], owner=0) for i in chosen]
        result = objective.loss(model, params, batch, training=False, metrics=True)
        found = {"weight": result.weight, "loss": result.total, **result.metrics}
        for name, values in found.items():
            for i, value in zip(chosen, values.tolist(), strict=True):
                totals[place[rows[i][0]]][name] += value
        for i in chosen:
            totals[place[rows[i][0]]]["samples"] += 1
        on_samples(len(chosen))
    return [_score(client, total, parts[client].notes) for client, total in zip(clients, totals, strict=True)]


def _score(client: int, total: Mapping[str, float], notes: Mapping[str, int]) -> ClientScore:
    sums = dict(total)
    samples, tokens, weight = (sums.pop(name, 0.0) for name in ("samples", "tokens", "weight"))
    means = {name: _ratio(value, weight) for name, value in sums.items()}
    loss, accuracy = means.pop("loss", math.nan), means.pop("correct", math.nan)
    return ClientScore(client, int(samples), int(tokens), loss, accuracy, notes, means)


def _ratio(total: float, count: float) -> float:
    return total / count if count else math.nan
