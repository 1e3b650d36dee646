"""Where a base model comes from: an asset, a folder, a GGUF file or a name on the model hub."""

import hashlib
from pathlib import Path

from fedllm_bench import assets
from fedllm_bench.errors import ModelError
from fedllm_bench.folders import build_folder

__all__ = ["BASE_ASSETS", "fingerprint", "require_known", "resolve"]

# Short names of base models -> the asset that holds them.
BASE_ASSETS = {"smollm2-135m": "smollm2-135m-gguf"}


def resolve(base: str) -> Path:
    """A folder with safetensors and a tokenizer for `model.base`; GGUF files are converted once and kept in the cache.

    Args:
        base: a short name from `BASE_ASSETS`, a folder, a .gguf file, or a model hub name such as "org/model".

    Raises:
        ModelError: it is none of these, or holds no safetensors.
    """
    if base in BASE_ASSETS:
        return _converted(assets.locate(BASE_ASSETS[base]), base)
    path = Path(base).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return _converted(path, path.stem)
    if path.is_dir():
        if not list(path.glob("*.safetensors")):
            raise ModelError(f"{path} holds no .safetensors file", "save the model with safe_serialization=True")
        return path
    require_known(base)
    return assets.obtain(_hub_model(base))


def require_known(base: str) -> None:
    """Refuse what can be no base model: neither a short name, nor a path that is there, nor a name on the hub.

    Raises:
        ModelError: the name, and what would do.
    """
    path = Path(base).expanduser()
    here = path.is_dir() or (path.is_file() and path.suffix == ".gguf")
    hub_name = base.count("/") == 1 and not base.startswith((".", "/", "~"))
    if base not in BASE_ASSETS and not here and not hub_name:
        raise ModelError(
            f"base model {base!r} is neither a known name nor a folder nor a hub name",
            f"use one of {', '.join(BASE_ASSETS)}, a folder with safetensors, a .gguf file, or org/name",
        )


def _hub_model(repository: str) -> assets.Asset:
    """A model of the hub as an asset that is in no table; `org/name@revision` pins a revision."""
    repo_id, _, revision = repository.partition("@")
    source = assets.HubSnapshot(repo_id, revision or "main")
    return assets.Asset(
        name=repo_id.replace("/", "--"),
        about=f"{repo_id} from the model hub",
        licence="see its model card",
        file=None,
        size=None,
        sources=(source,),
    )


def fingerprint(folder: Path) -> str:
    """Hash that tells one model from another: names and sizes of its files, and their first, middle and last MiB."""
    digest = hashlib.sha256()
    block = 1 << 20
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size};".encode())
        with open(path, "rb") as file:
            for start in sorted({0, max(0, size // 2 - block // 2), max(0, size - block)}):
                file.seek(start)
                digest.update(file.read(block))
    return digest.hexdigest()


def _converted(gguf: Path, name: str) -> Path:
    """The folder that a GGUF file was converted into, converting it at the first call (about 11 s for 135M)."""
    size = gguf.stat().st_size
    with open(gguf, "rb") as file:
        head = hashlib.sha256(str(size).encode() + file.read(1 << 24)).hexdigest()[:12]
    folder = assets.cache_dir() / "models" / f"{name}-{head}"
    build_folder(folder, lambda scratch: _convert(gguf, scratch))
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    """Write a GGUF file's weights (dequantized), configuration and tokenizer as a Hugging Face folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(gguf_file=gguf.name, dequantize=True),
        dtype=torch.float32,
    )
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.save_pretrained(folder)
