"""A federated dataset as plain rows, one a line, which a mapping reads again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from fedllm_bench.errors import DataError
from fedllm_bench.examples import Example, FederatedDataset, PreferenceExample
from fedllm_bench.progress import SILENT, Progress
from fedllm_bench.store import replacing

__all__ = ["export_rows", "row_of"]


def export_rows(dataset: FederatedDataset, path: Path, *, part: str = "all", progress: Progress = SILENT) -> int:
    """Write a JSON line for each sample, client after client, and return how many.

    Args:
        dataset: what to write.
        path: of the file, which appears only when it is complete.
        part: "all" samples of each client, or those it "train"s on.
        progress: shows the clients as they are written.

    Raises:
        DataError: the file exists, or cannot be written.
    """
    if path.exists():
        raise DataError(f"{path} exists already", "name another file, or remove this one")
    try:
        with replacing(path) as scratch, open(scratch, "wb") as file:
            return sum(file.write(orjson.dumps(row) + b"\n") > 0 for row in _rows(dataset, part, progress))
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error})", "name a file in a folder of yours") from error


def row_of(client: str, example: Example) -> dict[str, Any]:
    """A sample as JSON values: preferences with `prompt`, `chosen` and `rejected`, conversations with `context` and
    `response`, where the client's own earlier turns carry its id as their speaker."""
    if isinstance(example, PreferenceExample):
        said: dict[str, Any] = {
            "prompt": "\n".join(turn.content for turn in example.prompt),
            "chosen": example.chosen,
            "rejected": example.rejected,
        }
    else:
        *context, last = example.turns
        speakers = [client if turn.role == "assistant" else turn.role for turn in context]
        turns = [{"speaker": who, "text": turn.content} for who, turn in zip(speakers, context, strict=True)]
        said = {"context": turns, "response": last.content}
    return {**example.meta, "client": client, **said}


def _rows(dataset: FederatedDataset, part: str, progress: Progress) -> Iterator[dict[str, Any]]:
    with progress.task(f"export {dataset.name}", len(dataset), "clients") as task:
        for index in range(len(dataset)):
            client = dataset.load(index)
            for example in client.train if part == "train" else (*client.train, *client.test):
                yield row_of(client.id, example)
            task.advance()
