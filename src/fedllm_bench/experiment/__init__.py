"""Experiments: TOML files in, fully resolved runs out."""

from fedllm_bench.experiment.load import load, resolve
from fedllm_bench.experiment.plugin_file import plugin_files
from fedllm_bench.experiment.schema import (
    Algorithm,
    Channel,
    Checkpoint,
    Data,
    Drawn,
    Evaluate,
    Executor,
    Experiment,
    Federation,
    Local,
    Lora,
    Model,
    Objective,
    Plugin,
)

__all__ = [
    "Algorithm",
    "Channel",
    "Checkpoint",
    "Data",
    "Drawn",
    "Evaluate",
    "Executor",
    "Experiment",
    "Federation",
    "Local",
    "Lora",
    "Model",
    "Objective",
    "Plugin",
    "load",
    "plugin_files",
    "resolve",
]
