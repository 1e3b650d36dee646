"""What was worked out for a model, kept part by part, so that a stopped evaluation goes on and none is done twice."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedllm_bench import records
from fedllm_bench.progress import SILENT, Progress

__all__ = ["kept"]

Compute = Callable[[], list[dict[str, Any]]]


def kept(
    path: Path, facts: Any, parts: Mapping[str, Compute], progress: Progress = SILENT, unit: str = "parts"
) -> dict[str, list[dict[str, Any]]]:
    """The records of each part, read where they are and worked out where they are not.

    Args:
        path: of the file, less the key of the facts and the ending.
        facts: all that decides the records; other facts have another file.
        parts: name to what works out its records; a part is written when it is whole.
        progress: shows the parts.
        unit: what parts are, in the plural.
    """
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]
    file = path.with_name(f"{path.name}-{key}.jsonl")
    file.parent.mkdir(parents=True, exist_ok=True)
    records.keep(file, lambda record: True)  # a line that a kill tore is no part
    found = {record["part"]: record["records"] for record in records.read(file)}
    left = [name for name in parts if name not in found]
    with progress.task(path.name, len(parts), unit, done=len(parts) - len(left)) as task:
        for name in left:
            found[name] = parts[name]()
            records.append(file, {"part": name, "records": found[name]})
            task.advance()
    return {name: found[name] for name in parts}
