"""Table 7 of the paper, read from the experiment files that hold its settings."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedllm_bench.analysis.frames import Run
from fedllm_bench.analysis.paper_results import printed
from fedllm_bench.analysis.tables import Column, column

__all__ = ["COLUMNS", "settings_of_runs", "settings_of_the_paper"]

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


def settings_of_the_paper(folder: Path, with_paper: bool = False) -> list[dict[str, Any]]:
    """One row for each dataset: epochs of local training, clients a round and in all, steps, rounds.

    Args:
        folder: the one that holds the paper's experiment files.
        with_paper: below each the row that the paper prints.
    """
    rows = [_row(folder / f"{file}.toml", name, clients) for file, name, clients in _ROWS]
    if not with_paper:
        return rows
    return [each for row in rows for each in (row, _printed(row["dataset"]))]


def settings_of_runs(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The same of runs: a row for each choice of data, cohort, steps and rounds of the methods that train together."""
    alone = {
        run.experiment["data"]["name"]: run.experiment["local"]["passes"]
        for run in runs
        if run.algorithm == "local" and run.experiment["local"]["steps"] == "dynamic"
    }
    rows = [_row_of_run(run, alone) for run in runs if run.algorithm != "local"]
    return [row for place, row in enumerate(rows) if row not in rows[:place]]


def _printed(dataset: str) -> dict[str, Any]:
    facts = printed(7)
    epochs, cohort, clients, steps, rounds = facts.rows[dataset]
    return {
        "dataset": dataset,
        "local_epochs": epochs,
        "clients": f"{cohort}/{clients}",
        "local_steps": steps,
        "rounds": rounds,
        "file": "as printed",
    }


def _row_of_run(run: Run, alone: Mapping[str, float]) -> dict[str, Any]:
    experiment = run.experiment
    everybody = len({record["client"] for record in run.evaluations}) or "-"
    name = experiment["data"]["name"]
    return {
        "dataset": name,
        "local_epochs": alone.get(name),
        "clients": f"{experiment['federation']['cohort']}/{everybody}",
        "local_steps": experiment["local"]["steps"],
        "rounds": experiment["federation"]["rounds"],
        "file": f"runs of {experiment['name']}",
    }


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
