"""`doctor`: is everything here that a run needs?"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from fedllm_bench.commands.output import as_json, print_rows

__all__ = ["doctor"]

OLDEST_PYTHON = (3, 11)
DISK_WANTED = 2_000_000_000  # bytes: assets, the converted model, and a few runs


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: "ok", a "note" that stops nothing, or something "broken"."""

    name: str
    status: Literal["ok", "note", "broken"]
    detail: str
    hint: str | None = None


@click.command()
@as_json
@click.pass_context
def doctor(context: click.Context, form: str) -> None:
    """Check Python, torch, the processor, the cache, the disk and the assets; exit 1 if something is broken."""
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
    except (ImportError, OSError) as error:  # a library that a wheel was linked against may be missing
        yield Finding("torch", "broken", str(error), "pip install torch")
        return
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    yield Finding("torch", "ok", f"{torch.__version__}, {cuda}")
    yield Finding("threads", "ok", f"{torch.get_num_threads()} of {os.cpu_count()} cores")


def _cache() -> Iterator[Finding]:
    from fedllm_bench.assets import cache_dir

    folder = cache_dir()
    other = "choose another folder with FEDLLM_BENCH_CACHE"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Finding("cache", "broken", f"{folder} cannot be written ({error.strerror})", other)
        return
    yield Finding("cache", "ok", str(folder))
    yield _disk("disk", folder, other)


def _runs_disk() -> Iterator[Finding]:
    yield _disk("disk for runs", Path.cwd(), "keep runs elsewhere with --runs")
