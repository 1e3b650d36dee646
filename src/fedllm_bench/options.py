"""Names looked up in tables, and options held against the signature of the builder that they are for."""

import difflib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedllm_bench.errors import ExperimentError

__all__ = ["call", "named", "options_of", "require_fitting"]


def named(key: str, name: str, table: Mapping[str, Any]) -> Any:
    """The row of a table.

    Args:
        key: of the experiment, for the error.

    Raises:
        ExperimentError: the table has no such row; the nearest name is told.
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1)
    known = f"known: {', '.join(table)}"
    raise ExperimentError(f"{key}: unknown name {name!r}", f'did you mean "{near[0]}"?' if near else known)


def options_of(builder: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a builder."""
    return list(inspect.signature(builder).parameters.values())


def _known_options(where: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"options: {', '.join(known) or 'none'}"
            raise ExperimentError(f"{where}: unknown option {name!r}", hint)


def call(where: str, builder: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Call a builder with options that fit its signature, whole numbers passing as floats."""
    require_fitting(where, options_of(builder), options)
    try:
        return builder(**{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()})
    except ExperimentError as error:
        raise ExperimentError(f"{where}: {error.message}", error.hint) from None


def require_fitting(where: str, known: Sequence[inspect.Parameter], options: Mapping[str, Any]) -> None:
    """Refuse options that are not among the parameters, or not of the kind of their defaults."""
    parameters = {parameter.name: parameter for parameter in known}
    _known_options(where, options, list(parameters))
    for name, value in options.items():
        kind = type(parameters[name].default)
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int)) or _is_array(kind, value)
        if not fits or (isinstance(value, bool) and kind is not bool):
            found = json.dumps(value, default=str)  # as it stands in the file
            raise ExperimentError(f"{where}.{name}: expected {_WORDS.get(kind, kind.__name__)}, got {found}")


_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", tuple: "an array"}


def _is_array(kind: type, value: Any) -> bool:
    return kind is tuple and isinstance(value, list)
