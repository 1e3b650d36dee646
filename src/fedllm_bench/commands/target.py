"""What the verbs of `data` are told: a dataset's name, a mapping file, or an experiment file."""

import tomllib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fedllm_bench.data import StoredDataset
    from fedllm_bench.data.findings import Report
    from fedllm_bench.examples import FederatedDataset
    from fedllm_bench.experiment import Experiment
    from fedllm_bench.progress import Progress

__all__ = ["built", "dataset_of", "experiment_of", "set_option", "target_argument", "targets_argument", "validated"]

WHAT = "NAME|FILE.toml"

target_argument = click.argument("target", metavar=WHAT)
targets_argument = click.argument("targets", metavar=f"{WHAT}...", nargs=-1, required=True)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As for run, such as data.min_samples=50."
)


def dataset_of(target: str, overrides: Sequence[str], progress: "Progress") -> "FederatedDataset":
    """The dataset that a target means, built where it is not in the cache."""
    from fedllm_bench.clients import build_data

    return build_data(experiment_of(target, overrides), progress)


def experiment_of(target: str, overrides: Sequence[str]) -> "Experiment":
    """An experiment with the data that a target means.

    Args:
        target: a name from `data list`, which is taken whole; a mapping file, likewise; or an experiment file, whose
            data are taken as its runs would take them.
        overrides: as for `run`.

    Raises:
        FedLLMError: there is nothing of that name, or it cannot be read.
    """
    from fedllm_bench.check import check
    from fedllm_bench.experiment import load, resolve

    if target.endswith(".toml") and not _is_mapping(Path(target)):
        experiment = load(Path(target), overrides)[0]
    else:
        document = {"name": "data", "data": _whole(target), "federation": {"rounds": 1, "cohort": 1}}
        experiment = resolve(document, f"data {target}", overrides)[0]
    check(experiment)
    return experiment


def _whole(target: str) -> dict[str, Any]:
    from fedllm_bench.data.table import DATASETS

    if target.endswith(".toml"):
        return {"name": "import", **DATASETS["import"].whole, "import": {"mapping": target}}
    known = DATASETS.get(target)
    return {"name": target, **(known.whole if known else {})}


def _is_mapping(path: Path) -> bool:
    """A mapping names the field of clients; no experiment has such a key."""
    try:
        return "client" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # the error is told by the one who reads experiments


def built(experiment: "Experiment", progress: "Progress") -> tuple["FederatedDataset", "StoredDataset"]:
    """The clients of an experiment, and the dataset on disk that they are chosen from."""
    from fedllm_bench.clients import build_data

    stored = _stored(experiment, progress)
    return build_data(experiment, progress), stored


def _stored(experiment: "Experiment", progress: "Progress") -> "StoredDataset":
    from fedllm_bench.data.table import DATASETS

    data = experiment.data
    return DATASETS[data.name].build(data.held_out, progress, **data.options)


def validated(experiment: "Experiment", progress: "Progress", cap: int) -> "Report":
    """What a look through the files of an experiment's data finds, of each kind at most `cap` findings one by one.

    Data that come from no file of the user's are looked through as they are built.
    """
    from fedllm_bench.data.official import OFFICIAL, official_file
    from fedllm_bench.data.validate import IMPORT, validate
    from fedllm_bench.data.validate_built import validate_built

    data = experiment.data
    look = partial(
        validate,
        held_out=data.held_out,
        seed=data.options.get("seed", 0),
        min_samples=data.min_samples,
        cap=cap,
        progress=progress,
    )
    if data.name == IMPORT:
        return look(data.options.get("mapping", ""))
    if data.name in OFFICIAL:
        return look(str(official_file(data.name, data.options.get("file", ""))), data.name)
    return validate_built(_stored(experiment, progress), data.min_samples, cap=cap, progress=progress)
