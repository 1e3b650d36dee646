"""The paper's own noise (Ye et al. 2024, appendix D), kept to reproduce it; as published it guarantees nothing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.channel import Channel, Direct, Sent, Terms
from fedllm_bench.federation.privacy import DENIED, ClientDP

__all__ = ["PaperNoise", "paper_sensitivity", "paper_sigma"]


def paper_sensitivity(clip: float, terms: Terms) -> float:
    """delta_l = 2 eta C / (|D| / |n|), with |D| samples and |n| clients in all (paper, appendix D)."""
    return 2 * terms.lr * clip / (terms.samples / terms.clients)


def paper_sigma(epsilon: float, delta: float, clip: float, terms: Terms) -> float:
    """sigma = delta_l sqrt(2 q R ln(1/delta)) / epsilon, q the share of clients in each of R rounds (appendix D)."""
    share = min(1.0, terms.cohort / terms.clients)
    spread = math.sqrt(2 * share * terms.rounds * math.log(1 / delta))
    return paper_sensitivity(clip, terms) * spread / epsilon


@dataclass(frozen=True)
class UnboundedNoise(Direct):
    """x_i + N(0, sigma^2) at each client, with x_i as long as it likes; weights stay as they are."""

    sigma: float
    delta: float
    sampling: str
    claimed_epsilon: float | None

    def up(self, sent: Sent, state: Mapping[str, torch.Tensor], rng: np.random.Generator) -> Sent:
        noisy = {
            name: value + torch.as_tensor(self.sigma * rng.standard_normal(tuple(value.shape)), dtype=value.dtype)
            for name, value in sorted(sent.tensors.items())
        }
        return Sent(noisy, sent.bytes)

    def account(self, rounds: int) -> Mapping[str, Any]:
        return {
            "channel": "paper-noise",
            "epsilon": None,
            "delta": self.delta,
            "adjacency": None,
            "sampling": self.sampling,
            "accountant": None,
            "noise_multiplier": None,
            "sigma": self.sigma,
            "clip": 0.0,
            "placement": "local",
            "randomness": "seeded",
            "claimed_epsilon": self.claimed_epsilon,
            "reason": "nothing bounds what one client sends",
            "assumes": [],
        }


@dataclass(frozen=True)
class PaperNoise:
    """The paper's noise: on every number that a client sends, by its formula or of a fixed size, without clipping.

    Args:
        sigma: standard deviation of the noise (table 8); or
        epsilon: from which the formula computes it (figure 6).
        delta: of the formula.
        clip: C of the formula, which bounds nothing.
        bound: above 0, updates are really clipped to this norm and count the same, so that an accountant can say what
            the noise of all clients together guarantees.

    Raises:
        ExperimentError: both or neither of sigma and epsilon, or values without meaning.
    """

    sigma: float = 0.0
    epsilon: float = 0.0
    delta: float = 1e-4
    clip: float = 1.0
    bound: float = 0.0

    def __post_init__(self) -> None:
        for option in ("sigma", "epsilon", "clip", "bound"):
            value = getattr(self, option)
            if not (math.isfinite(value) and value >= 0):
                raise ExperimentError(f"{option} = {value} is not a number of 0 or more")
        if not 0 < self.delta < 1:
            raise ExperimentError(f"delta = {self.delta} is no probability", "the paper has 1e-4")
        if (self.sigma > 0) == (self.epsilon > 0):
            raise ExperimentError("give either sigma or epsilon, above 0", "such as epsilon = 1.0")

    @property
    def denies(self) -> Mapping[str, str]:
        return DENIED if self.bound else {}

    def bind(self, terms: Terms) -> Channel:
        """The channel of one federation.

        Raises:
            ExperimentError: a bound together with Poisson sampling, for which no accountant counts clients' own noise.
        """
        sigma = self.sigma or paper_sigma(self.epsilon, self.delta, self.clip, terms)
        claimed = self.epsilon or None
        if not self.bound:
            return UnboundedNoise(sigma, self.delta, terms.sampling, claimed)
        cohort = min(terms.cohort, terms.clients)
        bounded = ClientDP(
            clip=self.bound, noise=sigma * math.sqrt(cohort) / self.bound, delta=self.delta, placement="local"
        )
        return replace(bounded.bind(terms), name="paper-noise", claimed_epsilon=claimed)
