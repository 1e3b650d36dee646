"""`data`: the datasets that experiments can name."""

from typing import TYPE_CHECKING

import click

from fedllm_bench.commands.output import as_json, print_rows

if TYPE_CHECKING:
    from fedllm_bench.examples import FederatedDataset

__all__ = ["data"]

set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As for run, such as data.min_samples=50."
)


@click.group()
def data() -> None:
    """Federated datasets: list, build, describe."""


@data.command("list")
@as_json
def datasets(form: str) -> None:
    """List the datasets that `data.name` takes."""
    from fedllm_bench.analysis.tables import column
    from fedllm_bench.tables import DATASETS

    rows = [{"name": name, "summary": source.about} for name, source in DATASETS.items()]
    print_rows(rows, (column("name", "name"), column("what it is", "summary")), form)


@data.command()
@click.argument("name")
@set_option
def build(name: str, overrides: tuple[str, ...]) -> None:
    """Build a dataset in the cache, or find it there."""
    built = _dataset(name, overrides)
    click.echo(f"{built.name}: {len(built):,} clients, fingerprint {built.fingerprint}")


@data.command()
@click.argument("name")
@set_option
@as_json
def describe(name: str, overrides: tuple[str, ...], form: str) -> None:
    """Show how much the clients of a dataset hold, and how long their texts are."""
    from fedllm_bench.analysis.tables import column
    from fedllm_bench.data import describe as described
    from fedllm_bench.progress import progress_on

    found = described(_dataset(name, overrides), progress_on())
    columns = (
        column("over clients", "measure"),
        *(column(what, what, "{:,.1f}".format, numeric=True) for what in ("mean", "std", "min", "median", "max")),
    )
    note = f"{found.name} ({found.fingerprint[:12]}): {found.clients:,} clients, {found.train:,} training and "
    print_rows(found.rows(), columns, form, f"{note}{found.test:,} held-out samples.")


def _dataset(name: str, overrides: tuple[str, ...]) -> "FederatedDataset":
    from fedllm_bench.check import check
    from fedllm_bench.clients import build_data
    from fedllm_bench.experiment import resolve
    from fedllm_bench.progress import progress_on

    # A dataset is built as a run would build it; the rest of the experiment says nothing about it.
    document = {"name": "data", "data": {"name": name}, "federation": {"rounds": 1, "cohort": 1}}
    experiment = resolve(document, f"data {name}", overrides)[0]
    check(experiment)
    return build_data(experiment, progress_on())
