"""How large a model is, from its configuration alone."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from fedllm_bench.model.lora import LoraSpec, StackedLora
from fedllm_bench.model.quantize import quantizable

__all__ = ["Shapes", "shapes"]


@dataclass(frozen=True, slots=True)
class Shapes:
    """Sizes that memory follows from.

    Args:
        parameters: of the base.
        quantizable: how many of them quantization stores small.
        adapter: elements of one client's adapter.
        layers: number of blocks.
        hidden: width of the residual stream.
        inner: width inside a block's feed-forward part.
        vocabulary: number of tokens.
    """

    parameters: int
    quantizable: int
    adapter: int
    layers: int
    hidden: int
    inner: int
    vocabulary: int


def shapes(folder: Path, spec: LoraSpec) -> Shapes:
    """Build a model without weights and measure it.

    Raises:
        ModelError: it has no layers for the adapter.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        lora = StackedLora(model, spec)
    text = config.get_text_config()
    return Shapes(
        parameters=sum(value.numel() for value in model.parameters()),
        quantizable=quantizable(model),
        adapter=sum(rows * columns for rows, columns in lora.shapes.values()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        vocabulary=text.vocab_size,
    )
