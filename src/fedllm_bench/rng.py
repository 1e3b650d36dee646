"""Named random streams: every draw is a function of (seed, purpose, round, client, ...), never of what ran before."""

import hashlib

import numpy as np

__all__ = ["integer", "stream"]


def integer(seed: int, purpose: str, *keys: int | str) -> int:
    """A 63-bit integer from the hash of (seed, purpose, keys), for generators that take a seed.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for, such as "cohort" or "dropout"; two purposes never share a stream.
        keys: round, client, step or whatever else tells one draw from another.
    """
    text = "\x1f".join([str(seed), purpose, *map(str, keys)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stream(seed: int, purpose: str, *keys: int | str) -> np.random.Generator:
    """A NumPy generator of its own for (seed, purpose, keys)."""
    return np.random.Generator(np.random.PCG64(integer(seed, purpose, *keys)))
