"""A method of your own: FedAvg in which no client can move the model further than a bound.

    fedllm-bench run examples/own_method.toml

docs/your_own_method.md goes through it.
"""

from fedllm_bench.federation.aggregate import WeightedMean
from fedllm_bench.federation.algorithm import Algorithm, at_least
from fedllm_bench.tensors import Tensors, norm, scale


class ClippedMean(WeightedMean):
    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def add(self, client: int, delta: Tensors, weight: float) -> None:
        super().add(client, scale(delta, min(1.0, self.bound / max(norm(delta), 1e-12))), weight)


def norm_clipping(bound: float = 0.5) -> Algorithm:
    """Norm clipping: w <- w + sum_i p_i D_i min(1, bound / |D_i|), with D_i = w_i - w.

    Source: Sun et al. 2019 (Can You Really Backdoor Federated Learning?), norm thresholding.

    Args:
        bound: largest norm that an update keeps; above all norms it is FedAvg.
    """
    at_least("bound", bound, 0)
    return Algorithm(aggregate=lambda gathering: ClippedMean(bound), needs=frozenset({"individual updates"}))


ALGORITHMS = {"norm-clipping": norm_clipping}
