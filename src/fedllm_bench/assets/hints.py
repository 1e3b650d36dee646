"""Ways out that several failures share."""

__all__ = ["NO_NETWORK", "OTHER_CACHE", "OWN_COPY", "TAMPERED"]

NO_NETWORK = "check the network and the proxy settings, or name a copy of yours: fedllm-bench assets add NAME PATH"
OTHER_CACHE = "choose another folder with the environment variable FEDLLM_BENCH_CACHE"
OWN_COPY = "try again later, or name a copy of yours: fedllm-bench assets add NAME PATH"
TAMPERED = "the download was altered or the publisher changed the file: try again, and do not use it if it stays so"
