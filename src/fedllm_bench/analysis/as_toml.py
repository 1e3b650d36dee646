"""A resolved experiment written the way its file would be."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["as_toml"]

BARE = re.compile(r"[A-Za-z0-9_-]+")
# What the run, not the experiment, decided.
LEFT_OUT = ("run_id",)


def as_toml(experiment: Mapping[str, Any]) -> str:
    """Every setting as TOML that loads to the same experiment; what is null is left out.

    Args:
        experiment: as written into the run.
    """
    settings = {key: value for key, value in experiment.items() if key not in LEFT_OUT}
    settings["plugins"] = [plugin["file"] for plugin in settings.get("plugins", [])]
    return "\n".join(_table(settings, ())).strip() + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Values first, then tables, then arrays of tables, as TOML wants them."""
    present = {key: value for key, value in _unfolded(table).items() if value not in (None, {}, [])}
    inner = {key: value for key, value in present.items() if isinstance(value, Mapping)}
    arrays = {key: value for key, value in present.items() if _is_array_of_tables(value)}
    values = {key: value for key, value in present.items() if key not in inner and key not in arrays}
    if values and path:
        yield f"\n[{_dotted(path)}]"
    yield from _lines(values)
    for key, value in inner.items():
        yield from _table(value, (*path, key))
    for key, tables in arrays.items():
        for each in tables:
            yield f"\n[[{_dotted((*path, key))}]]"
            yield from _lines({"name": each["name"], **each["options"]})


def _unfolded(table: Mapping[str, Any]) -> dict[str, Any]:
    """Options back in the table that carries their builder's name."""
    plain = {key: value for key, value in table.items() if key != "options"}
    return {**plain, table["name"]: table["options"]} if "options" in table else plain


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) for item in value)


def _lines(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{_dotted((key,))} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_lines(value)) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)  # text, numbers, true and false are the same in TOML


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(key if BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False) for key in path)
