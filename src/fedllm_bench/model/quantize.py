"""Base models stored in 8 or 4 bits by bitsandbytes and opened to the run's precision where they are multiplied.

Only weights are quantized. bitsandbytes' own layers change their arithmetic with the device, with training and
evaluation, and LLM.int8() with all tokens of a pass together (Dettmers et al. 2022, section 3.2), so that a client's
result would depend on whom it was trained with; here the stored weights alone decide it.
"""

import json
import logging
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from fedllm_bench.errors import ModelError
from fedllm_bench.extras import hint_of

__all__ = [
    "QUANTIZATIONS",
    "Quantization",
    "elements",
    "loading",
    "open_when_multiplied",
    "quantizable",
    "require_library",
    "stored_bytes",
]


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the weights of linear layers are stored.

    Args:
        options: of transformers' `BitsAndBytesConfig`.
        bytes: that one weight takes, with its part of the scales.
    """

    options: Mapping[str, Any]
    bytes: float


# Older ones do not quantize to 4 bits while transformers 5 reads weights.
OLDEST = (0, 50)

# int8: a scale for each output (Dettmers et al. 2022, section 2.1), which is lost in the rounding of an estimate.
# nf4: blocks of 64 weights with a scale in 8 bits, and 256 of those with one in 32 (Dettmers et al. 2023, section 3).
QUANTIZATIONS: dict[str, Quantization | None] = {
    "none": None,
    "int8": Quantization({"load_in_8bit": True}, 1.0),
    "nf4": Quantization(
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
        0.5 + (1 + 4 / 256) / 64,
    ),
}


def require_library(quantization: str) -> None:
    """Refuse a quantization whose library is not here.

    Raises:
        ModelError: bitsandbytes cannot be imported, or is too old.
    """
    if QUANTIZATIONS[quantization] is None:
        return
    # It reports which of its kernels it could not load; none of them is used.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    needs = f'model.quantization = "{quantization}" needs bitsandbytes'
    hint = hint_of("quantization")
    try:
        import bitsandbytes
    except ImportError as error:
        raise ModelError(f"{needs}, which cannot be imported ({error})", hint) from error
    version = bitsandbytes.__version__
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise ModelError(f"{needs} {'.'.join(map(str, OLDEST))} or newer, not {version}", hint)


def loading(folder: Path, quantization: str, dtype: torch.dtype, place: torch.device) -> dict[str, Any]:
    """What `from_pretrained` is told, so that weights are quantized one by one as they are read.

    Args:
        folder: the base model.
        quantization: a name from `QUANTIZATIONS`.
        dtype: what the weights are opened to.
        place: where the model goes.

    Raises:
        ModelError: the library is missing, or the model is quantized already.
    """
    chosen = QUANTIZATIONS[quantization]
    if chosen is None:
        return {}
    require_library(quantization)
    if json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config"):
        raise ModelError(f"{folder} is quantized already", 'set model.quantization = "none", or take the full model')
    config = BitsAndBytesConfig(**chosen.options, bnb_4bit_compute_dtype=dtype)
    return {"quantization_config": config, "device_map": {"": place}}


def open_when_multiplied(model: PreTrainedModel) -> None:
    """Let quantized layers multiply with their opened weights, whatever the device and mode."""
    for layer in model.modules():
        if type(layer).__name__ in _OPENERS:
            layer.forward = types.MethodType(_multiply, layer)


def _from_int8(weight: Any, dtype: torch.dtype) -> Tensor:
    """W_ij = q_ij s_i / 127."""
    opened: Tensor = weight.data.to(dtype).mul_(weight.SCB[:, None] / 127.0)
    return opened


def _from_4bit(weight: Any, dtype: torch.dtype) -> Tensor:
    from bitsandbytes.functional import dequantize_4bit

    opened: Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return opened.to(dtype)


# Layers of bitsandbytes -> their weights, (out, in).
_OPENERS: dict[str, Callable[[Any, torch.dtype], Tensor]] = {"Linear8bitLt": _from_int8, "Linear4bit": _from_4bit}


def _opened(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    return _OPENERS[type(layer).__name__](layer.weight, dtype)


class _Product(torch.autograd.Function):
    """y = W x + b with gradient for x alone; W is opened again while going back, so that no copy of it is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module) -> Tensor:
        ctx.layer = layer
        bias: Any = layer.bias
        return linear(x, _opened(layer, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad @ _opened(ctx.layer, grad.dtype), None


def _multiply(self: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
    return result


def elements(value: Tensor) -> int:
    """Number of weights in a parameter; where two share a byte its own size says half."""
    state = getattr(value, "quant_state", None)
    return value.numel() if state is None else int(torch.Size(state.shape).numel())


def quantizable(model: PreTrainedModel) -> int:
    """Number of weights that quantization would store small: those of linear layers, the head's left out."""
    head = model.get_output_embeddings()
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | Conv1D) and module is not head]
    return sum(layer.weight.numel() for layer in layers)


def stored_bytes(quantization: str, parameters: int, small: int, word: int) -> int:
    """Bytes of a base model's weights.

    Args:
        quantization: a name from `QUANTIZATIONS`.
        parameters: all of them.
        small: how many of them quantization stores small.
        word: bytes of the others.
    """
    chosen = QUANTIZATIONS[quantization]
    return parameters * word if chosen is None else round((parameters - small) * word + small * chosen.bytes)
