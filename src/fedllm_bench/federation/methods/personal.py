"""Methods that end with a whole model for each client."""

import math
from functools import partial

import torch
from torch import Tensor

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.aggregate import Gathering, Merged, Updates, at_once, mean_of, shares_of
from fedllm_bench.federation.algorithm import WEIGHTINGS, Algorithm, at_least, one_of, with_rate
from fedllm_bench.federation.proximal import CosinePull, Proximal

__all__ = ["ditto", "onto_simplex", "pfedgraph"]


def ditto(lam: float = 0.1, server_lr: float = 1.0, weighting: str = "size") -> Algorithm:
    """Ditto: besides FedAvg's model w each client trains one of its own, on its loss + lam / 2 * |v_i - w|^2.

    Both take the same steps on the same examples; v_i stays with its client and starts at w.

    Source: Li et al. 2021 (Ditto), algorithm 1.

    Args:
        lam: pull of the own model towards the global one; 0 trains it alone.
        server_lr: of the global model; 1 is the published method.
        weighting: of the global model, as in fedavg.
    """
    at_least("lam", lam, 0)
    one_of("weighting", weighting, WEIGHTINGS)
    return Algorithm(
        server=with_rate(server_lr),
        uniform=weighting == "uniform",
        beside=Proximal(lam),
        needs=frozenset({"per-client models"}),
    )


def pfedgraph(alpha: float = 0.8, lam: float = 0.01, weighting: str = "size") -> Algorithm:
    """pFedGraph: u_i = sum_j a_ij w_j, a_i = argmin over the simplex of sum_j alpha (a_ij - p_j)^2 - a_ij cos_ij.

    Client i trains w_i from u_i on its loss - lam cos(w_i, u_i). As published: the objective of the graph among the
    clients of the round, and the values of alpha and lam. Chosen here: the minimum is worked out, a_i being the point
    of the simplex closest to p + cos_i / (2 alpha); cos_ij = cos(w_i - w, w_j - w) is taken from the round's global
    adapter w rather than the run's first, and left as it is above 0.9; the pull acts from a client's first round on.
    The global adapter, from which new clients start, is sum_j p_j w_j.

    Source: Ye et al. 2023 (pFedGraph).

    Args:
        alpha: how closely a_i keeps to the p_j; large is FedAvg, small leaves client i alone with those like it.
        lam: pull towards u_i.
        weighting: p_j as in fedavg.
    """
    if not (0 < alpha < math.inf):
        raise ExperimentError(f"alpha is {alpha:g}", "it must be above 0")
    at_least("lam", lam, 0)
    one_of("weighting", weighting, WEIGHTINGS)
    return Algorithm(
        client=CosinePull(lam),
        aggregate=at_once(partial(_by_graph, alpha=alpha)),
        uniform=weighting == "uniform",
        needs=frozenset({"individual updates", "per-client models"}),
    )


def onto_simplex(points: Tensor) -> Tensor:
    """The closest points whose coordinates are at least 0 and sum to 1: max(x - t, 0), t by what is left to share.

    Source: Duchi et al. 2008, figure 1.

    Args:
        points: one a row, (rows, width).
    """
    ordered = points.sort(1, descending=True).values
    counts = torch.arange(1, points.shape[1] + 1, dtype=points.dtype)
    levels = (ordered.cumsum(1) - 1) / counts  # t if so many coordinates stay above 0, (rows, width)
    above = (ordered > levels).sum(1, keepdim=True)
    return (points - levels.gather(1, above - 1)).clamp_min(0)


def _by_graph(gathering: Gathering, updates: Updates, alpha: float) -> Merged:
    deltas = [delta for delta, _ in updates.values()]
    shares = torch.tensor(shares_of(updates), dtype=torch.float64)
    graph = onto_simplex(shares + _cosines(updates) / (2 * alpha))  # (clients, clients)
    personal: dict[int, dict[str, Tensor]] = {client: {} for client in updates}
    for name in deltas[0]:
        stack = torch.stack([delta[name].double() for delta in deltas])  # (clients, ...)
        mixed = torch.einsum("ij,j...->i...", graph, stack)
        for place, client in enumerate(updates):
            personal[client][name] = (gathering.adapter[name] + mixed[place]).float()
    return Merged(mean_of(updates), personal=personal)


def _cosines(updates: Updates) -> Tensor:
    """cos(D_i, D_j) over all tensors, (clients, clients); 0 where one of them is zero."""
    deltas = [delta for delta, _ in updates.values()]
    products = torch.zeros(len(deltas), len(deltas), dtype=torch.float64)
    for name in deltas[0]:
        rows = torch.stack([delta[name].double().flatten() for delta in deltas])  # (clients, elements)
        products += rows @ rows.T
    lengths = products.diagonal().sqrt()
    reach = lengths[:, None] * lengths
    return torch.where(reach > 0, products / reach.clamp_min(torch.finfo(reach.dtype).tiny), 0.0)
