"""`doctor`: is everything here that a run needs?"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import click

from fedllm_bench.commands.output import as_json, print_rows

__all__ = ["doctor"]

Status = Literal["ok", "note", "broken"]

OLDEST_PYTHON = (3, 11)
DISK_WANTED = 2_000_000_000  # bytes: assets, the converted model, and a few runs


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: "ok", a "note" that stops nothing, or something "broken"."""

    name: str
    status: Status
    detail: str
    hint: str | None = None


@click.command()
@as_json
@click.pass_context
def doctor(context: click.Context, form: str) -> None:
    """Check that all a run needs is here.

    Looks at Python, torch, bitsandbytes, the processor, cache, disk and assets; exit 1: something is broken.
    """
    from fedllm_bench.analysis.tables import column

    findings = [finding for check in CHECKS for finding in check()]
    columns = tuple(column(key, key) for key in ("name", "status", "detail", "hint"))
    print_rows([asdict(finding) for finding in findings], columns, form)
    if any(finding.status == "broken" for finding in findings):
        context.exit(1)


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= OLDEST_PYTHON:
        yield Finding("python", "ok", version)
    else:
        yield Finding("python", "broken", version, f"needs {'.'.join(map(str, OLDEST_PYTHON))} or newer")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library that the wheel was linked against is missing
        yield Finding("torch", "broken", str(error), "pip install torch")
        return
    from fedllm_bench.model.base import has_bf16_arithmetic

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield Finding("torch", "ok", torch.__version__)
    yield Finding("device", "ok", torch.cuda.get_device_name() if device.type == "cuda" else "cpu")
    yield Finding("threads", "ok", f"{torch.get_num_threads()} on {os.cpu_count()} cores")
    if has_bf16_arithmetic(device):
        yield Finding("bf16", "ok", "multiplied in hardware")
    else:
        yield Finding("bf16", "note", "not in hardware", "training runs in float32, several times slower")


def _quantization() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    from fedllm_bench.extras import hint_of

    try:
        yield Finding("bitsandbytes", "ok", version("bitsandbytes"))
    except PackageNotFoundError:
        hint = f"only quantized base models need it: {hint_of('quantization')}"
        yield Finding("bitsandbytes", "note", "not installed", hint)


def _cache() -> Iterator[Finding]:
    from fedllm_bench.analysis.quantities import bytes_text
    from fedllm_bench.assets import cache_dir
    from fedllm_bench.assets.hints import OTHER_CACHE

    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Finding("cache", "broken", f"{folder}: {error.strerror}", OTHER_CACHE)
        return
    yield Finding("cache", "ok", str(folder))
    free = shutil.disk_usage(folder).free
    enough = free >= DISK_WANTED
    yield Finding("disk", "ok" if enough else "note", f"{bytes_text(free)} free", None if enough else OTHER_CACHE)


def _assets() -> Iterator[Finding]:
    from fedllm_bench.assets import listing

    for asset in listing():
        status, hint = ASSET_STATES[asset.state]
        yield Finding(f"asset {asset.name}", status, asset.state, hint and hint.format(name=asset.name))


def _compiler() -> Iterator[Finding]:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    yield Finding("compiler", "ok", compiler or "none; none is needed")


def _terminal() -> Iterator[Finding]:
    if os.environ.get("NO_COLOR"):
        yield Finding("colour", "ok", "off: NO_COLOR is set")
    else:
        yield Finding("colour", "ok", "on" if sys.stderr.isatty() else "off: not a terminal")


ASSET_STATES: Mapping[str, tuple[Status, str | None]] = {
    "cached": ("ok", None),
    "added": ("ok", None),
    "not fetched": ("note", "fetched when needed, or now: fedllm-bench assets fetch {name}"),
    "missing": ("broken", "fedllm-bench assets add {name} PATH"),
}

CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _torch,
    _quantization,
    _cache,
    _assets,
    _compiler,
    _terminal,
)
