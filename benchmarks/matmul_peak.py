"""The fastest matrix product that this machine does, to compare with what training reaches."""

import time

import torch

__all__ = ["matmul_peak"]

SHAPES = {"cpu": ((1024, 576, 1536), (1024, 1536, 576), (2048, 2048, 2048)), "cuda": ((8192, 8192, 8192),)}


def matmul_peak(dtype: torch.dtype, device: str = "cpu", tries: int = 5) -> float:
    """GFLOP/s of the best product over some shapes."""
    best = 0.0
    for rows, inner, columns in SHAPES[device]:
        a, b = (
            torch.randn(rows, inner, device=device, dtype=dtype),
            torch.randn(inner, columns, device=device, dtype=dtype),
        )
        for _ in range(tries):
            started = time.perf_counter()
            for _ in range(5):
                c = a @ b
            float(c[0, 0])  # waits for an accelerator
            best = max(best, 5 * 2 * rows * inner * columns / (time.perf_counter() - started) / 1e9)
    return best
