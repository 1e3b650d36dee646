"""Stacked LoRA: the adapters of several clients over one frozen base, in one forward and backward pass.

y_t = W x_t + (alpha / rank) * B_c A_c x_t, with c the client that token t belongs to (Hu et al. 2021, section 4.1).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedllm_bench.errors import ModelError
from fedllm_bench.model.factors import fresh
from fedllm_bench.model.layout import Route
from fedllm_bench.tensors import Tensors

__all__ = ["LoraSpec", "StackedLora"]


@dataclass(frozen=True, slots=True)
class LoraSpec:
    """Rank, scale and place of an adapter.

    Args:
        rank: inner dimension r.
        alpha: the update is scaled by alpha / rank.
        dropout: share of the adapter's inputs set to zero while training.
        targets: endings of the names of the linear layers that get an adapter.
    """

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]

    @property
    def scaling(self) -> float:
        return self.alpha / self.rank


@dataclass(frozen=True, slots=True)
class _Bound:
    """What the sites read during a forward pass."""

    params: Tensors
    route: Route
    training: bool


class StackedLora:
    """Adapters on the linear layers of a frozen model; without a binding the model is the base alone.

    Args:
        model: the base; its parameters are frozen here.
        spec: which layers, and how.

    Raises:
        ModelError: no layer has one of the target names.
    """

    def __init__(self, model: nn.Module, spec: LoraSpec) -> None:
        model.requires_grad_(False)
        self.spec = spec
        self.sites = _sites(model, spec.targets)
        self._bound: _Bound | None = None
        self._change: Tensors = {}
        for number, (name, layer) in enumerate(self.sites.items()):
            layer.register_forward_hook(self._hook(number, name))

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Name and shape of every tensor of one client's adapter."""
        shapes = {}
        for name, layer in self.sites.items():
            shapes[f"{name}.lora_A.weight"] = (self.spec.rank, int(layer.in_features))
            shapes[f"{name}.lora_B.weight"] = (int(layer.out_features), self.spec.rank)
        return shapes

    def initial(self, seed: int) -> dict[str, Tensor]:
        """A fresh adapter, which starts as the base."""
        return fresh(self.shapes, seed)

    def require_shape(self, adapter: Tensors, source: str) -> None:
        """Refuse an adapter that does not fit this model.

        Raises:
            ModelError: names or shapes differ; the first difference is named.
        """
        got = {name: tuple(value.shape) for name, value in adapter.items()}
        for name in sorted(got.keys() | self.shapes.keys()):
            if got.get(name) != self.shapes.get(name):
                raise ModelError(
                    f"{source} does not fit the model: {name} is {got.get(name, 'absent')}, "
                    f"the model needs {self.shapes.get(name, 'none')}",
                    "use the base model, rank and targets that the adapter was trained with",
                )

    @contextmanager
    def bound(self, params: Tensors, route: Route, *, training: bool) -> Iterator[None]:
        """Let forward passes inside the block use `params`, stacked (clients, ...), along `route`."""
        with self._with(_Bound(params, route, training)):
            yield

    @contextmanager
    def changed_base(self, change: Tensors) -> Iterator[None]:
        """Let adapted passes inside the block use W + (alpha / rank) * change, by layer name (out, in).

        The base's own weights stay as they are, so that this works on quantized ones and the base alone is still there.
        """
        before = self._change
        weights = {name: next(iter(layer.parameters())) for name, layer in self.sites.items() if name in change}
        self._change = {name: change[name].to(weight.device) for name, weight in weights.items()}
        try:
            yield
        finally:
            self._change = before

    def same_binding(self) -> AbstractContextManager[None]:
        """A block with the binding of now, to be entered later."""
        return self._with(self._bound)

    @contextmanager
    def _with(self, bound: _Bound | None) -> Iterator[None]:
        before, self._bound = self._bound, bound
        try:
            yield
        finally:
            self._bound = before

    def _hook(self, number: int, name: str) -> Any:
        a_name, b_name = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        scaling, dropout = self.spec.scaling, self.spec.dropout

        def add_adapter(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            bound = self._bound
            if bound is None:
                return output
            x = args[0]
            if name in self._change:
                output = output + scaling * nn.functional.linear(x, self._change[name].to(x.dtype))
            dropped = _dropped(x, bound.route, number, dropout) if bound.training and dropout > 0 else None
            scale = scaling / (1.0 - dropout) if dropped is not None else scaling
            result: Tensor = _AddLora.apply(  # type: ignore[no-untyped-call]
                output, x, bound.params[a_name], bound.params[b_name], bound.route, scale, dropped
            )
            return result

        return add_adapter


def _sites(model: nn.Module, targets: Sequence[str]) -> dict[str, Any]:
    """The linear layers whose name ends in a target, in the model's order."""
    found = {
        name: layer
        for name, layer in model.named_modules()
        if name.split(".")[-1] in targets and hasattr(layer, "in_features") and hasattr(layer, "out_features")
    }
    missing = [target for target in targets if not any(name.split(".")[-1] == target for name in found)]
    if missing:
        linear = sorted({name.split(".")[-1] for name, layer in model.named_modules() if hasattr(layer, "in_features")})
        raise ModelError(
            f"the base model has no linear layer named {', '.join(missing)}",
            f"set model.lora.targets to some of: {', '.join(linear)}",
        )
    return found


def _dropped(x: Tensor, route: Route, site: int, rate: float) -> Tensor:
    """Which inputs are dropped, (tokens, in); keyed by row and site, so independent of how rows were batched."""
    features = x.shape[-1]
    words = -(-features // 4)
    bits = torch.empty(x.numel() // features, words, dtype=torch.int64, device=x.device)
    generator = torch.Generator(device=x.device)
    for start, length, key in route.rows:
        generator.manual_seed((key + site * 0x9E3779B97F4A7C15) % 2**63)
        bits[start : start + length].random_(-(2**63), None, generator=generator)
    # Sixteen random bits decide about one input: the rate is met to within 1 / 65536.
    threshold = round(rate * 65536) - 32768
    return bits.view(torch.int16)[:, :features] < threshold


class _AddLora(torch.autograd.Function):
    """output += scale * B_c A_c drop(x), in place on the base layer's output; gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, x: Tensor, a: Tensor, b: Tensor, route: Route, scale: float, dropped: Tensor | None
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (tokens, in)
        kept = flat if dropped is None else flat.masked_fill(dropped, 0)
        xs = _gather(kept, route)  # (present, slots, in)
        a_here, b_here = (_of(part, route).to(x.dtype) for part in (a, b))
        hidden = torch.bmm(xs, a_here.transpose(1, 2))  # (present, slots, rank)
        out = output.view(-1, output.shape[-1])
        if len(route.clients) == 1:
            out.addmm_(hidden[0], b_here[0].t(), alpha=scale)
        else:
            delta = torch.bmm(hidden, b_here.transpose(1, 2)).flatten(0, 1)
            out.add_(delta.index_select(0, route.places), alpha=scale)
        ctx.mark_dirty(output)
        ctx.save_for_backward(flat, dropped, hidden, a, b)
        ctx.route, ctx.scale, ctx.shape = route, scale, x.shape
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        flat, dropped, hidden, a, b = ctx.saved_tensors
        route: Route = ctx.route
        a_here, b_here = (_of(part, route).to(grad.dtype) for part in (a, b))
        grads = _gather(grad.reshape(-1, grad.shape[-1]), route)  # (present, slots, out)
        if len(route.clients) > 1:
            # Where a client has fewer tokens its own first one fills up; what it would add twice is taken out.
            grads = grads.masked_fill(~route.filled[..., None], 0)
        kept = flat if dropped is None else flat.masked_fill(dropped, 0)
        grad_hidden = torch.bmm(grads, b_here)  # (present, slots, rank)
        grad_a = grad_b = None
        if ctx.needs_input_grad[3]:
            here = torch.bmm(grads.transpose(1, 2), hidden)  # (present, out, rank)
            grad_b = _spread(here, b, route, ctx.scale)
        if ctx.needs_input_grad[2]:
            here = torch.bmm(grad_hidden.transpose(1, 2), _gather(kept, route))  # (present, rank, in)
            grad_a = _spread(here, a, route, ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[1]:
            inner = torch.bmm(grad_hidden, a_here).flatten(0, 1)
            inner = inner if len(route.clients) == 1 else inner.index_select(0, route.places)
            grad_x = (inner if dropped is None else inner.masked_fill(dropped, 0)).mul_(ctx.scale).view(ctx.shape)
        return (
            grad,
            grad_x,
            grad_a,
            grad_b,
            None,
            None,
            None,
        )


def _gather(flat: Tensor, route: Route) -> Tensor:
    """Tokens (tokens, width) sorted by client: (present, slots, width)."""
    if len(route.clients) == 1:
        return flat[None]
    return flat.index_select(0, route.slots.flatten()).view(*route.slots.shape, flat.shape[-1])


def _of(stack: Tensor, route: Route) -> Tensor:
    """The adapters of the clients that occur."""
    return stack if len(route.clients) == stack.shape[0] else stack[list(route.clients)]


def _spread(grad: Tensor, stack: Tensor, route: Route, scale: float) -> Tensor:
    """Gradients of the clients that occur, put into a stack of all, in the stack's own precision."""
    scaled = grad.to(stack.dtype).mul_(scale) if grad.dtype != stack.dtype else grad * scale
    if len(route.clients) == stack.shape[0]:
        return scaled
    full = torch.zeros_like(stack)
    full[list(route.clients)] = scaled
    return full
