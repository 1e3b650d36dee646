"""How many optimizer steps a client takes in a round."""

import math
from fractions import Fraction

__all__ = ["dynamic_steps", "fixed_steps"]


def fixed_steps(samples: int, *, steps: int) -> int:
    """The same number for every client."""
    return steps


def dynamic_steps(samples: int, *, rounds: int, cohort: int, clients: int, batch_size: int, passes: float = 3.0) -> int:
    """K = ceil((passes * n / E) / B): spread so many passes over a client's data over the rounds it can expect.

    E = rounds * cohort / clients is how often a client is expected to take part (the paper's preference runs).

    Args:
        samples: n, of the client.
        rounds: of the run.
        cohort: clients of a round.
        clients: that may take part.
        batch_size: B, samples a step.
        passes: over the client's data, in the whole run.
    """
    # In fractions: where the quotient is whole, rounding up must not add a step.
    return max(1, math.ceil(Fraction(str(passes)) * samples * clients / (rounds * cohort * batch_size)))
