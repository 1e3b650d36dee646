"""How the cohort's updates become one; by default a running mean that never holds two of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fedllm_bench.tensors import Tensors, axpy, scale

__all__ = [
    "Aggregate",
    "AtOnce",
    "Gathering",
    "Merged",
    "Updates",
    "WeightedMean",
    "at_once",
    "mean_of",
    "shares_of",
    "weighted_mean",
]

# Client -> (update, weight), in cohort order.
Updates = Mapping[int, tuple[Tensors, float]]


@dataclass(frozen=True)
class Gathering:
    """What an aggregate may read of the round whose updates it merges.

    Args:
        seed: of the run.
        round: number of the round, from 1.
        adapter: the global adapter that the cohort started from.
        base: what has been added to the base's layers; see `RunState`.
    """

    seed: int
    round: int
    adapter: Tensors
    base: Tensors


@dataclass(frozen=True)
class Merged:
    """What a cohort's updates became.

    Args:
        delta: what the server optimizer takes as the merged update.
        base: what is now added to the base's layers; None leaves it as it was.
        personal: client -> a model made for it alone, which it starts from next time.
    """

    delta: Tensors
    base: Tensors | None = None
    personal: Mapping[int, Tensors] = field(default_factory=dict)


class Aggregate(Protocol):
    """Takes updates one by one, in cohort order, and gives the merged one."""

    def add(self, client: int, delta: Tensors, weight: float) -> None: ...

    def result(self) -> Merged | None:
        """The merged update, or None where nothing was added."""
        ...


class WeightedMean:
    """D = sum_i p_i D_i, p_i = n_i / sum_j n_j over the cohort, summed in fp64 (McMahan et al. 2017, algorithm 1)."""

    def __init__(self) -> None:
        self._sum: Tensors | None = None
        self._weight = 0.0

    def add(self, client: int, delta: Tensors, weight: float) -> None:
        wide = {name: value.double() for name, value in delta.items()}
        self._sum = scale(wide, weight) if self._sum is None else axpy(weight, wide, self._sum)
        self._weight += weight

    def result(self) -> Merged | None:
        if self._sum is None:
            return None
        return Merged({name: (value / self._weight).float() for name, value in self._sum.items()})


def weighted_mean(gathering: Gathering) -> Aggregate:
    """The aggregate of most methods."""
    return WeightedMean()


class AtOnce:
    """Keeps every update until the last has come, then merges them together; memory grows with the cohort.

    Args:
        gathering: the round.
        merge: (the round, at least one update) -> what they become; None where they are not to be used.
    """

    def __init__(self, gathering: Gathering, merge: Callable[[Gathering, Updates], Merged | None]) -> None:
        self._gathering, self._merge = gathering, merge
        self._updates: dict[int, tuple[Tensors, float]] = {}

    def add(self, client: int, delta: Tensors, weight: float) -> None:
        self._updates[client] = (delta, weight)

    def result(self) -> Merged | None:
        return self._merge(self._gathering, self._updates) if self._updates else None


def at_once(merge: Callable[[Gathering, Updates], Merged | None]) -> Callable[[Gathering], Aggregate]:
    """The aggregate of methods that need all updates side by side."""
    return lambda gathering: AtOnce(gathering, merge)


def shares_of(updates: Updates) -> list[float]:
    """p_i = n_i / sum_j n_j, in the order of the updates."""
    total = sum(weight for _, weight in updates.values())
    return [weight / total for _, weight in updates.values()]


def mean_of(updates: Updates) -> Tensors:
    """The weighted mean of updates that are all at hand."""
    mean = WeightedMean()
    for client, (delta, weight) in updates.items():
        mean.add(client, delta, weight)
    merged = mean.result()
    return {} if merged is None else merged.delta
