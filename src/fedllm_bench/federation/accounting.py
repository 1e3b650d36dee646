"""Differential privacy accounting: what noise on sums of clipped updates guarantees about any one client.

The noise is z * C, with C the bound on one client's update and z the noise multiplier. What one client can change in
the sum depends on who counts as a neighbour, so an accountant is given z divided by that sensitivity, in units of C:

* Poisson sampling, add or remove one client: the sum moves by at most C, sensitivity 1.
* A cohort of fixed size, replace one client: one update of norm C leaves and another comes, sensitivity 2. The bound of
  Wang et al. 2019 (theorem 27), as dp_accounting has it, takes the noise over that sensitivity, thus z / 2. Its
  `GaussianDpEvent` speaks of noise over C instead; that would count a replaced client as half of one.
* Cohorts that anybody can work out: nothing is hidden by the draw, so there is no amplification, and a client is taken
  to be in every round.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fedllm_bench.errors import ExperimentError

__all__ = ["ACCOUNTANTS", "RULES", "Participation", "Rule", "accountant_for", "epsilon", "renyi_curve", "solve_noise"]

ACCOUNTANTS = ("auto", "rdp", "pld")
# The step of the grid of privacy losses over the Renyi bound: time and memory grow with epsilon over step.
_LOSS_STEP, _LEAST_LOSS_STEP = 3e-4, 1e-5
_NOISE_RANGE = (1e-3, 1e9)
_NOISE_PRECISION = 1e-4


@dataclass(frozen=True)
class Rule:
    """What one way of drawing cohorts means for privacy.

    Args:
        adjacency: which two federations must look alike.
        sensitivity: by how much they can move the sum of clipped updates, in units of C.
        amplifies: whether a client hides behind not knowing if it was drawn.
        accountants: that can serve it while it amplifies, the best first.
    """

    adjacency: str
    sensitivity: float
    amplifies: bool
    accountants: tuple[str, ...]


RULES = {
    "poisson": Rule("add or remove one client", 1.0, True, ("pld", "rdp")),
    "fixed": Rule("replace one client", 2.0, True, ("rdp",)),
    "paper": Rule("replace one client", 2.0, False, ()),
}
_WITHOUT_SAMPLING = ("pld", "rdp")


@dataclass(frozen=True)
class Participation:
    """How a client comes to take part.

    Args:
        sampling: how cohorts are drawn, a name of `RULES`.
        cohort: clients of a round; with Poisson sampling the expected number.
        clients: that may be drawn.

    Raises:
        ExperimentError: no accountant knows such a sampling.
    """

    sampling: str
    cohort: int
    clients: int

    def __post_init__(self) -> None:
        if self.sampling not in RULES:
            raise ExperimentError(
                f"no privacy accountant knows sampling {self.sampling!r}", f"known: {', '.join(RULES)}"
            )

    @property
    def rule(self) -> Rule:
        return RULES[self.sampling]

    @property
    def share(self) -> float:
        """q, the chance of a client to be in a round."""
        return min(1.0, self.cohort / self.clients)

    @property
    def amplified(self) -> bool:
        """Whether a client hides behind the draw."""
        return self.rule.amplifies and self.share < 1


def accountant_for(participation: Participation, wanted: str = "auto") -> str:
    """The accountant that serves: the wanted one, or with "auto" the tightest.

    Raises:
        ExperimentError: the wanted one cannot serve this sampling.
    """
    able = participation.rule.accountants if participation.amplified else _WITHOUT_SAMPLING
    if wanted == "auto":
        return able[0]
    if wanted not in able:
        raise ExperimentError(
            f"accountant {wanted!r} cannot serve sampling {participation.sampling!r}",
            f'use accountant = "{able[0]}" or federation.sampling = "poisson"',
        )
    return wanted


def epsilon(participation: Participation, noise: float, rounds: int, delta: float, accountant: str = "auto") -> float:
    """The least epsilon known for which so many rounds are (epsilon, delta) differentially private for each client.

    "rdp" composes Renyi divergences (Mironov et al. 2019 for Poisson sampling, Wang et al. 2019 for cohorts of fixed
    size) and converts as Canonne et al. 2020, proposition 12. "pld" composes privacy losses (Koskela et al. 2020),
    which is tight; where everybody takes part that is the closed form of Balle and Wang 2018.

    Args:
        participation: how cohorts are drawn.
        noise: z, standard deviation of the noise on the sum over C.
        rounds: released.
        delta: in (0, 1).
        accountant: a name of `ACCOUNTANTS`.

    Returns:
        Epsilon; infinite without noise, 0 without rounds.

    Raises:
        ExperimentError: delta is no probability strictly between 0 and 1, or the accountant cannot serve.
    """
    _require_delta(delta)
    kind = accountant_for(participation, accountant)
    if rounds == 0:
        return 0.0
    if noise <= 0:
        return math.inf
    return _EPSILONS[kind](participation, noise, rounds, delta)


@lru_cache
def solve_noise(
    target: float, participation: Participation, rounds: int, delta: float, accountant: str = "auto"
) -> float:
    """The least noise multiplier whose epsilon is at most the target, to a relative 1e-4 and never below it.

    Args:
        target: epsilon after all rounds.

    Raises:
        ExperimentError: no noise reaches the target, or hardly any would do.
    """
    _require_delta(delta)
    if target <= 0:
        raise ExperimentError(f"target epsilon {target} cannot be reached", "give a number above 0, such as 8.0")

    def suffices(noise: float) -> bool:
        return epsilon(participation, noise, rounds, delta, accountant) <= target

    enough = 1.0
    while not suffices(enough):
        enough *= 2
        if enough > _NOISE_RANGE[1]:
            raise ExperimentError(
                f"no noise gives epsilon {target} at delta {delta} over {rounds} rounds",
                "raise target_epsilon or delta",
            )
    short = enough / 2
    while suffices(short):
        enough, short = short, short / 2
        if short < _NOISE_RANGE[0]:
            raise ExperimentError(
                f"epsilon {target} is met by next to no noise and protects nobody", "lower target_epsilon"
            )
    while enough / short > 1 + _NOISE_PRECISION:
        middle = math.sqrt(short * enough)
        short, enough = (short, middle) if suffices(middle) else (middle, enough)
    return enough


@lru_cache
def renyi_curve(participation: Participation, noise: float) -> tuple[Any, Any]:
    """One round's Renyi divergences.

    Returns:
        Orders and divergences, (orders,) each.
    """
    from dp_accounting.rdp import RdpAccountant

    event, relation = _event(participation, noise)
    with _quiet():
        accountant = RdpAccountant(neighboring_relation=relation).compose(event)
    return accountant.orders, accountant.rdp


@lru_cache
def _renyi_epsilon(participation: Participation, noise: float, rounds: int, delta: float) -> float:
    from dp_accounting.rdp import compute_epsilon

    orders, divergences = renyi_curve(participation, noise)
    return float(compute_epsilon(orders, rounds * divergences, delta)[0])


@lru_cache
def _loss_epsilon(participation: Participation, noise: float, rounds: int, delta: float) -> float:
    if not participation.amplified:
        return _gaussian_epsilon(participation, noise, rounds, delta)
    bound = _renyi_epsilon(participation, noise, rounds, delta)
    # A power of two, so that rounds that follow each other share the distribution of one round.
    step = 2.0 ** math.floor(math.log2(max(_LEAST_LOSS_STEP, _LOSS_STEP * bound)))
    one = _loss_distribution(participation, noise, step)
    # Both are upper bounds; on a coarse grid the Renyi one can be the lower.
    return min(bound, float(one.self_compose(rounds).get_epsilon_for_delta(delta)))


def _gaussian_epsilon(participation: Participation, noise: float, rounds: int, delta: float) -> float:
    # R Gaussians of noise s compose to exactly one of s / sqrt(R). The grid would take gigabytes for little noise.
    from dp_accounting import get_epsilon_gaussian

    return float(get_epsilon_gaussian(noise / participation.rule.sensitivity / math.sqrt(rounds), delta))


_EPSILONS: dict[str, Callable[[Participation, float, int, float], float]] = {
    "rdp": _renyi_epsilon,
    "pld": _loss_epsilon,
}


@lru_cache(maxsize=4)
def _loss_distribution(participation: Participation, noise: float, step: float) -> Any:
    from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

    return from_gaussian_mechanism(
        standard_deviation=noise / participation.rule.sensitivity,
        value_discretization_interval=step,
        sampling_prob=participation.share,
    )


def _event(participation: Participation, noise: float) -> tuple[Any, Any]:
    """One round as the library describes it, and the neighbours that it is to tell apart."""
    import dp_accounting as dp

    gaussian = dp.GaussianDpEvent(noise / participation.rule.sensitivity)
    if not participation.amplified:
        return gaussian, dp.NeighboringRelation.ADD_OR_REMOVE_ONE
    events = {
        "poisson": (
            dp.PoissonSampledDpEvent(participation.share, gaussian),
            dp.NeighboringRelation.ADD_OR_REMOVE_ONE,
        ),
        "fixed": (
            dp.SampledWithoutReplacementDpEvent(participation.clients, participation.cohort, gaussian),
            dp.NeighboringRelation.REPLACE_ONE,
        ),
    }
    return events[participation.sampling]


@contextmanager
def _quiet() -> Iterator[None]:
    """The library tells of each Renyi order whose series it leaves out; the others bound epsilon without it."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _require_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ExperimentError(f"delta {delta} is not between 0 and 1", "leave it out, or give one below 1 / clients")
