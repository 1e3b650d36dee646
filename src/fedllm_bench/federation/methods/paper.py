"""The eight methods that the paper compares."""

from fedllm_bench.federation.algorithm import WEIGHTINGS, Algorithm, at_least, below_one, one_of, with_rate
from fedllm_bench.federation.proximal import Proximal
from fedllm_bench.federation.scaffold import CORRECTIONS, OPTIONS, ControlVariate
from fedllm_bench.federation.server import adaptive, chain, momentum
from fedllm_bench.tensors import Tensors, axpy, zeros_like

__all__ = ["fedadagrad", "fedadam", "fedavg", "fedavgm", "fedprox", "fedyogi", "local", "scaffold"]

MOMENTS = ("delta", "momentum")


def local(clients: int = 2) -> Algorithm:
    """Local training: a federation of one client, one run for each of some clients drawn by seed.

    Source: Ye et al. 2024 (FedLLM-Bench), section 4.1.

    Args:
        clients: how many are drawn; the experiment expands into that many runs, averaged in the tables.
    """
    at_least("clients", clients, 1)
    return Algorithm(needs=frozenset({"one client"}))


def fedavg(server_lr: float = 1.0, weighting: str = "size") -> Algorithm:
    """FedAvg: w <- w + server_lr * sum_i p_i (w_i - w).

    Source: McMahan et al. 2017, algorithm 1.

    Args:
        server_lr: 1 is the published method.
        weighting: p_i by number of examples (`size`), or 1 / cohort (`uniform`).
    """
    one_of("weighting", weighting, WEIGHTINGS)
    return Algorithm(server=with_rate(server_lr), uniform=weighting == "uniform")


def fedprox(mu: float = 0.01, weighting: str = "size") -> Algorithm:
    """FedProx: local loss + mu / 2 * |w - w_g|^2, then as FedAvg.

    Source: Li et al. 2020, equation 2; mu of the scripts of Ye et al. 2024 (FedLLM-Bench).

    Args:
        mu: pull towards the global adapter; 0 is FedAvg.
        weighting: as in fedavg.
    """
    at_least("mu", mu, 0)
    one_of("weighting", weighting, WEIGHTINGS)
    return Algorithm(client=Proximal(mu), uniform=weighting == "uniform")


def scaffold(
    option: str = "gradients", correction: str = "gradient", server_lr: float = 1.0, weighting: str = "uniform"
) -> Algorithm:
    """SCAFFOLD: local steps along g_i(y) - c_i + c; c <- c + (1 / N) sum over the cohort of (c_i' - c_i).

    Source: Karimireddy et al. 2020, algorithm 1.

    Args:
        option: what c_i' is: the gradient at the global adapter (`I`), c_i - c + (x - y) / (K lr) (`II`), or the mean
            gradient of the local steps (`gradients`), which is what II says where a step is lr times the gradient, and
            holds for local optimizers whose steps are not, such as AdamW.
        correction: c - c_i enters the gradient, as published (`gradient`), or w <- w - lr (c - c_i) follows each
            optimizer step (`after-step`).
        server_lr: 1 is the published default.
        weighting: of the models, as in fedavg.
    """
    one_of("option", option, tuple(OPTIONS))
    one_of("correction", correction, CORRECTIONS)
    one_of("weighting", weighting, WEIGHTINGS)

    def share_step(shared: Tensors, extra: Tensors, cohort: int, clients: int) -> Tensors:
        return axpy(cohort / clients, extra, shared)

    return Algorithm(
        client=ControlVariate(option, correction),
        server=with_rate(server_lr),
        uniform=weighting == "uniform",
        share_init=zeros_like,
        share_step=share_step,
    )


def fedavgm(
    beta: float = 0.9,
    server_lr: float = 1.0,
    damping: bool = False,
    warm_start: bool = False,
    weighting: str = "size",
) -> Algorithm:
    """FedAvgM: m <- beta m + D, w <- w + server_lr m, with D the merged update.

    Source: Hsu et al. 2019, section 3.3, with its beta.

    Args:
        beta: what stays of the momentum; 0 is FedAvg.
        server_lr: rate of the server's step.
        damping: D enters with 1 - beta.
        warm_start: the first m is D itself.
        weighting: as in fedavg.
    """
    below_one("beta", beta)
    one_of("weighting", weighting, WEIGHTINGS)
    server = chain(momentum(beta, damping=damping, warm_start=warm_start), with_rate(server_lr))
    return Algorithm(server=server, uniform=weighting == "uniform")


