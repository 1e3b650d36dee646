"""Attention over rows packed end to end, plugged into Hugging Face models through their attention registry."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

__all__ = ["PACKED", "packed_rows", "same_rows", "supports_packing"]

PACKED = "fedllm_bench_packed"

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Rows:
    """Rows packed end to end, and how they lie padded.

    Args:
        lengths: tokens of each row.
    """

    def __init__(self, lengths: tuple[int, ...]) -> None:
        self.lengths = lengths
        self._padding: Padding | None = None

    def padding(self, device: torch.device) -> "Padding":
        """Where each token goes; made at the first layer that asks, for all."""
        if self._padding is None:
            self._padding = _padding(np.asarray(self.lengths), device)
        return self._padding


@dataclass(frozen=True)
class Padding:
    """Places of packed tokens in batches of rows, each padded on the right to the longest of its batch.

    Args:
        shapes: rows and longest of each batch.
        tokens: which token is at each place of all batches, any one where there is none, (places,).
        places: where each token is, (tokens,).
        empty: places without a token, (places, 1, 1).
    """

    shapes: tuple[tuple[int, int], ...]
    tokens: Tensor
    places: Tensor
    empty: Tensor


_rows: ContextVar[Rows] = ContextVar("packed rows")


@dataclass(frozen=True)
class _Windows:
    """Local windows that a model asked masks for, and those that its attention was told of; see `supports_packing`."""

    asked: set[int] = field(default_factory=set)
    told: set[int] = field(default_factory=set)


_seen: ContextVar[_Windows | None] = ContextVar("windows seen", default=None)


@contextmanager
def packed_rows(lengths: tuple[int, ...]) -> Iterator[None]:
    """Say how long the packed rows of the forward passes inside the block are."""
    with _packed(Rows(lengths)):
        yield


def same_rows() -> AbstractContextManager[None]:
    """A block with the rows that are packed now, to be entered later."""
    rows = _rows.get(None)
    return nullcontext() if rows is None else _packed(rows)


@contextmanager
def _packed(rows: Rows) -> Iterator[None]:
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each row; shapes (1, heads, tokens, width) in, (1, tokens, heads, width) out."""
    if softcap is not None or s_aux is not None or attention_mask is not None:
        raise NotImplementedError("packed attention has neither soft caps nor sinks nor masks")
    if sliding_window and (seen := _seen.get()) is not None:
        seen.told.add(sliding_window)
    grouped = query.shape[1] != key.shape[1]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Rows of one length, (rows, heads, length, width) in, (rows, length, heads, width) out."""
        size = q.shape[2]
        mask = _window(size, sliding_window, q.device) if sliding_window and size > sliding_window else None
        output: Tensor = scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling, enable_gqa=grouped
        )
        return output.transpose(1, 2)

    whole = WAYS.get(query.device.type, by_length)(attend, query, key, value, _rows.get())
    return whole, None


def by_length(attend: Attend, query: Tensor, key: Tensor, value: Tensor, rows: Rows) -> Tensor:
    """Rows of one length that lie side by side are a batch, one call for all of them: nothing is computed in vain."""
    runs = [(size, len(list(same))) for size, same in groupby(rows.lengths)]
    parts = zip(*(_parted(x, runs) for x in (query, key, value)), strict=True)
    return torch.cat([attend(*part).flatten(0, 1) for part in parts]).unsqueeze(0)


def padded(attend: Attend, query: Tensor, key: Tensor, value: Tensor, rows: Rows) -> Tensor:
    """Rows of one magnitude are a batch, padded on the right, where no token looks: few calls, however many lengths."""
    padding = rows.padding(query.device)

    def spread(x: Tensor) -> list[Tensor]:
        flat = _Moved.apply(x[0].transpose(0, 1), padding.tokens, padding.places, None)  # type: ignore[no-untyped-call]
        batches = flat.split([count * longest for count, longest in padding.shapes])
        return [one.unflatten(0, shape).transpose(1, 2) for one, shape in zip(batches, padding.shapes, strict=True)]

    parts = zip(spread(query), spread(key), spread(value), strict=True)
    output = torch.cat([attend(*part).flatten(0, 1) for part in parts])
    packed: Tensor = _Moved.apply(output, padding.places, padding.tokens, padding.empty)  # type: ignore[no-untyped-call]
    return packed.unsqueeze(0)


# A GPU waits for the calls, a CPU for the arithmetic.
WAYS = {"cuda": padded}


class _Moved(torch.autograd.Function):
    """Tokens put elsewhere along the first axis; gradients take the way back, each from one place only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor, empty: Tensor | None) -> Tensor:
        ctx.back, ctx.empty = back, empty
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        back = grad.index_select(0, ctx.back)
        return back if ctx.empty is None else back.masked_fill_(ctx.empty, 0), None, None, None


