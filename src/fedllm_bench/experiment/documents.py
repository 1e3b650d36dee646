"""Plain nested dicts as read from TOML: merging, overrides, and the lists that expand to several."""

import itertools
import tomllib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fedllm_bench.errors import ExperimentError

__all__ = ["Document", "Path", "contains", "dotted", "expand", "lookup", "merge", "nest", "override"]

Document = dict[str, Any]
Path = tuple[str, ...]


def dotted(path: Collection[str | int]) -> str:
    """`("local", "lr")` as `local.lr`."""
    return ".".join(map(str, path))


def nest(path: Path, value: object) -> Document:
    """A document with one value in it."""
    for key in reversed(path):
        value = {key: value}
    return dict(value) if isinstance(value, dict) else {}


def lookup(document: Mapping[str, Any], path: Path) -> Any:
    """The value at a path, or None where there is none."""
    node: Any = document
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def contains(document: Mapping[str, Any], path: Path) -> bool:
    """Whether the document sets what lies at the path: the value itself, or one that the path runs into."""
    node: Any = document
    for key in path:
        if not isinstance(node, Mapping):
            return True
        if key not in node:
            return False
        node = node[key]
    return True


def merge(document: Document, changes: Document) -> Document:
    """A copy with the changes laid over it, table by table; every other value is replaced."""
    merged = dict(document)
    for key, value in changes.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both_tables else value
    return merged


def override(text: str, flag: str = "--set", example: str = "federation.rounds=2") -> tuple[Path, Any]:
    """Read `local.lr=1e-3`: the value is TOML where it can be read as such, and the bare text otherwise.

    Args:
        text: what was given.
        flag: what it was given for, for the error.
        example: that would have done.

    Raises:
        ExperimentError: there is no `=`, or nothing before it.
    """
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise ExperimentError(f"{flag} {text}: expected key=value", f"for example {flag} {example}")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return path, value
    return path, parsed["value"] if parsed.keys() == {"value"} else value


def expand(document: Document, sweepable: Collection[Path]) -> Iterator[Document]:
    """One document for every combination of the lists at sweepable paths; the first path varies slowest."""
    found = {path: lookup(document, path) for path in sweepable}
    # An empty list asks for nothing: it stays, and is refused as a value.
    lists = {path: value for path, value in found.items() if isinstance(value, list) and value}
    for values in itertools.product(*lists.values()):
        single = document
        for path, value in zip(lists, values, strict=True):
            single = merge(single, nest(path, value))
        yield single
