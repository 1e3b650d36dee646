"""The methods on offer as rows: what each does, where it is from, its options and what it needs."""

import inspect
from collections.abc import Sequence
from typing import Any

from fedllm_bench.docstrings import parse
from fedllm_bench.errors import ExperimentError
from fedllm_bench.experiment import Plugin
from fedllm_bench.federation.algorithm import Algorithm
from fedllm_bench.plugins import Offer
from fedllm_bench.tables import algorithms, offered

__all__ = ["method", "methods"]

# What an option takes, told by its default.
_TYPES = {float: "number", int: "integer", bool: "boolean", str: "text", tuple: "list"}


def methods(plugins: Sequence[Plugin] = ()) -> list[dict[str, Any]]:
    """One row for each method that `algorithm.name` takes with these plugins.

    Raises:
        ExperimentError: a plugin cannot be loaded.
    """
    return [_row(name, offer) for name, offer in algorithms(plugins).items()]


def method(name: str, plugins: Sequence[Plugin] = ()) -> dict[str, Any]:
    """The row of one method.

    Raises:
        ExperimentError: there is no such method, or a plugin cannot be loaded.
    """
    return _row(name, offered(name, plugins))


def _row(name: str, offer: Offer) -> dict[str, Any]:
    builder = offer.load()
    doc, built = parse(inspect.getdoc(builder)), builder()
    if not isinstance(built, Algorithm):
        raise ExperimentError(f"algorithm.{name}: its builder gave {built!r}, no Algorithm", "return an Algorithm(...)")
    return {
        "name": name,
        "summary": doc.summary,
        "about": doc.about,
        "paper": doc.source,
        "options": [
            _option(option, doc.args.get(option.name, "")) for option in inspect.signature(builder).parameters.values()
        ],
        "needs": sorted(built.needs),
        "from": offer.origin,
    }


def _option(option: inspect.Parameter, about: str) -> dict[str, Any]:
    kind = type(option.default)
    return {"name": option.name, "type": _TYPES.get(kind, kind.__name__), "default": option.default, "about": about}
