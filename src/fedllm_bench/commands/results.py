"""`table` and `report`: what finished and unfinished runs say."""

from collections.abc import Sequence
from pathlib import Path

import click

from fedllm_bench.commands.output import print_rows

__all__ = ["print_table", "report", "table"]

folders_argument = click.argument(
    "folders", metavar="RUN_OR_FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path)
)


@click.command()
@folders_argument
@click.option("--format", "form", type=click.Choice(["text", "md", "csv", "json"]), default="text", show_default=True)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
def table(folders: tuple[Path, ...], form: str) -> None:
    """Compare methods by their runs.

    Shows held-out loss and the change to the base model; as JSON and CSV also what the runs spent.
    """
    print_table(folders, form)


@click.command()
@folders_argument
@click.option(
    "--out",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the page.  [default: report.html in the first folder]",
)
@click.option(
    "--figures",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder that gets every figure as SVG and PNG, too.",
)
def report(folders: tuple[Path, ...], page: Path | None, figures: Path | None) -> None:
    """Write the report of runs as one HTML page.

    It holds the table, figures, clients, settings, versions and costs, and needs nothing but a browser.
    """
    from fedllm_bench.analysis.report import write_report

    click.echo(write_report(folders, page, figures))


def print_table(folders: Sequence[Path], form: str) -> None:
    """Print a row for each method found in run folders, or in the folders above them."""
    from fedllm_bench.analysis.frames import read_runs
    from fedllm_bench.analysis.methods import group
    from fedllm_bench.analysis.summary import caption, summarise
    from fedllm_bench.analysis.tables import METHOD_COLUMNS

    methods = group(read_runs(folders))
    rows = [summary.row() for summary in summarise(methods)]
    print_rows(rows, METHOD_COLUMNS, form, caption(methods))
