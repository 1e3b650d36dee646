"""Clients' examples, encoded once and kept memory-mapped on disk; only clients that are asked for are encoded."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fedllm_bench.examples import ChatExample, FederatedDataset
from fedllm_bench.model.tokenise import Unusable
from fedllm_bench.objectives.protocol import Encoded, Objective
from fedllm_bench.store import replacing

__all__ = ["EncodedClients", "EncodedPart"]


@dataclass(frozen=True)
class EncodedPart:
    """One client's encoded examples of one part, `train` or `test`; a row is read when it is asked for.

    Args:
        notes: reasons and counts of examples shortened or left out.
    """

    arrays: Mapping[str, Any]
    offsets: Mapping[str, NDArray[np.int64]]
    rows: int
    notes: Mapping[str, int]

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> Encoded:
        if not 0 <= row < self.rows:
            raise IndexError(row)
        return {
            name: array[int(self.offsets[name][row]) : int(self.offsets[name][row + 1])]
            for name, array in self.arrays.items()
        }


class EncodedClients:
    """The encoded form of a dataset under one objective.

    Args:
        dataset: where examples come from.
        objective: how they are encoded.
        cache: a folder; files are named by the fingerprint of data and objective, so nothing stale is ever read.
    """

    def __init__(self, dataset: FederatedDataset, objective: Objective, cache: Path) -> None:
        self.dataset = dataset
        self.objective = objective
        key = hashlib.sha256(f"{dataset.fingerprint}\n{objective.key}".encode()).hexdigest()[:16]
        self.folder = cache / "encoded" / key

    def part(self, client: int, part: str) -> EncodedPart:
        """A client's encoded examples, from the cache or encoded now."""
        # A thousand folders at most at each level: a million clients stay easy on file systems.
        path = self.folder / f"{client // 1000:04d}" / f"{client}.{part}.safetensors"
        if not path.exists():
            data = self.dataset.load(client)
            self._write(path, data.train if part == "train" else data.test)
        try:
            return _read(path)
        except SafetensorError:  # a damaged cache file costs an encoding, not a run
            path.unlink()
            return self.part(client, part)

    def _write(self, path: Path, examples: Iterable[ChatExample]) -> None:
        notes: Counter[str] = Counter()
        rows: list[Encoded] = []
        for example in examples:
            encoded = self.objective.encode(example)
            if isinstance(encoded, Unusable):
                notes[encoded.reason] += 1
                continue
            arrays, note = encoded
            rows.append(arrays)
            if note is not None:
                notes[note] += 1
        with replacing(path) as scratch:
            save_file(_joined(rows), scratch, metadata={"rows": str(len(rows)), "notes": json.dumps(dict(notes))})


def _joined(rows: Sequence[Encoded]) -> dict[str, NDArray[Any]]:
    """Each named array of all rows end to end, and where each row starts."""
    joined: dict[str, NDArray[Any]] = {}
    for name in rows[0] if rows else ():
        parts = [row[name] for row in rows]
        joined[name] = np.ascontiguousarray(np.concatenate(parts))
        joined[f"{name}.offsets"] = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return joined


def _read(path: Path) -> EncodedPart:
    with safe_open(path, framework="np") as file:
        names = [name for name in file.keys() if not name.endswith(".offsets")]  # noqa: SIM118 (not a dict)
        about = file.metadata()
        return EncodedPart(
            arrays={name: file.get_slice(name) for name in names},
            offsets={name: file.get_tensor(f"{name}.offsets") for name in names},
            rows=int(about["rows"]),
            notes=json.loads(about["notes"]),
        )