def _padding(lengths: NDArray[np.int64], device: torch.device) -> Padding:
    starts = lengths.cumsum() - lengths
    magnitudes = np.frexp(lengths)[1]  # powers of two: a batch has at most twice as many places as tokens
    shapes, tokens, filled = [], [], []
    for magnitude in np.unique(magnitudes):
        chosen = magnitudes == magnitude
        count, longest = int(chosen.sum()), int(lengths[chosen].max())
        inside = np.arange(longest) < lengths[chosen, None]  # (rows, longest)
        shapes.append((count, longest))
        tokens.append((starts[chosen, None] + np.where(inside, np.arange(longest), 0)).ravel())
        filled.append(inside.ravel())
    every, full = np.concatenate(tokens), np.concatenate(filled)
    places = np.empty(int(lengths.sum()), dtype=np.int64)
    places[every[full]] = np.flatnonzero(full)

    def put(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    return Padding(tuple(shapes), put(every), put(places), put(~full)[:, None, None])


def _parted(x: Tensor, runs: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
    """Each run of rows of one length as a batch: (1, heads, tokens, width) -> (rows, heads, length, width) each."""
    parts = x.split([size * count for size, count in runs], 2)
    return (
        part[0].unflatten(1, (count, size)).transpose(0, 1) for part, (size, count) in zip(parts, runs, strict=True)
    )


def _window(size: int, window: int, device: torch.device) -> Tensor:
    """Causal mask in which a token sees itself and the `window - 1` before it."""
    distance = torch.arange(size, device=device)[:, None] - torch.arange(size, device=device)
    return (distance >= 0) & (distance < window)


def _no_mask(*_: Any, local_size: int | None = None, **__: Any) -> None:
    """Packed rows need no mask tensor: their lengths and the window that the attention is told of say it all."""
    if local_size and (seen := _seen.get()) is not None:
        seen.asked.add(local_size)


AttentionInterface.register(PACKED, _packed_attention)
AttentionMaskInterface.register(PACKED, _no_mask)


@torch.no_grad()
def supports_packing(model: PreTrainedModel) -> bool:
    """Whether the model gives the same logits for two packed rows as for each alone; it is tried, not looked up.

    Models with recurrent layers, position tables of their own or attention that bypasses the registry do not; nor do
    those whose local windows are written into masks alone, which short rows would not show.
    """
    if not getattr(model, "_supports_attention_backend", False):
        return False
    # Special tokens sit at the low end; the row lengths differ so that a leak between rows cannot cancel out.
    first, second = torch.arange(3, 12), torch.arange(20, 33)
    device = model.get_input_embeddings().weight.device
    usual = model.config._attn_implementation
    alone = [model(input_ids=row[None].to(device), use_cache=False).logits[0] for row in (first, second)]
    windows = _Windows()
    token = _seen.set(windows)
    try:
        model.set_attn_implementation(PACKED)
        places = torch.cat([torch.arange(len(first)), torch.arange(len(second))])
        with packed_rows((len(first), len(second))):
            together = model(
                input_ids=torch.cat([first, second])[None].to(device),
                position_ids=places[None].to(device),
                use_cache=False,
            ).logits[0]
    except (NotImplementedError, ValueError, TypeError, LookupError, RuntimeError):
        return False
    finally:
        _seen.reset(token)
        model.set_attn_implementation(usual)
    if not windows.asked <= windows.told:
        return False
    expected = torch.cat(alone).float()
    tolerance = 1e-4 if model.dtype == torch.float32 else 3e-2
    return bool((together.float() - expected).abs().max() <= tolerance * expected.abs().max())
