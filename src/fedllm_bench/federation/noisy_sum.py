"""The sum of clipped updates with noise: the channel behind client-level differential privacy."""

import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedllm_bench.federation.accounting import Participation, accountant_for, epsilon
from fedllm_bench.federation.channel import Sent
from fedllm_bench.tensors import Tensors, nbytes, norm, scale

__all__ = ["BELOW", "NORMALS", "Adaptive", "NoisySum", "clipped"]

# Behind this name a client says whether its update was below the bound: 1/2 if so, else -1/2.
BELOW = "channel/below"
_CLIP = "clip"
# A message that is encoded already stays as it is and is sent with the factor that clips it; the bit takes a byte.
_FACTOR_BYTES, _BIT_BYTES = 4, 1

Normal = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def seeded_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers that a run with the same seed draws again: for simulations."""
    return rng.standard_normal(shape)


def secret_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers from the operating system's entropy, which no seed brings back (Box and Muller 1958)."""
    count = math.prod(shape)
    half = (count + 1) // 2
    words = np.frombuffer(secrets.token_bytes(16 * half), dtype="<u8") >> np.uint64(11)
    # In (0, 1], so that the logarithm is finite.
    uniform = (words.astype(np.float64) + 1) * 2.0**-53
    radius, angle = np.sqrt(-2 * np.log(uniform[:half])), 2 * math.pi * uniform[half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].reshape(shape)


NORMALS: dict[str, Normal] = {"seeded": seeded_normal, "secret": secret_normal}


def clipped(tensors: Tensors, bound: float) -> dict[str, Tensor]:
    """x * min(1, C / |x|), with |x| over every tensor together (McMahan et al. 2018, flat clipping)."""
    size = norm(tensors)
    if size <= bound:
        return dict(tensors)
    # A little more than needed, since rounding to fp32 afterwards could step over the bound.
    factor = bound / size * (1 - 2.0**-20)
    return {name: (value.double() * factor).to(value.dtype) for name, value in tensors.items()}


@dataclass(frozen=True)
class Adaptive:
    """The bound follows a quantile of norms: C' = C exp(-rate (b - quantile)), b the noisy share of clients below C.

    Andrew et al. 2021, algorithm 1.

    Args:
        quantile: share of updates that should be left as they are.
        rate: how fast the bound moves.
        count_noise: standard deviation of the noise on the sum of the clients' bits, which are 1/2 or -1/2.
    """

    quantile: float
    rate: float
    count_noise: float

    def after(self, bound: float, share_below: float) -> float:
        return bound * math.exp(-self.rate * (share_below - self.quantile))


@dataclass(frozen=True)
class NoisySum:
    """(sum_i clip(x_i, C) + N(0, (z C)^2)) / m, with m the cohort, whoever arrives (McMahan et al. 2018, algorithm 1).

    Args:
        name: what the experiment calls it.
        participation: how clients come to take part; m is `cohort`, and a client that does not arrive adds zero.
        clip: C, or where it starts if it adapts; 0 leaves updates as they are, with noise of z instead of z C.
        noise: z, for everything that is released together.
        update_noise: z of the update alone, larger than `noise` if a bit is released beside it.
        delta: at which epsilon is stated.
        local: each client adds its share of the noise, and the server that of clients who do not arrive.
        randomness: where noise comes from, a name of `NORMALS`.
        adaptive: how the bound moves, if it does.
        accountant: a name of `ACCOUNTANTS`.
        claimed_epsilon: what somebody else's formula says.
    """

    name: str
    participation: Participation
    clip: float
    noise: float
    update_noise: float
    delta: float
    local: bool
    randomness: str
    adaptive: Adaptive | None
    accountant: str
    claimed_epsilon: float | None = None

    uniform = True
    releases_empty = True

    @property
    def cohort(self) -> int:
        """m, the same in every round, so that it tells nothing about who came."""
        return min(self.participation.cohort, self.participation.clients)

    def init(self) -> Tensors:
        return {_CLIP: torch.tensor([self.clip], dtype=torch.float64)} if self.adaptive else {}

    def up(self, sent: Sent, state: Tensors, rng: np.random.Generator) -> Sent:
        bound = self._bound(state)
        tensors = clipped(sent.tensors, bound) if self.clip else dict(sent.tensors)
        size = sent.bytes + (_FACTOR_BYTES if sent.bytes != nbytes(sent.tensors) else 0)
        if self.adaptive:
            tensors[BELOW] = torch.tensor([0.5 if norm(sent.tensors) <= bound else -0.5])
            size += _BIT_BYTES
        if self.local:
            tensors = self._noisy(tensors, 1 / math.sqrt(self.cohort), bound, rng)
        return Sent(tensors, size)

    def merged(self, mean: Tensors, taken: int, state: Tensors, rng: np.random.Generator) -> tuple[Tensors, Tensors]:
        bound = self._bound(state)
        total = scale(mean, taken / self.cohort)
        if self.adaptive:
            total.setdefault(BELOW, torch.zeros(1))
        missing = 1 - taken / self.cohort if self.local else 1.0
        total = self._noisy(total, math.sqrt(max(0.0, missing)) / self.cohort, bound, rng)
        if self.adaptive is None:
            return total, state
        share_below = float(total.pop(BELOW)) + 0.5
        return total, {_CLIP: torch.tensor([self.adaptive.after(bound, share_below)], dtype=torch.float64)}

    def account(self, rounds: int) -> Mapping[str, Any]:
        """What so many released rounds guarantee; a round that was repeated with fresh noise counts twice."""
        found = epsilon(self.participation, self.noise, rounds, self.delta, self.accountant) if self.clip else math.inf
        return {
            "channel": self.name,
            "epsilon": found if math.isfinite(found) else None,
            "delta": self.delta,
            "adjacency": self.participation.rule.adjacency,
            "sampling": self.participation.sampling,
            "accountant": accountant_for(self.participation, self.accountant),
            "noise_multiplier": self.noise,
            "clip": self.clip,
            "placement": "local" if self.local else "central",
            "randomness": self.randomness,
            "claimed_epsilon": self.claimed_epsilon,
            "reason": None if math.isfinite(found) else self._no_guarantee(),
            "assumes": self._assumes(),
        }

    def _no_guarantee(self) -> str:
        return "nothing bounds what one client sends (clip = 0)" if not self.clip else "no noise is added (noise = 0)"

    def _assumes(self) -> list[str]:
        assumed = ["only models are seen, not the run's records"]
        if self.participation.amplified:
            assumed.append("who is in a cohort stays secret")
        if self.randomness == "seeded":
            assumed.append("the seed stays secret, since the noise can be drawn again from it")
        if self.local:
            assumed.append("nobody sees a client's message by itself: a client adds only its share of the noise")
        return assumed

    def _bound(self, state: Tensors) -> float:
        return float(state[_CLIP]) if self.adaptive else self.clip

    def _noisy(self, tensors: Tensors, factor: float, bound: float, rng: np.random.Generator) -> dict[str, Tensor]:
        """Each tensor with `factor` times the noise that the sum is to have."""
        normal = NORMALS[self.randomness]
        spread = dict.fromkeys(tensors, self.update_noise * (bound if self.clip else 1.0) * factor)
        if self.adaptive:
            spread[BELOW] = self.adaptive.count_noise * factor
        return {
            name: value + torch.as_tensor(spread[name] * normal(rng, tuple(value.shape)), dtype=value.dtype)
            if spread[name] > 0
            else value
            for name, value in sorted(tensors.items())
        }
