"""`assets`: external files, where they come from and where they lie."""

from dataclasses import asdict
from pathlib import Path

import click

from fedllm_bench.commands.output import as_json, print_rows

__all__ = ["assets"]


@click.group()
def assets() -> None:
    """External files: list, fetch, name your own."""


@assets.command("list")
@as_json
def listing(form: str) -> None:
    """Show every asset with its licence and state."""
    from fedllm_bench.analysis.quantities import bytes_text
    from fedllm_bench.analysis.tables import column
    from fedllm_bench.assets import listing as listed

    rows = [{**asdict(asset), "path": asset.path and str(asset.path)} for asset in listed()]
    columns = (
        column("name", "name"),
        column("what", "about"),
        column("licence", "licence"),
        column("size", "size", bytes_text, numeric=True),
        column("state", "state"),
    )
    print_rows(rows, columns, form)


@assets.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def fetch(names: tuple[str, ...]) -> None:
    """Download assets that are missing, and check those that are there."""
    from fedllm_bench.assets import fetch as fetched
    from fedllm_bench.progress import progress_on

    progress = progress_on()
    for name in names:
        click.echo(fetched(name, progress))


@assets.command()
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--licence", default="unknown", show_default=True, help="Its terms, shown in the list.")
@click.option("--sha256", help="Hash to hold the file to.")
def add(name: str, path: Path, licence: str, sha256: str | None) -> None:
    """Use a file or folder of yours under a name."""
    from fedllm_bench.assets import add as added

    click.echo(added(name, path, licence, sha256).path)


@assets.command()
@click.argument("name")
def where(name: str) -> None:
    """Print the path of an asset that is there already."""
    from fedllm_bench.assets import where as located

    click.echo(located(name))
