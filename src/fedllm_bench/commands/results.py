"""`table` and `report`: what finished and unfinished runs say."""

from collections.abc import Sequence
from pathlib import Path

import click

from fedllm_bench.commands.output import print_rows
from fedllm_bench.commands.paper import AGAINST, View, paper_number, print_paper_table

__all__ = ["print_table", "report", "table"]

folders_argument = click.argument(
    "folders", metavar="RUN_OR_FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path)
)


@click.command()
@click.argument("folders", metavar="[1-8] RUN_OR_FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["text", "md", "tex", "csv", "json"]), default="text", show_default=True
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option("--by-group", is_flag=True, help="A column for each group of clients (data.group_by).")
@click.option("--metrics", is_flag=True, help="A column for each metric of the benchmarks that eval ran.")
@click.option("--with-paper", is_flag=True, help="The paper's numbers beside; for table 1 to 8.")
@click.option(
    "--against",
    metavar="ROW",
    help="Mark what cannot be told from this (~): fedavg, local, or the title of a row; for scores.  [default: fedavg]",
)
def table(
    *, folders: tuple[Path, ...], form: str, by_group: bool, metrics: bool, with_paper: bool, against: str | None
) -> None:
    """Compare methods by their runs.

    Shows held-out loss and the change to the base model; as JSON and CSV also what the runs spent.
    A number before the runs prints that table of the paper from them: `table 3 runs/mine --with-paper`.
    """
    number = paper_number(folders)
    shapes = {"a table's number": number is not None, "--by-group": by_group, "--metrics": metrics}
    chosen = [name for name, given in shapes.items() if given]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} do not go together")
    if with_paper and number is None:
        raise click.UsageError("--with-paper needs a table's number, such as table 3 runs/mine --with-paper")
    if against is not None and number is None and not metrics:
        raise click.UsageError("--against compares scores: table RUNS --metrics --against local, or table 3 RUNS")
    if number is not None:
        print_paper_table(number, folders[1:], View(form, with_paper, against))
    elif by_group:
        print_groups(folders, form)
    elif metrics:
        print_metrics(folders, form, against or AGAINST)
    else:
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


def print_groups(folders: Sequence[Path], form: str) -> None:
    """Print a row for each method with a column for each group of clients."""
    from fedllm_bench.analysis.by_group import by_group, group_columns
    from fedllm_bench.analysis.frames import read_runs
    from fedllm_bench.analysis.methods import group

    rows = by_group(group(read_runs(folders)))
    note = "Held-out loss, mean over the clients of a group; the average counts every group once; lower is better."
    print_rows(rows, group_columns(rows), form, note)


def print_metrics(folders: Sequence[Path], form: str, against: str) -> None:
    """Print a row for each method with a column for each metric that benchmarks score."""
    from fedllm_bench.analysis.evaluations import brief, caption, columns_of, evaluations, flat_rows, nested_rows
    from fedllm_bench.analysis.frames import read_runs
    from fedllm_bench.analysis.methods import group

    found = evaluations(group(read_runs(folders)), against)
    rows = nested_rows(found) if form == "json" else flat_rows(found, form == "csv")
    shown = brief(found) if form == "text" else found
    print_rows(rows, columns_of(shown, form), form, caption(shown, form))


def print_table(folders: Sequence[Path], form: str) -> None:
    """Print a row for each method found in run folders, or in the folders above them; JSON has its metrics, too."""
    from fedllm_bench.analysis.evaluations import evaluations, nested_rows
    from fedllm_bench.analysis.frames import read_runs
    from fedllm_bench.analysis.methods import group
    from fedllm_bench.analysis.summary import caption, summarise
    from fedllm_bench.analysis.tables import METHOD_COLUMNS

    methods = group(read_runs(folders))
    rows = [summary.row() for summary in summarise(methods)]
    if form == "json":
        rows = [row | own for row, own in zip(rows, nested_rows(evaluations(methods)), strict=True)]
    print_rows(rows, METHOD_COLUMNS, form, caption(methods))
