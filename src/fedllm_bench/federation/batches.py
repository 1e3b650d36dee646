"""Which examples a client's optimizer steps take."""

import random
from collections.abc import Callable

import numpy as np

from fedllm_bench import rng

__all__ = ["Draw", "batches_of_the_paper", "shuffled_batches"]

# (seed, round, client's name, examples it has, batch size, steps) -> the examples of each step.
Draw = Callable[[int, int, str, int, int, int], list[list[int]]]


def shuffled_batches(seed: int, round: int, client: str, examples: int, batch_size: int, steps: int) -> list[list[int]]:
    """Shuffled passes over the data, one after the other, cut into batches.

    A client with fewer examples than it needs goes through them again in a new order.
    """
    generator = rng.stream(seed, "batches", round, client)
    passes = -(-batch_size * steps // examples)
    return _cut(np.concatenate([generator.permutation(examples) for _ in range(passes)]), batch_size, steps)


def batches_of_the_paper(
    seed: int, round: int, client: str, examples: int, batch_size: int, steps: int
) -> list[list[int]]:
    """The choice of the paper's scripts: Python's generator, seeded with the round from 0 alone, samples the data.

    A client with fewer examples than it needs goes through them again in the same order.
    """
    needed = batch_size * steps
    drawn = random.Random(round - 1).sample(range(examples), min(examples, needed))
    return _cut(np.resize(drawn, needed), batch_size, steps)


def _cut(order: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]", batch_size: int, steps: int) -> list[list[int]]:
    return [[int(row) for row in order[step * batch_size : (step + 1) * batch_size]] for step in range(steps)]
