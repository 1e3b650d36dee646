"""Loss and token accuracy of a model on each client's held-out part."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
        loss: mean negative log-likelihood per scored token.
        accuracy: share of scored tokens that are the model's first choice.
        notes: reasons and counts of examples shortened or left out.
    """

    client: int
    samples: int
    tokens: int
    loss: float
    accuracy: float
    notes: Mapping[str, int]


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
    parts = {client: encoded.part(client, "test") for client in clients}
    rows = [(client, row) for client, part in parts.items() for row in range(len(part))[:samples]]
    lengths = [objective.length(parts[client][row]) for client, row in rows]
    place = {client: at for at, client in enumerate(clients)}
    totals = torch.zeros(len(clients), 4, dtype=torch.float64)  # samples, tokens, loss, correct
    for chosen in plan_micro_batches(lengths, token_budget):
        batch = [Row(parts[rows[i][0]][rows[i][1]], owner=0) for i in chosen]
        result = objective.loss(model, params, batch, training=False, metrics=True)
        ones = torch.ones_like(result.total)
        found = torch.stack([ones, result.weight, result.total, result.metrics["correct"]], 1).double().cpu()
        totals.index_add_(0, torch.tensor([place[rows[i][0]] for i in chosen]), found)
        on_samples(len(chosen))
    return [
        ClientScore(
            client, int(samples), int(tokens), _ratio(loss, tokens), _ratio(correct, tokens), parts[client].notes
        )
        for client, (samples, tokens, loss, correct) in zip(clients, totals.tolist(), strict=True)
    ]


def _ratio(total: float, count: float) -> float:
    return total / count if count else math.nan
