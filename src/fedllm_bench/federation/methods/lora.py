"""Methods that are made for LoRA: what of A and B is trained, shared, or merged exactly."""

from fedllm_bench.federation.algorithm import WEIGHTINGS, Algorithm, one_of, with_rate
from fedllm_bench.federation.keys import Keys

__all__ = ["fedsa_lora", "ffa_lora"]


def ffa_lora(server_lr: float = 1.0, weighting: str = "size") -> Algorithm:
    """FFA-LoRA: A stays as it was drawn on every client; B alone trains and travels.

    The mean of the products B A is then the product of the means.

    Source: Sun et al. 2024, section 4.

    Args:
        server_lr: 1 is the published method.
        weighting: as in fedavg.
    """
    one_of("weighting", weighting, WEIGHTINGS)
    return Algorithm(
        server=with_rate(server_lr), uniform=weighting == "uniform", keys=Keys(frozen=("*.lora_A.weight",))
    )


def fedsa_lora(server_lr: float = 1.0, weighting: str = "size") -> Algorithm:
    """FedSA-LoRA: A is shared and averaged; B trains too, but stays with its client.

    Source: Guo et al. 2025, algorithm 1.

    Args:
        server_lr: 1 is the published method.
        weighting: as in fedavg.
    """
    one_of("weighting", weighting, WEIGHTINGS)
    return Algorithm(
        server=with_rate(server_lr), uniform=weighting == "uniform", keys=Keys(private=("*.lora_B.weight",))
    )
