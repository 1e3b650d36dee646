"""What a federated method consists of, and the checks that builders of methods share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.aggregate import Aggregate, Gathering, weighted_mean
from fedllm_bench.federation.hooks import ClientHook, Plain
from fedllm_bench.federation.keys import Keys
from fedllm_bench.federation.server import ServerOptimizer, plain, scaled
from fedllm_bench.tensors import Tensors

__all__ = ["WEIGHTINGS", "Algorithm", "at_least", "below_one", "one_of", "with_rate"]

WEIGHTINGS = ("size", "uniform")


def _nothing_shared(adapter: Tensors) -> Tensors:
    return {}


def _shared_as_before(shared: Tensors, extra: Tensors, cohort: int, clients: int) -> Tensors:
    return shared


def _all_of_it(adapter: Tensors, seed: int, client: int) -> Tensors:
    return adapter


@dataclass(frozen=True)
class Algorithm:
    """A federated method.

    Args:
        client: what it adds to local training.
        aggregate: makes the thing that merges a cohort's updates.
        server: how the merged update changes the global adapter.
        uniform: every client counts the same instead of by its number of examples.
        share_init: adapter -> tensors that the server sends besides the adapter; what clients send besides their
            update has the same names and shapes.
        share_step: (shared, mean of what clients sent besides, cohort size, clients in all) -> shared.
        taken: (global adapter, the run's seed, client) -> what the client downloads of it.
        keys: tensors that do not train, and tensors that stay with the client.
        beside: a hook with which each client trains a model of its own besides the shared one.
        needs: what it asks of the rest, names of `needs.NEEDS`.
        least_cohort: clients of a round that it cannot do without.
    """

    client: ClientHook = field(default_factory=Plain)
    aggregate: Callable[[Gathering], Aggregate] = weighted_mean
    server: ServerOptimizer = field(default_factory=plain)
    uniform: bool = False
    share_init: Callable[[Tensors], Tensors] = _nothing_shared
    share_step: Callable[[Tensors, Tensors, int, int], Tensors] = _shared_as_before
    taken: Callable[[Tensors, int, int], Tensors] = _all_of_it
    keys: Keys = Keys()  # noqa: RUF009 (frozen)
    beside: ClientHook | None = None
    needs: frozenset[str] = frozenset()
    least_cohort: int = 1


def one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a value that an option does not have.

    Raises:
        ExperimentError: the option, the value and the known ones.
    """
    if value not in known:
        raise ExperimentError(f"{option} is {value!r}", f"it can be {', '.join(known)}")


def at_least(option: str, value: float, least: float) -> None:
    """Refuse a value that is too small.

    Raises:
        ExperimentError: the option, the value and the bound.
    """
    if not value >= least:
        raise ExperimentError(f"{option} is {value:g}", f"it must be at least {least:g}")


def below_one(option: str, value: float) -> None:
    """Refuse a value outside [0, 1).

    Raises:
        ExperimentError: the option and the value.
    """
    if not 0 <= value < 1:
        raise ExperimentError(f"{option} is {value:g}", "it must be at least 0 and below 1")


def with_rate(server_lr: float) -> ServerOptimizer:
    """w <- w + server_lr * D."""
    at_least("server_lr", server_lr, 0)
    return plain() if server_lr == 1.0 else scaled(server_lr)
