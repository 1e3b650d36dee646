"""What happens to updates on their way to the server: nothing, or clipping, noise, compression."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fedllm_bench.tensors import Tensors, nbytes

__all__ = ["Channel", "Direct", "Pipeline"]


class Channel(Protocol):
    """Two-sided: it sees each client's update, and the merged one."""

    @property
    def uniform(self) -> bool:
        """Whether every client must count the same, whatever its size."""
        ...

    def up(self, sent: Tensors, rng: np.random.Generator) -> tuple[Tensors, int]:
        """What arrives of one client's update, and the bytes it took on the wire."""
        ...

    def merged(self, mean: Tensors, cohort: int, rng: np.random.Generator) -> Tensors:
        """What the server uses of the mean over a cohort of that size."""
        ...


class Direct:
    """Updates arrive as they are sent, in fp32."""

    uniform = False

    def up(self, sent: Tensors, rng: np.random.Generator) -> tuple[Tensors, int]:
        return sent, nbytes(sent)

    def merged(self, mean: Tensors, cohort: int, rng: np.random.Generator) -> Tensors:
        return mean


class Pipeline:
    """Channels one after the other on the way up; on the merged update in the same order. Bytes are the last one's."""

    def __init__(self, parts: Sequence[Channel]) -> None:
        self.parts = tuple(parts) or (Direct(),)

    @property
    def uniform(self) -> bool:
        return any(part.uniform for part in self.parts)

    def up(self, sent: Tensors, rng: np.random.Generator) -> tuple[Tensors, int]:
        size = nbytes(sent)
        for part in self.parts:
            sent, size = part.up(sent, rng)
        return sent, size

    def merged(self, mean: Tensors, cohort: int, rng: np.random.Generator) -> Tensors:
        for part in self.parts:
            mean = part.merged(mean, cohort, rng)
        return mean
