"""Adapters on disk in PEFT's format: `adapter_model.safetensors` and `adapter_config.json`."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import pad

from fedllm_bench.errors import ModelError
from fedllm_bench.model.factors import named, pairs, split
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.store import replacing, write_json
from fedllm_bench.tensors import Tensors

__all__ = ["load_adapter", "save_adapter"]

_PREFIX = "base_model.model."


def save_adapter(
    folder: Path, adapter: Tensors, spec: LoraSpec, base: str, change: Mapping[str, Tensor] = MappingProxyType({})
) -> None:
    """Write an adapter that `peft.PeftModel.from_pretrained` loads; the configuration comes last.

    With a change of the base the adapter on disk is the one with B A = change + B A, of the rank that this takes.

    Args:
        folder: where to.
        adapter: one client's tensors.
        spec: rank, scale, dropout and targets.
        base: what the configuration names as base model.
        change: layer name -> what has been added to the base's layer, in units of the adapter's scaling, (out, in).
    """
    if change:
        adapter, spec = _with_change(adapter, spec, change)
    with replacing(folder / "adapter_model.safetensors") as scratch:
        save_file({_PREFIX + name: value.contiguous() for name, value in adapter.items()}, scratch)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "lora_dropout": spec.dropout,
        "target_modules": list(spec.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    write_json(folder / "adapter_config.json", config)


def _with_change(adapter: Tensors, spec: LoraSpec, change: Mapping[str, Tensor]) -> tuple[Tensors, LoraSpec]:
    """An adapter that does what another does over changed layers; equal ranks everywhere, the same scaling."""
    sums = {layer: change.get(layer, 0) + b.double() @ a.double() for layer, (a, b) in pairs(adapter).items()}
    # The change is kept in fp32: what is smaller than its rounding would only blow up the rank.
    factors = {layer: split(total, torch.float32) for layer, total in sums.items()}
    rank = max(1, *(len(a) for a, _ in factors.values()))
    padded = {
        layer: (pad(a, (0, 0, 0, rank - len(a))), pad(b, (0, rank - len(a)))) for layer, (a, b) in factors.items()
    }
    return named(padded), replace(spec, rank=rank, alpha=spec.scaling * rank)


def load_adapter(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and configuration of an adapter in PEFT's format.

    Raises:
        ModelError: a file is missing or damaged.
    """
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} holds no LoRA adapter that can be read ({error})") from error
    return {name.removeprefix(_PREFIX): value for name, value in tensors.items()}, config
