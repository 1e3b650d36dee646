"""What happens to updates on their way to the server: nothing, or clipping, noise, compression."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fedllm_bench.tensors import Tensors, nbytes, prefixed, unprefixed

__all__ = ["Channel", "ChannelSpec", "Direct", "Pipeline", "Sent", "Terms", "arriving"]


@dataclass(frozen=True)
class Terms:
    """What a channel must know of the federation it serves.

    Args:
        clients: how many may take part.
        samples: training examples of all of them.
        cohort: clients of a round; with Poisson sampling the expected number.
        rounds: of the run.
        sampling: how cohorts are drawn, a name of `build.SAMPLINGS`.
        lr: learning rate of the first round.
    """

    clients: int
    samples: int
    cohort: int
    rounds: int
    sampling: str
    lr: float


@dataclass(frozen=True)
class Sent:
    """One client's update under way.

    Args:
        tensors: all that leaves the client, names behind `delta/`, `extra/` or a channel's own prefix.
        bytes: that it takes on the wire.
        memory: what the channel keeps at the client until its next round.
    """

    tensors: Tensors
    bytes: int
    memory: Tensors = field(default_factory=dict)


class Channel(Protocol):
    """Two-sided: it sees each client's update, and the merged one."""

    @property
    def uniform(self) -> bool:
        """Whether every client must count the same, whatever its size."""
        ...

    @property
    def releases_empty(self) -> bool:
        """Whether the merged update stands for the expected cohort, whoever arrives: a round without anybody counts."""
        ...

    def init(self) -> Tensors:
        """What the channel remembers on the server from round to round."""
        ...

    def up(self, sent: Sent, state: Tensors, rng: np.random.Generator) -> Sent:
        """What arrives of one client's update; `sent.memory` is what the channel kept at this client."""
        ...

    def merged(self, mean: Tensors, taken: int, state: Tensors, rng: np.random.Generator) -> tuple[Tensors, Tensors]:
        """What the server uses of the mean over `taken` clients, and what it remembers."""
        ...

    def account(self, rounds: int) -> Mapping[str, Any] | None:
        """What privacy has been spent after so many rounds, for the records; None where the channel gives none."""
        ...


class ChannelSpec(Protocol):
    """A channel's checked options, before the federation is known."""

    @property
    def denies(self) -> Mapping[str, str]:
        """Needs of methods (`Algorithm.needs`) that the channel cannot serve, and why."""
        ...

    def bind(self, terms: Terms) -> Channel: ...


class Direct:
    """Updates arrive as they are sent, in fp32; other channels change what they need to."""

    uniform = False
    releases_empty = False

    def init(self) -> Tensors:
        return {}

    def up(self, sent: Sent, state: Tensors, rng: np.random.Generator) -> Sent:
        return sent

    def merged(self, mean: Tensors, taken: int, state: Tensors, rng: np.random.Generator) -> tuple[Tensors, Tensors]:
        return mean, state

    def account(self, rounds: int) -> Mapping[str, Any] | None:
        return None


class Pipeline:
    """Channels one after the other, in the same order on the way up and on the merged update."""

    def __init__(self, parts: Sequence[Channel]) -> None:
        self.parts = tuple(parts)

    @property
    def uniform(self) -> bool:
        return any(part.uniform for part in self.parts)

    @property
    def releases_empty(self) -> bool:
        return any(part.releases_empty for part in self.parts)

    def init(self) -> Tensors:
        return _numbered([part.init() for part in self.parts])

    def up(self, sent: Sent, state: Tensors, rng: np.random.Generator) -> Sent:
        memories = []
        for number, part in enumerate(self.parts):
            key = str(number)
            after = part.up(Sent(sent.tensors, sent.bytes, unprefixed(key, sent.memory)), unprefixed(key, state), rng)
            memories.append(after.memory)
            sent = Sent(after.tensors, after.bytes, sent.memory)
        return Sent(sent.tensors, sent.bytes, _numbered(memories))

    def merged(self, mean: Tensors, taken: int, state: Tensors, rng: np.random.Generator) -> tuple[Tensors, Tensors]:
        states = []
        for number, part in enumerate(self.parts):
            mean, after = part.merged(mean, taken, unprefixed(str(number), state), rng)
            states.append(after)
        return mean, _numbered(states)

    def account(self, rounds: int) -> Mapping[str, Any] | None:
        found = [spent for part in self.parts if (spent := part.account(rounds)) is not None]
        guaranteed = [spent for spent in found if spent["epsilon"] is not None]
        return next(iter([*guaranteed, *found]), None)


def arriving(tensors: Tensors) -> Sent:
    """An update as the client makes it, in fp32."""
    return Sent(tensors, nbytes(tensors))


def _numbered(parts: Sequence[Tensors]) -> Tensors:
    return {name: value for number, part in enumerate(parts) for name, value in prefixed(str(number), part).items()}
