"""Plain Python values as JSON lines, with their types; what is no plain value has none. Runs inside the jail, too."""

import json
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
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
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise Foreign("no value: " + type(error).__name__) from None


def _tagged(value: Any, depth: int) -> Any:
    if depth > 100:
        raise Foreign("a value too deep")
    if value is None or type(value) is bool:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    for kind, content in _CONTENT.items():
        if isinstance(value, kind):  # of a kind derived from it, too: what is equal crosses as what it is equal to
            return {kind.__name__: content(value)}
    for kind, parts in _PARTS.items():
        if isinstance(value, kind):
            return {kind.__name__: [_tagged(each, depth + 1) for each in parts(value)]}
    raise Foreign("a value of the type " + type(value).__name__)


# How a value becomes text, by the methods of its kind: those of a derived kind may say anything.
_CONTENT: dict[type, Callable[[Any], Any]] = {
    int: lambda value: hex(int.__int__(value)),
    float: lambda value: float.hex(value) if math.isfinite(value) else float.__repr__(value),
    complex: lambda value: [complex.__complex__(value).real.hex(), complex.__complex__(value).imag.hex()],
    bytes: bytes.hex,
    bytearray: bytearray.hex,
    Decimal: Decimal.__str__,
    Fraction: Fraction.__str__,
    range: lambda value: [value.start, value.stop, value.step],
}
_PARTS: dict[type, Callable[[Any], Any]] = {
    list: list.__iter__,
    tuple: tuple.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
    dict: dict.items,
}


def _range(content: Any) -> range:
    start, stop, step = (int(each) for each in content)
    found = range(start, stop, step)
    if len(found) > MOST // 10:
        raise Foreign("a value too large")
    return found


_MAKE: dict[str, Callable[[Any], Any]] = {
    "int": lambda content: int(content, 16),
    "float": float.fromhex,
    "complex": lambda content: complex(*map(float.fromhex, content)),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "Decimal": Decimal,
    "Fraction": Fraction,
    "range": _range,
    "list": lambda content: [_value(each) for each in content],
    "tuple": lambda content: tuple(_value(each) for each in content),
    "set": lambda content: {_value(each) for each in content},
    "frozenset": lambda content: frozenset(_value(each) for each in content),
    "dict": lambda content: dict(_value(each) for each in content),
}


def _value(tagged: Any) -> Any:
    if tagged is None or type(tagged) in (bool, str):
        return tagged
    ((kind, content),) = tagged.items()
    return _MAKE[kind](content)
