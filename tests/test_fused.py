"""What is swapped into a model computes what the model's own operations do, forward and back."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from fedllm_bench.model.fused import fuse
from small_parts import language_model


def as_published(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in the half-split form: x cos + (-second half, first half) sin."""
    first, second = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]


def angles(tokens: int, width: int) -> tuple[Tensor, Tensor]:
    turns = torch.arange(tokens)[:, None] * (10000 ** (-torch.arange(0, width, 2) / width))
    both = torch.cat([turns, turns], -1)[None]
    return both.cos(), both.sin()


def same_both_ways(ours: list[Tensor], theirs: list[Tensor], inputs: list[Tensor], tolerance: float) -> None:
    """Equal values, and equal gradients of a function of them."""
    torch.manual_seed(1)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
        weight = torch.randn_like(a)
        for x, y in zip(
            torch.autograd.grad((a * weight).sum(), inputs, retain_graph=True, allow_unused=True),
            torch.autograd.grad((b * weight).sum(), inputs, retain_graph=True, allow_unused=True),
            strict=True,
        ):
            assert (x is None) == (y is None)
            if x is not None and y is not None:
                torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


def test_the_rotary_embedding_is_the_models_own(tiny_model: Path) -> None:
    language_model(tiny_model)
    used = sys.modules["transformers.models.llama.modeling_llama"].apply_rotary_pos_emb
    assert used.__module__ == "fedllm_bench.model.fused"
    q, k = torch.randn(2, 4, 7, 16, requires_grad=True), torch.randn(2, 2, 7, 16, requires_grad=True)
    cos, sin = angles(7, 16)
    same_both_ways(list(used(q, k, cos, sin)), [as_published(q, cos, sin), as_published(k, cos, sin)], [q, k], 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_is_the_models_own(dtype: torch.dtype) -> None:
    def norm() -> nn.Module:
        made = LlamaRMSNorm(32, eps=1e-5).to(dtype).requires_grad_(False)
        with torch.no_grad():
            made.weight.copy_(torch.linspace(-1, 2, 32))
        return made

    own, used = norm(), nn.Sequential(norm())
    assert fuse(used)  # type: ignore[arg-type]
    x = torch.randn(3, 5, 32, dtype=dtype).mul(10).requires_grad_()
    same_both_ways([used(x)], [own(x)], [x], 1e-5 if dtype == torch.float32 else 2e-2)


def test_a_norm_that_learns_or_scales_otherwise_is_left_alone() -> None:
    learning = LlamaRMSNorm(32)
    otherwise = Gemma2RMSNorm(32).requires_grad_(False)
    assert fuse(nn.Sequential(learning, otherwise)) == []  # type: ignore[arg-type]
