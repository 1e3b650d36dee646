"""Client-level differential privacy, asked for by its options: what is clipped, how much noise, and who adds it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.accounting import ACCOUNTANTS, Participation, accountant_for, solve_noise
from fedllm_bench.federation.channel import ChannelSpec, Terms
from fedllm_bench.federation.compression import Quantize, TopK
from fedllm_bench.federation.noisy_sum import NORMALS, Adaptive, NoisySum

__all__ = ["DENIED", "ClientDP", "require_order"]


@dataclass(frozen=True)
class ClientDP:
    """Client-level differential privacy (McMahan et al. 2018), with the epsilon that an accountant computes.

    Args:
        clip: bound C on the norm of all that leaves a client; 0 clips nothing, and then nothing is guaranteed.
        noise: z, standard deviation of the noise on the sum, in units of C.
        target_epsilon: above 0, z is solved for it over all rounds, and `noise` is left alone.
        delta: of the guarantee; 0 stands for 1 / clients^1.1.
        placement: who adds noise: the server ("central") or each client its share ("local").
        randomness: noise drawn by the run's seed ("seeded") or, never to be drawn again, by the system ("secret").
        adaptive: C follows a quantile of the norms (Andrew et al. 2021).
        quantile: of the norms that C follows.
        clip_rate: how fast it does.
        count_noise: noise on the number of clients below C; 0 stands for cohort / 20, at least z.
        accountant: "rdp", "pld", or the tightest that can serve ("auto").

    Raises:
        ExperimentError: options that have no meaning, alone or together.
    """

    clip: float = 1.0
    noise: float = 1.0
    target_epsilon: float = 0.0
    delta: float = 0.0
    placement: str = "central"
    randomness: str = "seeded"
    adaptive: bool = False
    quantile: float = 0.5
    clip_rate: float = 0.2
    count_noise: float = 0.0
    accountant: str = "auto"

    def __post_init__(self) -> None:
        _require_word("placement", self.placement, ("central", "local"))
        _require_word("randomness", self.randomness, tuple(NORMALS))
        _require_word("accountant", self.accountant, ACCOUNTANTS)
        for option in ("clip", "noise", "target_epsilon", "clip_rate", "count_noise"):
            value = getattr(self, option)
            _require(math.isfinite(value) and value >= 0, f"{option} = {value} is not a number of 0 or more", None)
        _require(0 <= self.delta < 1, f"delta = {self.delta} is no probability", "0 stands for 1 / clients^1.1")
        _require(0 < self.quantile < 1, f"quantile = {self.quantile} is not between 0 and 1", "0.5 is the median")
        _require(
            self.target_epsilon == 0 or self.noise == ClientDP.noise,
            "noise and target_epsilon both say how much noise there is",
            "keep one of them",
        )
        _require(
            self.clip > 0 or (self.target_epsilon == 0 and not self.adaptive),
            "clip = 0 clips nothing: there is no bound to adapt, and no noise guarantees an epsilon",
            "give clip a value above 0",
        )

    @property
    def denies(self) -> Mapping[str, str]:
        return DENIED

    def bind(self, terms: Terms) -> NoisySum:
        """The channel of one federation, its noise solved if an epsilon is asked for.

        Raises:
            ExperimentError: no such noise, accountant, or way to draw cohorts.
        """
        _require(terms.clients > 1, "a single client has nobody to hide among", "take more clients, or leave it out")
        _require(
            self.placement == "central" or terms.sampling != "poisson",
            'placement = "local" does not go with Poisson sampling: clients add shares of noise for a cohort whose '
            "size they do not know, and how much noise there is in the end tells how many came",
            'use placement = "central" or federation.sampling = "fixed"',
        )
        participation = Participation(terms.sampling, terms.cohort, terms.clients)
        delta = self.delta or terms.clients**-1.1
        _require(
            delta <= 1 / terms.clients,
            f"delta = {delta:g} is above 1 / clients = {1 / terms.clients:.2g}: one client could be given away whole",
            "leave delta out, or make it smaller",
        )
        accountant_for(participation, self.accountant)
        noise = self.noise
        if self.target_epsilon:
            noise = solve_noise(self.target_epsilon, participation, terms.rounds, delta, self.accountant)
        adaptive = self._adaptive(noise, min(terms.cohort, terms.clients))
        return NoisySum(
            name="client-dp",
            participation=participation,
            clip=self.clip,
            noise=noise,
            update_noise=_split(noise, adaptive.count_noise) if adaptive else noise,
            delta=delta,
            local=self.placement == "local",
            randomness=self.randomness,
            adaptive=adaptive,
            accountant=self.accountant,
        )

    def _adaptive(self, noise: float, cohort: int) -> Adaptive | None:
        if not self.adaptive:
            return None
        count_noise = self.count_noise or (max(cohort / 20, noise) if noise else 0.0)
        return Adaptive(self.quantile, self.clip_rate, count_noise)


DENIED: Mapping[str, str] = {
    "individual updates": "only the noisy sum of all clients is protected, so nothing may look at one update",
    "changed base": "noise covers the sum of updates, while products of one client's factors would pass beside it",
    "mixed ranks": "updates of different shapes have no common sum that noise could cover",
    "one client": "there is nobody among whom a client could hide",
}


def require_order(specs: Sequence[ChannelSpec]) -> None:
    """Refuse what would take the ground from under a guarantee of the noisy sum.

    What is decoded may be longer than the bound that the server's noise is for. Nor may messages be cut or rounded that
    carry a client's share of the noise: the noise of all protects the sum of what they had before, and no other sum.

    Args:
        specs: of an experiment's channels, in its order.

    Raises:
        ExperimentError: a compressor comes after the channel that makes the sum noisy, or there are two of those.
    """
    protected = False
    for spec in specs:
        if protected and isinstance(spec, Quantize | TopK):
            raise ExperimentError(
                "channel: compression after clipping and noise takes away what they guarantee: decoded numbers can be "
                "longer than the bound, and lack noise",
                "put the compression before it",
            )
        if protected and spec.denies is DENIED:
            raise ExperimentError("channel: two of them clip updates and make their sum noisy", "keep one of them")
        protected = protected or spec.denies is DENIED


def _split(noise: float, count_noise: float) -> float:
    """z_delta = (z^-2 - (2 sigma_b)^-2)^(-1/2): update and bit together leak what an update under z does.

    Andrew et al. 2021, theorem 1.
    """
    if noise == 0:
        return 0.0
    _require(
        2 * count_noise > noise,
        f"count_noise = {count_noise} uses up the whole noise of {noise:.4g}, and none is left for updates",
        f"raise count_noise well above {noise / 2:.4g}, or leave it out",
    )
    return float((noise**-2 - (2 * count_noise) ** -2) ** -0.5)


def _require(fine: bool, message: str, hint: str | None) -> None:
    if not fine:
        raise ExperimentError(message, hint)


def _require_word(option: str, value: str, known: tuple[str, ...]) -> None:
    _require(value in known, f"{option} = {value!r} is not known", f"known: {', '.join(known)}")
