"""Named sets of settings that lie under an experiment file, and how they depart from the published definitions."""

from collections.abc import Mapping
from typing import Any

from fedllm_bench.experiment.documents import Document

__all__ = ["DEPARTURES", "PRESETS"]

_OF_THE_MOMENTUM: Document = {
    "server_lr": 1e-3,
    "beta1": 0.5,
    "beta2": 0.99,
    "tau": 1e-3,
    "moment_of": "momentum",
    "warm_start": True,
}

# The choices of the paper's scripts that its text and the methods' own papers do not make, or make otherwise.
PRESETS: Mapping[str, Document] = {
    "paper": {
        "federation": {"sampling": "paper"},
        "local": {"optimizer": "adamw_hf", "draw": "paper", "lr_min": 1e-6},
        "algorithm": {
            "fedprox": {"mu": 0.01},
            "scaffold": {"option": "II", "correction": "after-step", "weighting": "size"},
            "fedavgm": {"beta": 0.5, "damping": True, "warm_start": True},
            "fedadagrad": {"server_lr": 1e-3, "beta1": 0.0, "tau": 1e-3},
            "fedyogi": _OF_THE_MOMENTUM,
            "fedadam": _OF_THE_MOMENTUM,
        },
    }
}

# Settings whose value changes what is computed against the published definition: dotted key -> what is published, and
# why another value departs from it. Options of methods are told from their builders' defaults.
DEPARTURES: Mapping[str, tuple[Any, str]] = {
    "federation.sampling": (
        "fixed",
        "cohorts vary in size (poisson), or are a function of the round number alone, the same for every seed (paper)",
    ),
    "local.optimizer": ("adamw", "another local optimizer; in adamw_hf epsilon stands outside the bias correction"),
    "local.draw": ("shuffled", "a round's samples are a function of the round number and the client's size alone"),
    "local.accumulation": (1, "groups of samples count the same however many tokens they have"),
    "local.steps": (None, "the number of steps depends on the client's size"),
    "objective.template": ("native", "not the chat template that the base model was trained with"),
    "model.quantization": ("none", "the base's weights are rounded, activations are not"),
}