def fedadagrad(
    server_lr: float = 1e-3,
    beta1: float = 0.0,
    tau: float = 1e-3,
    moment_of: str = "delta",
    warm_start: bool = False,
    weighting: str = "uniform",
) -> Algorithm:
    """FedAdagrad: m <- b1 m + (1 - b1) D, v <- v + D^2, w <- w + server_lr m / (sqrt(v) + tau).

    Source: Reddi et al. 2021, algorithm 2, with its tau and b1; server_lr of the scripts of
    Ye et al. 2024 (FedLLM-Bench).

    Args:
        server_lr: eta.
        beta1: b1.
        tau: degree of adaptivity; v starts at its square.
        moment_of: what is squared: the merged update (`delta`), as published, or m (`momentum`).
        warm_start: the first m is D itself.
        weighting: of D, as in fedavg.
    """
    return _adaptive("adagrad", server_lr, (beta1, 0.0), tau, moment_of, warm_start, False, weighting)


def fedyogi(
    server_lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.99,
    tau: float = 1e-3,
    moment_of: str = "delta",
    warm_start: bool = False,
    bias_correction: bool = False,
    weighting: str = "uniform",
) -> Algorithm:
    """FedYogi: m <- b1 m + (1 - b1) D, v <- v - (1 - b2) D^2 sign(v - D^2), w <- w + server_lr m / (sqrt(v) + tau).

    Source: Reddi et al. 2021, algorithm 2, with its tau, b1 and b2; server_lr of the scripts of
    Ye et al. 2024 (FedLLM-Bench).

    Args:
        server_lr: eta.
        beta1: b1.
        beta2: b2.
        tau: degree of adaptivity; v starts at its square.
        moment_of: what is squared: the merged update (`delta`), as published, or m (`momentum`).
        warm_start: the first m is D itself.
        bias_correction: m / (1 - b1^t) and v / (1 - b2^t) instead of m and v.
        weighting: of D, as in fedavg.
    """
    return _adaptive("yogi", server_lr, (beta1, beta2), tau, moment_of, warm_start, bias_correction, weighting)


def fedadam(
    server_lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.99,
    tau: float = 1e-3,
    moment_of: str = "delta",
    warm_start: bool = False,
    bias_correction: bool = False,
    weighting: str = "uniform",
) -> Algorithm:
    """FedAdam: m <- b1 m + (1 - b1) D, v <- b2 v + (1 - b2) D^2, w <- w + server_lr m / (sqrt(v) + tau).

    Source: Reddi et al. 2021, algorithm 2, with its tau, b1 and b2; server_lr of the scripts of
    Ye et al. 2024 (FedLLM-Bench).

    Args:
        server_lr: eta.
        beta1: b1.
        beta2: b2.
        tau: degree of adaptivity; v starts at its square.
        moment_of: what is squared: the merged update (`delta`), as published, or m (`momentum`).
        warm_start: the first m is D itself.
        bias_correction: m / (1 - b1^t) and v / (1 - b2^t) instead of m and v.
        weighting: of D, as in fedavg.
    """
    return _adaptive("adam", server_lr, (beta1, beta2), tau, moment_of, warm_start, bias_correction, weighting)


def _adaptive(
    rule: str,
    server_lr: float,
    betas: tuple[float, float],
    tau: float,
    moment_of: str,
    warm_start: bool,
    bias_correction: bool,
    weighting: str,
) -> Algorithm:
    at_least("server_lr", server_lr, 0)
    at_least("tau", tau, 1e-12)
    for number, beta in enumerate(betas, start=1):
        below_one(f"beta{number}", beta)
    one_of("moment_of", moment_of, MOMENTS)
    one_of("weighting", weighting, WEIGHTINGS)
    server = adaptive(
        rule, server_lr, betas, tau, moment_of=moment_of, warm_start=warm_start, bias_correction=bias_correction
    )
    return Algorithm(server=server, uniform=weighting == "uniform")
