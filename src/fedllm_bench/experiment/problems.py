"""What is wrong with an experiment, in the words of its file: key, expected, found, and what was meant."""

import difflib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from fedllm_bench.errors import ExperimentError
from fedllm_bench.experiment.documents import Document, Path, contains, dotted

__all__ = ["Problem", "closest", "found_in", "refuse"]

# pydantic's error types, told as what the key takes.
EXPECTED: Mapping[str, str] = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text in quotes",
    "string_pattern_mismatch": "letters, digits, dots, dashes and underscores",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "too_short": "at least {min_length} in the list",
    "too_long": "at most {max_length} in the list",
    "model_type": "a table",
    "dict_type": "a table",
    "literal_error": "{expected}",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "at most {le:g}",
}


@dataclass(frozen=True)
class Problem:
    """One thing wrong.

    Args:
        path: the key.
        text: what is wrong with it.
        meant: the key or name that was probably meant.
    """

    path: Path
    text: str
    meant: str | None = None


def found_in(document: Document, error: ValidationError, known: Collection[Path]) -> list[Problem]:
    """The problems behind a validation error of `document`, one a key; `known` are the keys that exist."""
    problems: dict[Path, Problem] = {}
    expected: dict[Path, list[str]] = {}
    for detail in error.errors():
        path, kind = _key(document, detail["loc"], detail["type"]), detail["type"]
        if kind == "extra_forbidden":
            problems[path] = Problem(path, "unknown key", closest(path, known))
        elif kind == "missing":
            problems[path] = Problem(path, "missing")
        elif kind in EXPECTED:
            # A key that takes "auto" or an integer fails both alternatives: they become one sentence.
            expected.setdefault(path, []).append(EXPECTED[kind].format(**detail.get("ctx", {})).replace("'", '"'))
            found = json.dumps(detail["input"], default=str)
            problems[path] = Problem(path, f"expected {' or '.join(expected[path])}, got {found}")
        else:
            problems[path] = Problem(path, detail["msg"].removeprefix("Value error, "))
    return list(problems.values())


def closest(path: Path, known: Collection[Path]) -> str | None:
    """The known key that a misspelt or misplaced one probably means."""
    siblings = {other[-1]: other for other in known if other[:-1] == path[:-1]}
    if near := difflib.get_close_matches(path[-1], siblings, n=1):
        return dotted(siblings[near[0]])
    if elsewhere := [other for other in known if other[-1] == path[-1]]:
        return dotted(elsewhere[0])
    near = difflib.get_close_matches(dotted(path), [dotted(other) for other in known], n=1)
    return near[0] if near else None


def refuse(source: str, problems: Iterable[Problem], layers: Sequence[tuple[str, Document]]) -> ExperimentError:
    """The error that lists every problem once.

    Args:
        source: the experiment file.
        problems: at least one.
        layers: label and content of what was laid over the file, the last one first; a key set there
            is named with the label.
    """
    unique = list(dict.fromkeys(problems))
    lines = [f"{_label(problem, layers)}{dotted(problem.path)}: {problem.text}" for problem in unique]
    meant = [f"did you mean {problem.meant}?" if problem.meant else None for problem in unique]
    if len(unique) == 1:
        return ExperimentError(f"{source}: {lines[0]}", meant[0])
    listed = [line if hint is None else f"{line}; {hint}" for line, hint in zip(lines, meant, strict=True)]
    return ExperimentError("\n  ".join([f"{source}: {len(unique)} problems", *listed]))


def _label(problem: Problem, layers: Sequence[tuple[str, Document]]) -> str:
    return next((f"{label} " for label, content in layers if contains(content, problem.path)), "")


def _key(document: Mapping[str, Any], location: Sequence[str | int], kind: str) -> Path:
    """The key an error is about: pydantic ends its locations with the alternative it tried."""
    node: Any = document
    keys: list[str] = []
    for part in location:
        inside = isinstance(node, Mapping) and (part in node or kind == "missing")
        if not inside and not (isinstance(node, list) and isinstance(part, int)):
            break
        keys.append(str(part))
        node = node.get(part) if isinstance(node, Mapping) else dict(enumerate(node)).get(int(part))
    return tuple(keys)
