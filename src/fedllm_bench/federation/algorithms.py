"""The table of methods: a new one is a new row."""

from collections.abc import Callable, Mapping

from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.federation.methods import exact, lora, mixed_ranks, paper, personal, robust

__all__ = ["ALGORITHMS"]

ALGORITHMS: Mapping[str, Callable[..., Algorithm]] = {
    "local": paper.local,
    "fedavg": paper.fedavg,
    "fedprox": paper.fedprox,
    "scaffold": paper.scaffold,
    "fedavgm": paper.fedavgm,
    "fedadagrad": paper.fedadagrad,
    "fedyogi": paper.fedyogi,
    "fedadam": paper.fedadam,
    "ffa-lora": lora.ffa_lora,
    "fedsa-lora": lora.fedsa_lora,
    "flora": exact.flora,
    "fedex-lora": exact.fedex_lora,
    "hetlora": mixed_ranks.hetlora,
    "flexlora": mixed_ranks.flexlora,
    "median": robust.median,
    "trimmed-mean": robust.trimmed_mean,
    "krum": robust.krum,
    "ditto": personal.ditto,
    "pfedgraph": personal.pfedgraph,
}
