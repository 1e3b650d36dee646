"""The pairs of factors A and B of an adapter: drawn, summed by their products, and found for a product."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fedllm_bench import rng
from fedllm_bench.tensors import Tensors

__all__ = ["Pair", "fresh", "leading", "named", "pairs", "split", "stacked"]

# A, (rank, in), and B, (out, rank).
Pair = tuple[Tensor, Tensor]
_A, _B = ".lora_A.weight", ".lora_B.weight"


def fresh(shapes: Mapping[str, tuple[int, int]], seed: int, *keys: int) -> dict[str, Tensor]:
    """An adapter at its start: A uniform in +-1/sqrt(in), B zero, so that it adds nothing (PEFT's default).

    Args:
        shapes: of every tensor, by name.
        seed: of the run.
        keys: what tells this draw from others of the run.
    """
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith(_A):
            bound = 1.0 / shape[1] ** 0.5
            draw = rng.stream(seed, "adapter", *keys, name).uniform(-bound, bound, shape)
            tensors[name] = torch.from_numpy(draw.astype(np.float32))
        else:
            tensors[name] = torch.zeros(shape)
    return tensors


def pairs(adapter: Tensors) -> dict[str, Pair]:
    """Layer name -> its factors."""
    layers = [name.removesuffix(_A) for name in adapter if name.endswith(_A)]
    return {layer: (adapter[layer + _A], adapter[layer + _B]) for layer in layers}


def named(factors: Mapping[str, Pair]) -> dict[str, Tensor]:
    """The adapter with these factors, in fp32."""
    adapter = {}
    for layer, (a, b) in factors.items():
        adapter[layer + _A], adapter[layer + _B] = a.float().contiguous(), b.float().contiguous()
    return adapter


def stacked(parts: Sequence[Pair], shares: Sequence[float]) -> Pair:
    """One pair in fp64 for a weighted sum of products: B A = sum_i p_i B_i A_i, its rank the sum of the ranks.

    Args:
        parts: A_i, (r_i, in), and B_i, (out, r_i).
        shares: p_i.
    """
    scaled = [share * b.double() for share, (_, b) in zip(shares, parts, strict=True)]
    return torch.cat([a.double() for a, _ in parts]), torch.cat(scaled, 1)


def split(product: Tensor, precision: torch.dtype) -> Pair:
    """The smallest pair for a product, by its singular value decomposition U S V^T: A = V^T and B = U S.

    Args:
        product: (out, in).
        precision: what its entries are exact to; singular values that rounding explains are left out.
    """
    u, sizes, vt = torch.linalg.svd(product, full_matrices=False)
    kept = int((sizes > max(product.shape) * torch.finfo(precision).eps * sizes[0]).sum())
    return vt[:kept], u[:, :kept] * sizes[:kept]


def leading(pair: Pair, rank: int) -> Pair:
    """The best approximation of B A by a product of that rank, as A' = V^T and B' = U S of its leading singular values.

    They are those of the core R_B R_A^T between the QR decompositions of both factors, so that (out, in) is never
    formed. Each row of A' has its largest entry positive, which leaves no sign to chance.

    Args:
        pair: A, (any, in), and B, (out, any), in fp64.
        rank: most rows of A' and columns of B'; fewer come back where the product has a smaller rank.
    """
    q_a, r_a = torch.linalg.qr(pair[0].T)
    q_b, r_b = torch.linalg.qr(pair[1])
    core_a, core_b = split(r_b @ r_a.T, torch.float64)
    a, b = core_a[:rank] @ q_a.T, q_b @ core_b[:, :rank]
    signs = a.gather(1, a.abs().argmax(1, keepdim=True)).sign()  # (rank, 1)
    return a * signs, b * signs.T
