"""Keys and values of tokens that were passed before, and attention over them, for generating many rows at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import AttentionMaskInterface

__all__ = ["CACHED", "KeyValues", "padded_by", "supports_cached"]

CACHED = "fedllm_bench_cached"

# For each row of the batch the places on its left that hold no token: (rows,); None where no row has any.
_padding: ContextVar[Tensor | None] = ContextVar("places on the left without a token", default=None)


@contextmanager
def padded_by(places: Tensor | None) -> Iterator[None]:
    """Say how many places on the left of each row hold no token, for the passes inside the block."""
    token = _padding.set(places)
    try:
        yield
    finally:
        _padding.reset(token)


class _Layer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values in a buffer with room for what comes, so that no step copies what is there."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.capacity = capacity
        self.used = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write new tokens behind the old ones and return all: (rows, heads, tokens, width) each."""
        if self.keys is None or self.values is None:
            rows, heads, _tokens, width = key_states.shape
            self.keys = key_states.new_empty(rows, heads, self.capacity, width)
            self.values = value_states.new_empty(rows, heads, self.capacity, value_states.shape[-1])
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        start, self.used = self.used, self.used + key_states.shape[2]
        self.keys[:, :, start : self.used] = key_states
        self.values[:, :, start : self.used] = value_states
        return self.keys[:, :, : self.used], self.values[:, :, : self.used]

    def take(self, rows: Tensor, of: int, end: int, part: "_Layer") -> None:
        """Let some of the rows be those of a part, whose last token is the one before `end`."""
        assert part.keys is not None and part.values is not None
        if self.keys is None or self.values is None:
            # Zeros: places without a token count nothing, and nothing times what memory happens to hold may be NaN.
            self.keys = part.keys.new_zeros(of, part.keys.shape[1], self.capacity, part.keys.shape[-1])
            self.values = part.values.new_zeros(of, part.values.shape[1], self.capacity, part.values.shape[-1])
            self.dtype, self.device, self.is_initialized = part.dtype, part.device, True
        self.keys[rows, :, end - part.used : end] = part.keys[:, :, : part.used]
        self.values[rows, :, end - part.used : end] = part.values[:, :, : part.used]
        self.used = end

    def get_seq_length(self) -> int:
        return self.used

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.used + query_length, 0

    def keep(self, rows: Tensor) -> None:
        """Forget the other rows."""
        assert self.keys is not None and self.values is not None
        held = slice(0, self.used)
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_empty(len(rows), *old.shape[1:])
            new[:, :, held] = old[:, :, held].index_select(0, rows)
            setattr(self, name, new)


class KeyValues(Cache):  # type: ignore[misc]
    """Keys and values of all layers.

    Args:
        layers: of the model.
        capacity: most tokens a row will have, those on its left without meaning included.
    """

    def __init__(self, layers: int, capacity: int) -> None:
        super().__init__(layers=[_Layer(capacity) for _ in range(layers)])

    def take(self, rows: Tensor, of: int, end: int, part: "KeyValues") -> None:
        """Let some of the rows be those of a part that was passed by itself.

        Args:
            rows: which.
            of: how many rows there are.
            end: places of every row so far, those without a token included.
            part: no longer than that.
        """
        for layer, own in zip(self.layers, part.layers, strict=True):
            layer.take(rows, of, end, own)

    def keep(self, rows: Tensor) -> None:
        """Forget the other rows of the batch."""
        for layer in self.layers:
            layer.keep(rows)


def _cached_attention(
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
    """Causal attention of the newest tokens over all; (rows, heads, new, width) in, (rows, new, heads, width) out."""
    if softcap is not None or s_aux is not None or attention_mask is not None or sliding_window:
        raise NotImplementedError("cached attention has neither soft caps nor sinks, masks or windows")
    rows, heads, new, width = query.shape
    groups = heads // key.shape[1]
    empty = _padding.get()
    if new == 1:
        # The heads that share keys and values become the queries of one head: nothing is repeated.
        mask = None if empty is None else _seen(empty, 1, key.shape[2], query.dtype)
        folded = query.reshape(rows, heads // groups, groups, width)
        output = scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
        return output.reshape(rows, heads, 1, width).transpose(1, 2), None
    mask = None if empty is None else _seen(empty, new, key.shape[2], query.dtype)
    output = scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=groups > 1
    )
    return output.transpose(1, 2), None


def _seen(empty: Tensor, new: int, total: int, dtype: torch.dtype) -> Tensor:
    """What is added to the scores, 0 where a new token sees a place, else the lowest number: (rows, 1, new, total).

    A place without a token sees itself, so that nowhere is a softmax over nothing.
    """
    places = torch.arange(total, device=empty.device)
    own = places[total - new :]
    seen = (places[None, None] >= empty[:, None, None]) & (places[None, None] <= own[None, :, None])
    seen |= places[None, None] == own[None, :, None]
    hidden = torch.zeros(seen.shape, dtype=dtype, device=empty.device)
    return hidden.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def _no_mask(*_: Any, **__: Any) -> None:
    """The attention makes its own masks of the padding it is told of."""


AttentionInterface.register(CACHED, _cached_attention)
AttentionMaskInterface.register(CACHED, _no_mask)


@torch.no_grad()
def supports_cached(model: PreTrainedModel) -> bool:
    """Whether rows of different lengths, passed in two parts, get the logits that each gets alone; it is tried."""
    if not getattr(model, "_supports_attention_backend", False):
        return False
    device = model.get_input_embeddings().weight.device
    rows = [torch.arange(3, 12, device=device), torch.arange(20, 33, device=device)]
    usual = model.config._attn_implementation
    try:
        model.set_attn_implementation("sdpa")
        alone = torch.stack([model(input_ids=row[None], use_cache=False).logits[0, -1] for row in rows])
        model.set_attn_implementation(CACHED)
        longest = max(map(len, rows))
        ids = torch.stack([torch.cat([row.new_zeros(longest - len(row)), row]) for row in rows])
        empty = torch.tensor([longest - len(row) for row in rows], device=device)
        places = (torch.arange(longest, device=device) - empty[:, None]).clamp(min=0)
        cache = KeyValues(model.config.get_text_config().num_hidden_layers, longest)
        with padded_by(empty):
            for part in (slice(0, longest - 1), slice(longest - 1, longest)):
                logits = model(
                    input_ids=ids[:, part], position_ids=places[:, part], past_key_values=cache, use_cache=True
                ).logits[:, -1]
    except (NotImplementedError, ValueError, TypeError, AttributeError, LookupError, RuntimeError):
        return False
    finally:
        model.set_attn_implementation(usual)
    tolerance = 1e-4 if model.dtype == torch.float32 else 3e-2
    return bool((logits.float() - alone.float()).abs().max() <= tolerance * alone.float().abs().max())
