"""Adapters on disk in PEFT's format: `adapter_model.safetensors` and `adapter_config.json`."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fedllm_bench.errors import ModelError
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.store import replacing, write_json
from fedllm_bench.tensors import Tensors

__all__ = ["load_adapter", "save_adapter"]

_PREFIX = "base_model.model."


def save_adapter(folder: Path, adapter: Tensors, spec: LoraSpec, base: str) -> None:
    """Write an adapter that `peft.PeftModel.from_pretrained` loads; the configuration comes last.

    Args:
        folder: where to.
        adapter: one client's tensors.
        spec: rank, scale, dropout and targets.
        base: what the configuration names as base model.
    """
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


def load_adapter(folder: Path) -> tuple[dict[str, object], dict[str, object]]:
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
