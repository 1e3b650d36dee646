"""The methods: each a short builder of client hook, aggregate and server optimizer, one row in one table."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fedllm_bench.federation.aggregate import Aggregate, WeightedMean
from fedllm_bench.federation.hooks import ClientHook, Plain
from fedllm_bench.federation.server import ServerOptimizer, plain, scaled
from fedllm_bench.tensors import Tensors

__all__ = ["ALGORITHMS", "Algorithm", "fedavg", "local"]


def _nothing_shared(adapter: Tensors) -> Tensors:
    return {}


def _shared_as_before(shared: Tensors, extra: Tensors, cohort: int, clients: int) -> Tensors:
    return shared


@dataclass(frozen=True)
class Algorithm:
    """A federated method.

    Args:
        client: what it adds to local training.
        aggregate: makes the thing that merges a cohort's updates.
        server: how the merged update changes the global adapter.
        uniform: every client counts the same instead of by its number of examples.
        share_init: adapter -> tensors that the server sends besides the adapter.
        share_step: (shared, merged extra, cohort size, clients in all) -> shared.
        needs: what it asks of the rest, such as "individual updates".
    """

    client: ClientHook = field(default_factory=Plain)
    aggregate: Callable[[], Aggregate] = WeightedMean
    server: ServerOptimizer = field(default_factory=plain)
    uniform: bool = False
    share_init: Callable[[Tensors], Tensors] = _nothing_shared
    share_step: Callable[[Tensors, Tensors, int, int], Tensors] = _shared_as_before
    needs: frozenset[str] = frozenset()


def fedavg(server_lr: float = 1.0) -> Algorithm:
    """FedAvg: w <- w + server_lr * sum_i p_i (w_i - w), p_i by number of examples (McMahan et al. 2017, algorithm 1).

    Args:
        server_lr: 1 is the published method.
    """
    return Algorithm(server=plain() if server_lr == 1.0 else scaled(server_lr))


def local(clients: int = 2) -> Algorithm:
    """Local training: a federation of one client, one run for each of some clients drawn by seed (paper, section 5.1).

    Args:
        clients: how many are drawn; the experiment expands into that many runs, averaged in the tables.
    """
    return Algorithm()


ALGORITHMS: dict[str, Callable[..., Algorithm]] = {"local": local, "fedavg": fedavg}
