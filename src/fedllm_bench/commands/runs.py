"""`run` and `quickstart`: from an experiment file to run folders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedllm_bench.commands.output import as_json, plugin_option, print_rows

if TYPE_CHECKING:
    from fedllm_bench.experiment import Experiment

__all__ = ["quickstart", "run"]

runs_option = click.option(
    "--runs",
    "above",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder that holds <experiment name>/<run id>.",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a key, such as federation.rounds=2.",
)


@click.command()
@click.argument("file", metavar="EXPERIMENT.toml", type=click.Path(path_type=Path))
@set_option
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(min=0), help="Use this seed; may be repeated.")
@plugin_option
@click.option("--preset", help="Lay the settings of this preset under the file: paper.")
@click.option("--dry-run", is_flag=True, help="Show what would run and what it would take.")
@runs_option
@as_json
def run(
    *,
    file: Path,
    overrides: tuple[str, ...],
    seeds: tuple[int, ...],
    plugins: tuple[Path, ...],
    preset: str | None,
    dry_run: bool,
    above: Path,
    form: str,
) -> None:
    """Run an experiment, or continue it.

    Runs that are complete are left alone; interrupted ones go on where they stopped.
    """
    from fedllm_bench.experiment import load
    from fedllm_bench.sweep import swept

    experiments = swept(load(file, overrides, seeds, preset, plugins))
    if dry_run:
        _print_plan(experiments, above, form)
    else:
        _execute(experiments, above, form)


@click.command()
@set_option
@runs_option
@as_json
def quickstart(overrides: tuple[str, ...], above: Path, form: str) -> None:
    """Compare federated and local training in minutes.

    Fine-tunes a small model on real conversations, prints the table and writes the report.
    """
    from fedllm_bench.analysis.report import write_report
    from fedllm_bench.experiment import load
    from fedllm_bench.sweep import swept

    folders = _execute(swept(load(quickstart_file(), overrides)), above, form)
    report = write_report(folders, folders[0].parent / "report.html")
    click.echo(f"report: {report}", err=True)


def quickstart_file() -> Path:
    """The experiment that `quickstart` runs."""
    return experiments_folder() / "quickstart.toml"


def experiments_folder() -> Path:
    """The experiments that ship with the package; in a checkout, `experiments/`."""
    package = Path(__file__).parents[1]
    shipped = package / "experiments"
    return shipped if shipped.exists() else package.parents[1] / "experiments"


def _execute(experiments: Sequence["Experiment"], above: Path, form: str) -> list[Path]:
    from fedllm_bench.check import check, require_data
    from fedllm_bench.commands.results import print_table
    from fedllm_bench.progress import progress_on
    from fedllm_bench.run import execute

    for experiment in experiments:  # all, before the first one starts
        check(experiment)
        require_data(experiment)
    progress = progress_on()
    labels = _labels(experiments)
    folders: list[Path] = []
    for number, experiment in enumerate(experiments, start=1):
        which = ", ".join(
            part
            for part in (labels[experiment.run_id], _chosen(experiment), f"seed {experiment.seed}", experiment.run_id)
            if part is not None
        )
        state = _state(experiment, above)
        click.echo(f"run {number} of {len(experiments)}: {which} ({state})", err=True)
        folders.append(execute(experiment, above, progress))
    print_table(folders, form)
    click.echo(f"runs: {folders[0].parent}", err=True)
    return folders


# --- what would run


def _print_plan(experiments: Sequence["Experiment"], above: Path, form: str) -> None:
    from fedllm_bench.analysis.quantities import bytes_text, count_text
    from fedllm_bench.analysis.tables import Column, column
    from fedllm_bench.estimate import estimate

    def quantity(title: str, key: str, words: Callable[[float], str]) -> Column:
        return column(title, key, words, numeric=True, nothing="unknown")

    labels = _labels(experiments)
    rows = [
        {
            "method": experiment.algorithm.name,
            "label": labels[experiment.run_id],
            "clients_chosen": _chosen(experiment),
            "seed": experiment.seed,
            "run_id": experiment.run_id,
            **asdict(estimate(experiment)),
            "state": _state(experiment, above),
        }
        for experiment in experiments
    ]
    columns = (
        Column("method", _label_and_clients, numeric=False),
        column("seed", "seed", numeric=True),
        column("run", "run_id"),
        quantity("steps", "steps", count_text),
        quantity("tokens", "tokens", count_text),
        quantity("sent up", "bytes_up", bytes_text),
        quantity("memory", "memory_bytes", bytes_text),
        column("state", "state"),
    )
    note = f"Estimates for {len(rows)} runs in {above / experiments[0].name}."
    if any(row["missing"] for row in rows):
        note += " The rest is known once model and data are here: see the hints, and fedllm-bench assets list."
    print_rows(rows, columns, form, note)
    for missing in dict.fromkeys(what for row in rows for what in row["missing"]):
        click.echo(f"hint: {missing}", err=True)


def _labels(experiments: Sequence["Experiment"]) -> dict[str, str]:
    """Run id to what the tables will call the method: its name, and the settings that tell it from the others."""
    from fedllm_bench.analysis.frames import Run
    from fedllm_bench.analysis.methods import group

    planned = [
        Run(Path(each.run_id), each.model_dump(mode="json"), {}, (), (), (), complete=False) for each in experiments
    ]
    return {run.path.name: method.name for method in group(planned) for run in method.runs}


def _label_and_clients(row: Mapping[str, Any]) -> str:
    return "\n".join(part for part in (row["label"], row["clients_chosen"]) if part is not None)


def _chosen(experiment: "Experiment") -> str | None:
    """Which clients a run is about, where the experiment chooses among them."""
    data = experiment.data
    parts = [
        data.group,
        data.client,
        None if data.client_samples is None else f"size {data.client_samples}",
        "all in one" if data.pool else None,
        None if data.drawn is None else f"drawn {data.drawn.index + 1} of {data.drawn.of}",
    ]
    return ", ".join(part for part in parts if part is not None) or None


def _state(experiment: "Experiment", above: Path) -> str:
    from fedllm_bench.store import RunFolder

    folder = RunFolder(above / experiment.name / experiment.run_id)
    if folder.complete:
        return "finished"
    return "unfinished" if folder.experiment.exists() else "new"
