"""`data`: the datasets that experiments can name, built, checked and shared."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedllm_bench.commands.looks import card, describe, figures
from fedllm_bench.commands.output import as_json, print_rows
from fedllm_bench.commands.target import set_option, target_argument

if TYPE_CHECKING:
    from fedllm_bench.data.export import Part
    from fedllm_bench.data.findings import Finding

__all__ = ["data"]


@click.group()
def data() -> None:
    """Federated datasets: build, import, check, describe, draw.

    Where a verb takes NAME|FILE.toml, it is a name from `data list`, the mapping file of your own rows, or an
    experiment file, whose data are meant.
    """


@data.command("list")
@as_json
def datasets(form: str) -> None:
    """List the datasets that `data.name` takes."""
    from fedllm_bench.analysis.tables import column
    from fedllm_bench.tables import DATASETS

    rows = [{"name": name, "summary": source.about} for name, source in DATASETS.items()]
    print_rows(rows, (column("name", "name"), column("what it is", "summary")), form)


@data.command()
@target_argument
@set_option
@as_json
def build(target: str, overrides: tuple[str, ...], form: str) -> None:
    """Build a dataset in the cache, or find it there, and tell what was left out."""
    _build(target, overrides, form)


@data.command("import")
@click.argument("mapping", metavar="MAPPING.toml", type=click.Path(path_type=Path))
@set_option
@as_json
def import_(mapping: Path, overrides: tuple[str, ...], form: str) -> None:
    """Build a dataset of your own rows, as a mapping file says."""
    from fedllm_bench.data.mapping import read_mapping

    read_mapping(str(mapping))  # its errors before those of what an experiment file lacks
    _build(str(mapping), overrides, form)


def _build(target: str, overrides: tuple[str, ...], form: str) -> None:
    from fedllm_bench.analysis.tables import column
    from fedllm_bench.commands.target import built, experiment_of
    from fedllm_bench.data.sources.compare import compare
    from fedllm_bench.progress import progress_on

    experiment = experiment_of(target, overrides)
    dataset, stored = built(experiment, progress_on())
    rows = [{"left out": reason, "count": count} for reason, count in stored.manifest["dropped"].items()]
    samples = sum(dataset.size(position) for position in range(len(dataset)))
    note = f"{dataset.name}: {len(dataset):,} clients, {samples:,} training samples, fingerprint {dataset.fingerprint}"
    columns = (column("left out", "left out"), column("count", "count", "{:,}".format, numeric=True))
    if rows or form != "text":
        print_rows(rows, columns, form, note)
    else:
        click.echo(note)
    for difference in compare(experiment.data.name, stored):
        click.echo(f"warning: {difference}", err=True)


@data.command()
@target_argument
@set_option
@as_json
@click.pass_context
def validate(context: click.Context, target: str, overrides: tuple[str, ...], form: str) -> None:
    """Read the files of a dataset and tell all that is wrong, left out or doubtful; nothing is built.

    Exits with 2 where a build would stop.
    """
    from fedllm_bench.commands.target import experiment_of, validated
    from fedllm_bench.progress import progress_on

    report = validated(experiment_of(target, overrides), progress_on(), LISTED if form == "text" else KEPT)
    note = (
        f"{report.target}: {report.rows:,} rows, {report.clients:,} clients, {report.samples:,} samples; "
        f"{report.count('error'):,} errors, {report.count('warning'):,} warnings"
    )
    if form == "text":
        for finding in report.findings:
            click.echo(told(finding))
        click.echo(note)
    else:
        print_rows(report.table(), (), form, note)
    context.exit(report.exit_code)


LISTED, KEPT = 5, 1000  # findings of a kind that people are shown, and that JSON has; the others are counted


def told(finding: "Finding") -> str:
    """A finding as compilers tell theirs, its way out on a line of its own."""
    count = f" ({finding.count:,})" if finding.severity == "skipped" else ""
    kind = "" if finding.place else f"{finding.kind}: "  # a message with a place begins with it
    line = f"{finding.severity}: {kind}{finding.message}{count}"
    return f"{line}\n  hint: {finding.hint}" if finding.hint else line


@data.command()
@target_argument
@click.argument("file", metavar="FILE.json|FILE.jsonl", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--part", type=click.Choice(["all", "train"]), default="all", show_default=True, help="Of each client.")
@click.option("--lossy", is_flag=True, help="Write what the format cannot express as near as it can, and count it.")
@set_option
def export(target: str, file: Path, part: "Part", lossy: bool, overrides: tuple[str, ...]) -> None:
    """Write a dataset as one JSON file in the format of FedLLM-Bench.

    To FILE.jsonl it writes plain rows instead, a sample a line, which a mapping reads again.
    """
    from fedllm_bench.commands.target import dataset_of
    from fedllm_bench.data.export import export_official
    from fedllm_bench.data.rows import export_rows
    from fedllm_bench.progress import progress_on

    progress = progress_on()
    dataset = dataset_of(target, overrides, progress)
    if file.suffix == ".jsonl":
        click.echo(
            f"{file}: {export_rows(dataset, file, part=part, progress=progress):,} rows of {len(dataset):,} clients"
        )
    else:
        click.echo(export_official(dataset, file, part=part, lossy=lossy, progress=progress))


for command in (describe, figures, card):
    data.add_command(command)
