"""A federated dataset in a folder: one line a client, and an index, so that a million clients open at once."""

import errno
import hashlib
import json
import mmap
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedllm_bench import __version__
from fedllm_bench.data.lines import client_from, client_line, id_from
from fedllm_bench.errors import DataError
from fedllm_bench.examples import ClientData, Example, PreferenceExample
from fedllm_bench.folders import build_folder

__all__ = ["StoredDataset", "content_fingerprint", "write_dataset"]

INDEX = np.dtype([("offset", "<i8"), ("train", "<i4"), ("test", "<i4")])
_REBUILD = "remove the folder, so that it is built again"


class StoredDataset:
    """Clients read from disk one at a time; opening costs the same for ten as for a million.

    Args:
        folder: written by `write_dataset`.

    Raises:
        DataError: the folder is no dataset, or its files do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)
        self._lines_path = folder / "clients.jsonl"
        self._lines, index = _open_files(folder)
        # Plain arrays over the mapped file: its own class takes ten times as long to give one number.
        self._offsets, self._train = np.asarray(index["offset"]), np.asarray(index["train"])
        if len(self._offsets) != self.manifest["clients"] or len(self._offsets) == 0:
            raise DataError(
                f"{folder}: the index has {len(self._offsets)} clients, not {self.manifest['clients']}", _REBUILD
            )

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def fingerprint(self) -> str:
        return str(self.manifest["fingerprint"])

    def __len__(self) -> int:
        return len(self._offsets)

    def __reduce__(self) -> tuple[type["StoredDataset"], tuple[Path]]:
        return (StoredDataset, (self.folder,))  # another process opens the files itself

    def client_id(self, index: int) -> str:
        """The id of a client, read without its examples."""
        return id_from(self._line(index), self._place(index))

    def size(self, index: int) -> int:
        """Number of training examples of a client."""
        return int(self._train[index])

    def load(self, index: int) -> ClientData:
        """A client with all its examples.

        Raises:
            DataError: its line is broken; named with its number.
        """
        return client_from(bytes(self._line(index)), self._place(index))

    def _line(self, index: int) -> memoryview:
        end = self._offsets[index + 1] if index + 1 < len(self) else len(self._lines)
        return memoryview(self._lines)[self._offsets[index] : end]

    def _place(self, index: int) -> str:
        return f"{self._lines_path}: line {index + 1}"


def write_dataset(
    folder: Path,
    name: str,
    clients: Iterable[ClientData],
    *,
    fingerprint: str,
    source: str,
    options: Mapping[str, Any] | None = None,
    dropped: Counter[str] | None = None,
) -> StoredDataset:
    """Write clients to a folder that appears only when it is complete; if it is there already, it is just opened.

    Clients are taken from the iterator one at a time and never held together. Examples with an empty response and
    clients without training samples are dropped and counted.

    Args:
        folder: where the dataset shall be.
        name: the dataset's name.
        clients: in the order they shall have.
        fingerprint: hash of everything that decides the content; see `content_fingerprint`.
        source: where the rows come from, for the manifest.
        options: what the builder was told, for the manifest.
        dropped: counts by reason; read after the last client, so a builder may add to it until then.

    Raises:
        DataError: two clients have the same id, no client is left, a text is not valid Unicode, or the disk is full.
    """
    dropped = Counter() if dropped is None else dropped
    manifest = {"name": name, "fingerprint": fingerprint, "source": source, "options": dict(options or {})}

    def fill(partial: Path) -> None:
        index = _write_lines(partial / "clients.jsonl", _kept(clients, dropped))
        if len(index) == 0:
            raise DataError(
                f"{name}: no client is left", f"dropped: {dict(dropped)}; loosen the options of the dataset"
            )
        np.save(partial / "index.npy", index)
        totals = {"clients": len(index), "train": int(index["train"].sum()), "test": int(index["test"].sum())}
        text = json.dumps(
            {**manifest, **totals, "dropped": dict(sorted(dropped.items())), "created_by": __version__}, indent=2
        )
        (partial / "manifest.json").write_text(text + "\n", encoding="utf-8")

    try:
        build_folder(folder, fill)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        problem = "the disk is full" if full else f"{folder} cannot be written ({error})"
        raise DataError(f"{name}: {problem}", "free some space, or set FEDLLM_BENCH_CACHE to another folder") from error
    return StoredDataset(folder)


def content_fingerprint(name: str, version: int, source_sha256: str, options: Mapping[str, Any]) -> str:
    """The fingerprint of a dataset that is a function of its builder, a source file and options.

    Args:
        name: the builder's name.
        version: raised whenever the builder makes other data from the same input.
        source_sha256: hash of the raw file.
        options: JSON values.
    """
    text = json.dumps([name, version, source_sha256, dict(options)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _kept(clients: Iterable[ClientData], dropped: Counter[str]) -> Iterator[ClientData]:
    for client in clients:
        train, test = ([e for e in part if _answers(e)] for part in (client.train, client.test))
        empty = len(client.train) + len(client.test) - len(train) - len(test)
        if empty:
            dropped["samples with an empty response"] += empty
        if train:
            yield ClientData(client.id, train, test, client.meta)
        else:
            dropped["clients without training samples"] += 1


def _answers(example: Example) -> bool:
    if isinstance(example, PreferenceExample):
        return bool(example.chosen.strip()) and bool(example.rejected.strip())
    return bool(example.turns) and example.turns[-1].role == "assistant" and bool(example.turns[-1].content.strip())


def _write_lines(path: Path, clients: Iterable[ClientData]) -> np.ndarray[Any, Any]:
    """Write one line a client; return the index."""
    entries = array("q")  # offset, train, test of every client
    seen: set[int] = set()
    offset = 0
    with open(path, "wb") as file:
        for number, client in enumerate(clients, start=1):
            _refuse_twice(client.id, number, seen)
            line = client_line(client)
            file.write(line)
            entries.extend((offset, len(client.train), len(client.test)))
            offset += len(line)
    columns = np.frombuffer(entries, dtype=np.int64).reshape(-1, 3) if entries else np.zeros((0, 3), dtype=np.int64)
    index = np.empty(len(columns), dtype=INDEX)
    for position, field in enumerate(("offset", "train", "test")):
        index[field] = columns[:, position]
    return index


def _refuse_twice(client_id: str, number: int, seen: set[int]) -> None:
    # Eight bytes of a hash instead of the id: a million stay small, at odds of 1 to 37 million of a false alarm.
    digest = int.from_bytes(hashlib.blake2b(client_id.encode(errors="replace"), digest_size=8).digest(), "big")
    if digest in seen:
        raise DataError(
            f"client {number} has the id {client_id!r}, as an earlier one has",
            "join the rows of one client before writing",
        )
    seen.add(digest)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        return {
            **manifest,
            "clients": int(manifest["clients"]),
            "name": manifest["name"],
            "fingerprint": manifest["fingerprint"],
        }
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} is not a dataset: it has no manifest.json", "name a folder that a dataset builder wrote"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error!r})", _REBUILD) from error


def _open_files(folder: Path) -> tuple[mmap.mmap, np.ndarray[Any, Any]]:
    try:
        index = np.load(folder / "index.npy", mmap_mode="r")
        if index.dtype != INDEX:
            raise ValueError(f"index.npy holds {index.dtype}")
        with open(folder / "clients.jsonl", "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), index
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{folder}: the dataset cannot be opened ({error})", _REBUILD) from error
