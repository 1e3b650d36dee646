"""Methods and channels from outside the package: plugin files of an experiment, and installed distributions."""

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from fedllm_bench.errors import ExperimentError
from fedllm_bench.experiment import Plugin

__all__ = ["BUILT_IN", "GROUP", "Offer", "built_in", "forget", "on_offer"]

BUILT_IN = "built in"
# Entry point group of a distribution's metadata -> the table that it adds to.
GROUP: Mapping[str, str] = {"ALGORITHMS": "fedllm_bench.methods"}
_MODULE = "fedllm_bench_plugin_"


@dataclass(frozen=True)
class Offer:
    """A name that experiments can use, and what stands behind it.

    Args:
        origin: "built in", the file, or the distribution with its version.
        load: imports and gives the builder.
        packaged: whether it comes from an installed distribution other than this one.
    """

    origin: str
    load: Callable[[], Callable[..., Any]]
    packaged: bool = False


def built_in(table: Mapping[str, Callable[..., Any]]) -> dict[str, Offer]:
    """A table of this package as offers."""
    return {name: Offer(BUILT_IN, partial(_same, builder)) for name, builder in table.items()}


def on_offer(table: str, own: Mapping[str, Offer], plugins: Iterable[Plugin]) -> dict[str, Offer]:
    """All that one table offers: what is built in, what distributions bring, and what plugin files do.

    Args:
        table: "ALGORITHMS" or "CHANNELS".
        own: what is built in.
        plugins: the experiment's.

    Raises:
        ExperimentError: a file cannot be loaded or has changed, or a name is offered twice.
    """
    merged = dict(own)
    for name, offer in (*_from_distributions(table), *(found for plugin in plugins for found in _from(plugin, table))):
        if name in merged:
            raise ExperimentError(
                f"{offer.origin}: the name {name!r} is taken: {merged[name].origin}",
                f"give it another name in {table}",
            )
        merged[name] = offer
    return merged


def forget(plugins: Iterable[Plugin]) -> None:
    """Let plugins be loaded afresh next time, as in another process."""
    for plugin in plugins:
        sys.modules.pop(_module_name(plugin), None)


def _same(builder: Callable[..., Any]) -> Callable[..., Any]:
    return builder


# --- files


def _from(plugin: Plugin, table: str) -> Iterator[tuple[str, Offer]]:
    found = getattr(_module(plugin), table, {})
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise ExperimentError(f"{plugin.file}: {table} is no dict of names and builders")
    for name, builder in found.items():
        _require_builder(f"{plugin.file}: {table}[{name!r}]", builder)
        yield name, Offer(plugin.file, partial(_same, builder))


def _module_name(plugin: Plugin) -> str:
    # Equal content is the same module: pickles and dataclasses look classes up by it.
    return _MODULE + plugin.sha256[:16]


def _module(plugin: Plugin) -> ModuleType:
    """The module of a plugin file, run where it has not been yet."""
    name = _module_name(plugin)
    if name not in sys.modules:
        source = _source(plugin)
        module = ModuleType(name)
        module.__file__ = plugin.file
        sys.modules[name] = module
        try:
            # Not by the import system's own loader: it would put a cache of bytecode beside the user's file.
            exec(compile(source, plugin.file, "exec"), module.__dict__)
        except Exception as error:
            del sys.modules[name]
            raise _failed(plugin.file, error) from error
    return sys.modules[name]


def _source(plugin: Plugin) -> bytes:
    try:
        source = Path(plugin.file).read_bytes()
    except OSError as error:
        raise ExperimentError(f"{plugin.file}: the plugin cannot be read ({error.strerror})") from error
    if hashlib.sha256(source).hexdigest() != plugin.sha256:
        raise ExperimentError(f"{plugin.file}: the plugin has changed since the experiment was loaded", "run it again")
    return source


def _failed(file: str, error: Exception) -> ExperimentError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = lines[-1] if lines else getattr(error, "lineno", 0)
    return ExperimentError(
        f"{file}:{line}: {type(error).__name__}: {error}", "a plugin is run as it is loaded: this line failed"
    )


# --- installed distributions


def _from_distributions(table: str) -> Iterator[tuple[str, Offer]]:
    for point in _entry_points(GROUP[table], tuple(sys.path)) if table in GROUP else ():
        yield point.name, Offer(_distribution(point), partial(_imported, point), packaged=True)


@cache
def _entry_points(group: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """By name; every distribution on the path is looked at, and that takes a while."""
    return tuple(sorted(entry_points(group=group), key=lambda point: point.name))


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


def _imported(point: EntryPoint) -> Callable[..., Any]:
    """The builder behind an entry point; only the one that is used is imported."""
    origin = _distribution(point)
    try:
        builder = point.load()
    except Exception as error:
        raise ExperimentError(
            f"{origin}: {point.value} cannot be imported: {type(error).__name__}: {error}",
            "repair or uninstall the distribution",
        ) from error
    _require_builder(f"{origin}: {point.value}", builder)
    return builder  # type: ignore[no-any-return]


def _require_builder(where: str, builder: Any) -> None:
    """Refuse what cannot be called with options by name.

    Raises:
        ExperimentError: it is no function, or a parameter has no default that tells its type.
    """
    if not callable(builder):
        raise ExperimentError(f"{where}: expected a function that gives an Algorithm, got {builder!r}")
    for option in inspect.signature(builder).parameters.values():
        if option.default is inspect.Parameter.empty or option.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ExperimentError(
                f"{where}: the option {option} has no default",
                "each option is a parameter with a default, such as mu: float = 0.01",
            )
