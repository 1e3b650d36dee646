"""What two answers to one prompt are worth, and the losses that push their values apart; pure functions on tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from fedllm_bench.errors import ExperimentError

__all__ = ["LOSSES", "PairLoss"]


@dataclass(frozen=True, slots=True)
class PairLoss:
    """One of `LOSSES` with its settings: L(m) of the margin m between the rewards of the two answers.

    The reward of an answer y to x is beta * (log pi(y|x) - log pi_ref(y|x)) (Rafailov et al. 2023, section 4), or,
    for a loss without a reference, beta * log pi(y|x) / |y| (Meng et al. 2024, eq. 4).

    Args:
        name: a name from `LOSSES`.
        beta: scale of the rewards.
        label_smoothing: how often a preference is taken to be the wrong way round; the loss becomes
            (1 - s) * L(m) + s * L(-m) (Mitchell 2023, "A note on DPO with noisy preferences").
        gamma: margin that `simpo` asks for.

    Raises:
        ExperimentError: there is no such loss, or a number makes no sense.
    """

    name: str = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0
    gamma: float = 0.5

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ExperimentError(f"unknown loss {self.name!r}", f"choose one of {', '.join(LOSSES)}")
        if not self.beta > 0:
            raise ExperimentError(f"beta is {self.beta}, not above 0", "the paper uses 0.1")
        if not 0 <= self.label_smoothing < 0.5:
            raise ExperimentError(f"label_smoothing is {self.label_smoothing}, not in [0, 0.5)", "0 turns it off")

    @property
    def needs_reference(self) -> bool:
        """Whether rewards are measured against the base model."""
        return self.name not in _REFERENCE_FREE

    def reward(self, log_probs: Tensor, reference: Tensor | None, tokens: Tensor) -> Tensor:
        """Rewards of answers from their summed log-probabilities and their numbers of tokens, all of one shape."""
        value = log_probs / tokens if reference is None else log_probs - reference
        return self.beta * value

    def of(self, margin: Tensor) -> Tensor:
        """Loss of each pair from the margin of its rewards, chosen minus rejected, (pairs,)."""
        loss = LOSSES[self.name]
        if self.label_smoothing == 0:
            return loss(margin, self)
        return (1 - self.label_smoothing) * loss(margin, self) + self.label_smoothing * loss(-margin, self)


def _sigmoid(margin: Tensor, settings: PairLoss) -> Tensor:
    """L(m) = -log sigmoid(m) (Rafailov et al. 2023, eq. 7)."""
    return -logsigmoid(margin)


def _hinge(margin: Tensor, settings: PairLoss) -> Tensor:
    """L(m) = max(0, 1 - m) (Zhao et al. 2023, SLiC-HF, as Liu et al. 2023, RSO, write it)."""
    return (1 - margin).clamp(min=0)


def _ipo(margin: Tensor, settings: PairLoss) -> Tensor:
    """L(m) = (m / beta - 1 / (2 beta))^2, with log-probabilities summed over tokens (Azar et al. 2023, eq. 17)."""
    return (margin / settings.beta - 1 / (2 * settings.beta)).square()


def _simpo(margin: Tensor, settings: PairLoss) -> Tensor:
    """L(m) = -log sigmoid(m - gamma) (Meng et al. 2024, eq. 6)."""
    return -logsigmoid(margin - settings.gamma)


LOSSES: Mapping[str, Callable[[Tensor, PairLoss], Tensor]] = {
    "sigmoid": _sigmoid,
    "hinge": _hinge,
    "ipo": _ipo,
    "simpo": _simpo,
}
_REFERENCE_FREE = frozenset({"simpo"})
