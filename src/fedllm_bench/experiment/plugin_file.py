"""What can be told of a plugin file without running it: its hash, and the names that it offers."""

import ast
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedllm_bench.errors import ExperimentError
from fedllm_bench.experiment.documents import Document
from fedllm_bench.experiment.schema import Plugin

__all__ = ["TABLES", "plugin_files", "plugin_tables"]

# The module-level tables of a plugin, name -> builder.
TABLES = ("ALGORITHMS", "CHANNELS")
EXAMPLE = 'write ALGORITHMS = {"my-method": my_method} at its end'


def plugin_tables(listed: Any, source: str, folder: Path, given: Sequence[Path]) -> list[Document]:
    """The plugins of an experiment as its schema takes them, each file once.

    Args:
        listed: what the experiment file has under `plugins`: files, relative to its folder.
        source: what errors call the experiment file.
        folder: of the experiment file.
        given: further files, from the command line.

    Raises:
        ExperimentError: `plugins` is no list of files, or a file is missing, is not Python or has no table.
    """
    if not isinstance(listed, list) or not all(isinstance(file, str) for file in listed):
        raise ExperimentError(f"{source}: plugins: expected a list of files in quotes, got {listed!r}")
    files = [*(folder / Path(file).expanduser() for file in listed), *(file.expanduser() for file in given)]
    found = [_read(file) for file in dict.fromkeys(file.absolute() for file in files)]
    return list({table["sha256"]: table for table in found}.values())


def plugin_files(given: Sequence[Path]) -> tuple[Plugin, ...]:
    """Plugins named on the command line, without an experiment.

    Raises:
        ExperimentError: as `plugin_tables`.
    """
    return tuple(map(Plugin.model_validate, plugin_tables([], "", Path(), given)))


def _read(file: Path) -> Document:
    try:
        source = file.read_bytes()
    except FileNotFoundError as error:
        raise ExperimentError(
            f"{file}: no such plugin file", "in an experiment file, plugins are named relative to it"
        ) from error
    except OSError as error:
        raise ExperimentError(f"{file}: the plugin cannot be read ({error})") from error
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ExperimentError(f"{file}:{error.lineno}: {error.msg}", "a plugin is a Python file") from error
    except ValueError as error:
        raise ExperimentError(f"{file}: is not Python ({error})", "a plugin is a Python file") from error
    tables = list(_tables(tree))
    if not tables:
        raise ExperimentError(f"{file}: has neither of the tables {' and '.join(TABLES)}", EXAMPLE)
    offers = None if None in tables else [name for table in tables for name in table or ()]
    return {"file": str(file), "sha256": hashlib.sha256(source).hexdigest(), "offers": offers}


def _tables(tree: ast.Module) -> Iterator[list[str] | None]:
    """The names in each table that a module binds at its top level; None where only running it would tell."""
    for node in tree.body:
        targets = {*map(_bound, getattr(node, "targets", [])), _bound(getattr(node, "target", None))}
        if isinstance(node, ast.ImportFrom):
            targets = {alias.asname or alias.name for alias in node.names}
        if targets & {*TABLES}:
            yield _keys(getattr(node, "value", None))


def _bound(target: ast.AST | None) -> str:
    return target.id if isinstance(target, ast.Name) else ""


def _keys(value: Any) -> list[str] | None:
    keys = value.keys if isinstance(value, ast.Dict) else [None]
    names = [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return names if len(names) == len(keys) else None
