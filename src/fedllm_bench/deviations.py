"""Where a run departs from the published definition of its method and of the training it is part of."""

import inspect
from functools import reduce
from typing import Any

from fedllm_bench.experiment import Experiment
from fedllm_bench.experiment.presets import DEPARTURES
from fedllm_bench.tables import algorithm_builder

__all__ = ["deviations"]


def deviations(experiment: Experiment) -> list[dict[str, Any]]:
    """One row for each setting: its name, what is published, what is here, and what the difference does.

    Options of methods are held against their builders' defaults, which are the published definitions.
    """
    name = experiment.algorithm.name
    rows = []
    for option in inspect.signature(algorithm_builder(experiment)).parameters.values():
        here = experiment.algorithm.options.get(option.name, option.default)
        here = tuple(here) if isinstance(here, list) else here
        if here != option.default:
            rows.append(_row(f"algorithm.{name}.{option.name}", option.default, here, "another variant of the method"))
    for key, (published, why) in DEPARTURES.items():
        here = reduce(getattr, key.split("."), experiment)
        departs = isinstance(here, str) if published is None else here != published
        if departs:
            rows.append(_row(key, published, here, why))
    return rows


def _row(setting: str, published: Any, here: Any, why: str) -> dict[str, Any]:
    return {"setting": setting, "published": published, "here": here, "why": why}
