"""Clients' examples, encoded once and kept memory-mapped on disk; only clients that are asked for are encoded."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from fedllm_bench.examples import Example, FederatedDataset
from fedllm_bench.model.tokenise import Unusable
from fedllm_bench.objectives.protocol import Annotation, Encoded, Objective
from fedllm_bench.progress import SILENT, Progress
from fedllm_bench.store import replacing

__all__ = ["EncodedClients", "EncodedPart"]


@dataclass(frozen=True)
class EncodedPart:
    """One client's encoded examples of one part, `train` or `test`; a row is read when it is asked for.

    Args:
        notes: reasons and counts of examples shortened or left out.
        annotate: gives what the model adds to rows, by row; None where it adds nothing.
        added: what it has given, by row.
    """

    arrays: Mapping[str, Any]
    offsets: Mapping[str, NDArray[np.int64]]
    rows: int
    notes: Mapping[str, int]
    annotate: Callable[[Iterable[int]], Mapping[int, Encoded]] | None = None
    added: Mapping[int, Encoded] = field(default_factory=dict)

    def ready(self, rows: Iterable[int]) -> "EncodedPart":
        """The part with all that scoring these rows takes: what the model adds is looked up, or computed now."""
        return self if self.annotate is None else replace(self, added=self.annotate(rows))

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> Encoded:
        if not 0 <= row < self.rows:
            raise IndexError(row)
        own = {
            name: array[int(self.offsets[name][row]) : int(self.offsets[name][row + 1])]
            for name, array in self.arrays.items()
        }
        return {**own, **self.added.get(row, {})}


class EncodedClients:
    """The encoded form of a dataset under one objective.

    Args:
        dataset: where examples come from.
        objective: how they are encoded.
        cache: a folder; files are named by the fingerprint of data and objective, so nothing stale is ever read.
        annotation: what the model adds to rows that are used, once, kept in files beside them.
        progress: shows that, since it takes passes through the model.
    """

    def __init__(
        self,
        dataset: FederatedDataset,
        objective: Objective,
        cache: Path,
        annotation: Annotation | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self.dataset = dataset
        self.objective = objective
        self.annotation = annotation
        self.progress = progress
        key = hashlib.sha256(f"{dataset.fingerprint}\n{objective.key}".encode()).hexdigest()[:16]
        self.folder = cache / "encoded" / key

    def part(self, client: int, part: str) -> EncodedPart:
        """A client's encoded examples, from the cache or encoded now."""
        # A thousand folders at most at each level: a million clients stay easy on file systems.
        stem = self.folder / f"{client // 1000:04d}" / f"{client}.{part}"

        def encode(path: Path) -> None:
            data = self.dataset.load(client)
            self._write(path, data.train if part == "train" else data.test)

        found = _read_or_make(stem.with_name(f"{stem.name}.safetensors"), encode)
        if self.annotation is None:
            return found
        return replace(found, annotate=partial(self._annotated, found, stem, self.annotation))

    def _annotated(
        self, part: EncodedPart, stem: Path, annotation: Annotation, rows: Iterable[int]
    ) -> dict[int, Encoded]:
        """What the annotation gives for some rows; those that are not in its file are computed and added to it."""
        path = stem.with_name(f"{stem.name}.{annotation.key}.safetensors")
        values = _kept_values(path, (len(part), annotation.width))
        wanted = sorted(set(rows))
        missing = [row for row in wanted if np.isnan(values[row]).any()]
        if missing:
            with self.progress.task(f"base model on {stem.name}", len(missing), "samples") as task:
                for row in missing:
                    values[row] = annotation(part[row])
                    task.advance(1)
            with replacing(path) as scratch:
                save_file({annotation.name: values}, scratch)
        return {row: {annotation.name: values[row]} for row in wanted}

    def _write(self, path: Path, examples: Iterable[Example]) -> None:
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
        _save(path, rows, notes)


def _save(path: Path, rows: Sequence[Encoded], notes: Mapping[str, int]) -> None:
    with replacing(path) as scratch:
        save_file(_joined(rows), scratch, metadata={"rows": str(len(rows)), "notes": json.dumps(dict(notes))})


def _kept_values(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    """The numbers of each row in a file; not a number where they are still to be computed."""
    with suppress(OSError, SafetensorError):  # a damaged file costs a computation, not a run
        (values,) = load_file(path).values()
        if values.shape == shape:
            return np.array(values)
    return np.full(shape, np.nan)


def _joined(rows: Sequence[Encoded]) -> dict[str, NDArray[Any]]:
    """Each named array of all rows end to end, and where each row starts."""
    joined: dict[str, NDArray[Any]] = {}
    for name in rows[0] if rows else ():
        parts = [row[name] for row in rows]
        joined[name] = np.ascontiguousarray(np.concatenate(parts))
        joined[f"{name}.offsets"] = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return joined


def _read_or_make(path: Path, make: Callable[[Path], None]) -> EncodedPart:
    if not path.exists():
        make(path)
    try:
        return _read(path)
    except SafetensorError:  # a damaged cache file costs a computation, not a run
        path.unlink()
        make(path)
        return _read(path)


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
