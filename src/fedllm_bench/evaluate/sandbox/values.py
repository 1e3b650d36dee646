"""Plain Python values as JSON lines, with their types; what is no plain value has none. Runs inside the jail, too."""

import json
import math
from collections.abc import Callable
from typing import Any

__all__ = ["Foreign", "dump", "load"]

MOST = 10_000_000  # characters of one value


class Foreign(ValueError):
    """A value of another kind, or too large a one."""


def dump(value: Any) -> str:
    """A value as one line of text.

    Raises:
        Foreign: it is no plain value.
    """
    text = json.dumps(_tagged(value, 0))
    if len(text) > MOST:
        raise Foreign("a value too large")
    return text


def load(text: str) -> Any:
    """The value of a line that `dump` wrote, or of anything that claims to be one.

    Raises:
        Foreign: it is none.
    """
    try:
        return _value(json.loads(text))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError) as error:
        raise Foreign("no value: " + type(error).__name__) from None


def _tagged(value: Any, depth: int) -> Any:  # noqa: PLR0911 (one for each kind)
    kind = type(value)
    if depth > 100:
        raise Foreign("a value too deep")
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return {"int": hex(value)}
    if kind is float:
        return {"float": value.hex() if math.isfinite(value) else repr(value)}
    if kind is complex:
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind in (list, tuple, set, frozenset):
        return {kind.__name__: [_tagged(each, depth + 1) for each in value]}
    if kind is dict:
        return {"dict": [[_tagged(key, depth + 1), _tagged(each, depth + 1)] for key, each in value.items()]}
    raise Foreign("a value of the type " + kind.__name__)


_MAKE: dict[str, Callable[[Any], Any]] = {
    "int": lambda content: int(content, 16),
    "float": float.fromhex,
    "complex": lambda content: complex(*map(float.fromhex, content)),
    "bytes": bytes.fromhex,
    "list": lambda content: [_value(each) for each in content],
    "tuple": lambda content: tuple(_value(each) for each in content),
    "set": lambda content: {_value(each) for each in content},
    "frozenset": lambda content: frozenset(_value(each) for each in content),
    "dict": lambda content: {_value(key): _value(each) for key, each in content},
}


def _value(tagged: Any) -> Any:
    if tagged is None or type(tagged) in (bool, str):
        return tagged
    ((kind, content),) = tagged.items()
    return _MAKE[kind](content)
