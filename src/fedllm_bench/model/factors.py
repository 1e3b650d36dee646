"""The pairs of factors A and B of an adapter, their products B A, and pairs for products."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fedllm_bench.tensors import Tensors

__all__ = ["Pair", "leading", "named", "pairs", "stacked"]

# A, (rank, in), and B, (out, rank).
Pair = tuple[Tensor, Tensor]
_A, _B = ".lora_A.weight", ".lora_B.weight"


def pairs(adapter: Tensors) -> dict[str, Pair]:
    """Layer name -> its factors, in fp64."""
    layers = [name.removesuffix(_A) for name in adapter if name.endswith(_A)]
    return {layer: (adapter[layer + _A].double(), adapter[layer + _B].double()) for layer in layers}


def named(factors: Mapping[str, Pair]) -> dict[str, Tensor]:
    """The adapter with these factors, in fp32."""
    return {
        name: value.float().contiguous() for layer, (a, b) in factors.items() for name, value in _both(layer, a, b)
    }


def _both(layer: str, a: Tensor, b: Tensor) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
    return (layer + _A, a), (layer + _B, b)


def stacked(parts: Sequence[Pair], shares: Sequence[float]) -> Pair:
    """One pair for a weighted sum of products: B A = sum_i p_i B_i A_i, exactly, its rank the sum of the ranks.

    Args:
        parts: A_i, (r_i, in), and B_i, (out, r_i).
        shares: p_i.
    """
    scaled = [share * b for share, (_, b) in zip(shares, parts, strict=True)]
    return torch.cat([a for a, _ in parts]), torch.cat(scaled, 1)


def leading(pair: Pair, rank: int) -> Pair:
    """The best approximation of B A by a product of that rank: B' = U S, A' = V^T of its singular value decomposition.

    It is found on the core R_B R_A^T of the QR decompositions of both factors, so that (out, in) is never formed; each
    row of A' has its largest entry positive, which leaves nothing to chance.

    Args:
        pair: A, (any, in), and B, (out, any), in fp64.
        rank: most rows of A' and columns of B'; fewer come back where the product has a smaller rank.
    """
    a, b = pair
    q_a, r_a = torch.linalg.qr(a.T)
    q_b, r_b = torch.linalg.qr(b)
    u, sizes, vt = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
    floor = max(a.shape[1], b.shape[0]) * torch.finfo(sizes.dtype).eps * sizes[0]
    kept = min(rank, int((sizes > floor).sum()))
    right, left = vt[:kept] @ q_a.T, q_b @ (u[:, :kept] * sizes[:kept])
    largest = right.gather(1, right.abs().argmax(1, keepdim=True))  # (kept, 1)
    signs = largest.sign()
    return right * signs, left * signs.T
