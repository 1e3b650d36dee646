"""Table 7 of the paper, read from the experiment files that hold its settings."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedllm_bench.analysis.tables import Column, column

__all__ = ["COLUMNS", "settings_of_the_paper"]

# The file of each row, its name there, and the number of clients that the paper prints.
_ROWS = (
    ("table2", "Fed-Aya", 38),
    ("table3", "Fed-ChatbotIT", 237),
    ("table4-single", "Fed-WildChat", 100),
    ("table4-multi", "Fed-WildChat (multi-turn)", 50),
    ("table5", "Fed-ChatbotPA", 747),
)

COLUMNS: tuple[Column, ...] = (
    column("dataset", "dataset"),
    column("local epochs", "local_epochs", numeric=True),
    column("clients", "clients", numeric=True),
    column("local steps", "local_steps", numeric=True),
    column("rounds", "rounds", numeric=True),
    column("file", "file"),
)


def settings_of_the_paper(folder: Path) -> list[dict[str, Any]]:
    """One row for each dataset: epochs of local training, clients a round and in all, steps, rounds.

    Args:
        folder: the one that holds the paper's experiment files.
    """
    return [_row(folder / f"{file}.toml", name, clients) for file, name, clients in _ROWS]


def _row(file: Path, name: str, clients: int) -> dict[str, Any]:
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        "dataset": name,
        "local_epochs": next(_local_epochs(document)),
        "clients": f"{document['federation']['cohort']}/{clients}",
        "local_steps": document["local"]["steps"],
        "rounds": document["federation"]["rounds"],
        "file": file.name,
    }


def _local_epochs(document: dict[str, Any]) -> Iterator[int]:
    for variant in document["variant"]:
        if variant.get("algorithm.name") == "local":
            yield variant["local.passes"]
