"""Which methods, channels and settings make no sense together, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedllm_bench.errors import Meaningless
from fedllm_bench.federation.aggregate import weighted_mean
from fedllm_bench.federation.algorithm import Algorithm

__all__ = ["KEPT_MOMENTS_DENY", "NEEDS", "PRIVATE_DENIES", "Part", "needs_of", "refuse_without_meaning"]

# What a method can need of the rest.
NEEDS: Mapping[str, str] = {
    "individual updates": "the server looks at each client's update by itself",
    "per-client models": "each client has a whole model of its own",
    "changed base": "the products of clients' factors are added to the base's weights",
    "mixed ranks": "clients train adapters of different ranks",
    "new factors": "the server gives the adapter other factors A and B in each round",
    "one client": "a single client trains",
}

# `federation.private` with methods that have these needs.
PRIVATE_DENIES: Mapping[str, str] = {
    "per-client models": "the whole adapter is each client's own already",
    "changed base": "a product needs both of its factors at the server",
    "mixed ranks": "adapters of different ranks are merged whole",
    "one client": "nothing is shared in the first place",
}

# `local.keep_optimizer` likewise.
KEPT_MOMENTS_DENY: Mapping[str, str] = {"new factors": "moments would be those of the gradients of others"}


@dataclass(frozen=True)
class Part:
    """Something that a method is combined with.

    Args:
        name: what the experiment calls it.
        denies: needs that it cannot serve, and why.
    """

    name: str
    denies: Mapping[str, str]


def needs_of(algorithm: Algorithm) -> frozenset[str]:
    """What a method says that it needs, and what shows without its saying so."""
    shows = {
        # An aggregate other than the mean is given each update by itself.
        "individual updates": algorithm.aggregate is not weighted_mean,
        "per-client models": algorithm.beside is not None,
    }
    return algorithm.needs | {need for need, is_so in shows.items() if is_so}


def refuse_without_meaning(method: str, algorithm: Algorithm, parts: list[Part]) -> None:
    """Refuse a method together with a part that cannot serve its needs.

    Raises:
        Meaningless: both sides, and why.
    """
    for part in parts:
        for need in sorted(needs_of(algorithm) & part.denies.keys()):
            raise Meaningless(
                f"{method} and {part.name} make no sense together: {method} needs {need} ({NEEDS[need]}), "
                f"and with {part.name} {part.denies[need]}",
                f"leave out {part.name}, or choose another method",
            )
