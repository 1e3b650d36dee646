"""`table N` and `figure 6`: the paper's tables and its figure of privacy, from your own runs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from fedllm_bench.commands.output import print_rows

__all__ = ["AGAINST", "View", "figure", "paper_number", "print_paper_table"]

AGAINST = "fedavg"  # what cells are compared with where nobody says
FIGURE = "6"  # the one figure of the paper that shows what runs reach


@dataclass(frozen=True, slots=True)
class View:
    """How a table is shown.

    Args:
        form: text, md, tex, csv or json.
        with_paper: the paper's numbers beside.
        against: `fedavg`, `local`, or the title of a row: what cells that cannot be told from it are marked for; None
            where nobody asked for any.
    """

    form: str
    with_paper: bool
    against: str | None


def paper_number(arguments: Sequence[Path]) -> int | None:
    """The table of the paper that the first argument names; None where it is a folder, or no number.

    Raises:
        click.UsageError: the paper has no table of this number.
    """
    name = str(arguments[0])
    if not name.isdigit() or arguments[0].exists():
        return None
    if name not in map(str, TABLES):
        raise click.UsageError(f"the paper has no table {name}: its tables are 1 to 8")
    return int(name)


def print_paper_table(number: int, folders: Sequence[Path], view: View) -> None:
    """Print one of the tables; without runs, what the paper has and how to get there.

    Args:
        number: 1 to 8.
        folders: run folders, or folders above them; for Table 1 also names of datasets and experiment files.
        view: how.

    Raises:
        click.UsageError: the table has nothing to compare.
    """
    if view.against is not None and number in (1, 7):
        raise click.UsageError(f"table {number} holds facts of data and settings: --against compares scores")
    TABLES[number](folders, view)


def _scores(number: int, folders: Sequence[Path], view: View) -> None:
    from fedllm_bench.analysis.frames import read_runs
    from fedllm_bench.analysis.paper_filled import fill
    from fedllm_bench.analysis.paper_tables import PAPER_TABLES
    from fedllm_bench.analysis.paper_words import caption, columns_of, document, rows_of

    filled = fill(PAPER_TABLES[number], read_runs(folders), view.against or AGAINST)
    with_paper, form = view.with_paper or not folders, view.form
    if form == "json":
        click.echo(json.dumps(document(filled, with_paper), indent=2, ensure_ascii=False, allow_nan=False))
        return
    rows = rows_of(filled, with_paper, form == "csv")
    print_rows(rows, columns_of(filled, with_paper, form), form, caption(filled, with_paper, form))


def _data(folders: Sequence[Path], view: View) -> None:
    """Table 1: datasets as they are on disk, or as runs took them."""
    from fedllm_bench.analysis import table1
    from fedllm_bench.commands.looks import survey_of, survey_of_run
    from fedllm_bench.portrait import table1_of
    from fedllm_bench.survey import Tools

    targets = [folder for folder in folders if not folder.is_dir()]
    runs = [folder for folder in folders if folder.is_dir()]
    surveys = [survey_of(str(target), (), Tools(ifd=False)) for target in targets]
    surveys += [survey_of_run(run, Tools(ifd=False)) for run in _one_of_each_dataset(runs)]
    columns = [table1_of(survey) for survey in surveys]
    with_paper = view.with_paper or not folders
    print_rows(
        table1.rows_of(columns, with_paper),
        table1.columns_of(columns, with_paper),
        view.form,
        table1.caption(columns, with_paper),
    )
    if surveys:
        click.echo("hint: fedllm-bench data describe NAME --ifd adds the quality of the data", err=True)


def _one_of_each_dataset(folders: Sequence[Path]) -> list[Mapping[str, object]]:
    """The experiments of runs, one for each choice of data."""
    from fedllm_bench.analysis.frames import read_runs

    found: dict[str, Mapping[str, object]] = {}
    for run in read_runs(folders):
        data = {key: value for key, value in run.experiment["data"].items() if key not in WHO_TRAINS}
        found.setdefault(json.dumps(data, sort_keys=True), {**run.experiment, "data": data})
    return list(found.values())


def _settings(folders: Sequence[Path], view: View) -> None:
    """Table 7: the settings of the paper's experiment files, and those of runs."""
    from fedllm_bench.analysis.frames import read_runs
    from fedllm_bench.analysis.paper_settings import COLUMNS, settings_of_runs, settings_of_the_paper
    from fedllm_bench.commands.runs import experiments_folder

    rows = settings_of_the_paper(experiments_folder() / "paper", view.with_paper)
    print_rows(
        [*rows, *settings_of_runs(read_runs(folders))],
        COLUMNS,
        view.form,
        "Table 7: settings of the files in experiments/paper; clients are those of a round and all.",
    )


# What of [data] says who trains, not what the dataset is.
WHO_TRAINS = ("client", "client_samples", "drawn", "pool", "group", "cap")
TABLES: Mapping[int, Callable[[Sequence[Path], View], None]] = {
    1: _data,
    **{number: partial(_scores, number) for number in (2, 3, 4, 5, 6, 8)},
    7: _settings,
}


@click.command()
@click.argument("arguments", metavar="6 RUN_OR_FOLDER...", nargs=-1, required=True)
@click.option("--metric", metavar="NAME", help="Such as mt-bench-1 or loss.  [default: mt-bench-1 where it is scored]")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("figures"), show_default=True)
def figure(arguments: tuple[str, ...], metric: str | None, out: Path) -> None:
    """Draw Figure 6 of the paper from your own runs, as SVG and PNG: privacy (epsilon) against a metric.

    Scores by different judges, or under different settings, are not drawn together.
    Points are runs with noise; lines are FedAvg without noise and training alone. The paper prints no values.
    """
    folders = _folders(arguments)
    from fedllm_bench.analysis.drawing import save
    from fedllm_bench.analysis.frames import copies_note, read_runs
    from fedllm_bench.analysis.paper_figure6 import figure6

    runs = read_runs(folders)
    for path in save(figure6(runs, metric), out):
        click.echo(path)
    if note := copies_note(runs):
        click.echo(note, err=True)


def _folders(arguments: Sequence[str]) -> list[Path]:
    """What follows the number of the figure."""
    number, *folders = arguments
    if number == FIGURE:
        if not folders:
            raise click.UsageError("figure 6 needs runs, such as figure 6 runs/mine")
        return list(map(Path, folders))
    if Path(number).exists():
        raise click.UsageError(f"the number of the figure comes first: figure 6 {' '.join(arguments)}")
    raise click.UsageError(f"{number!r} is no figure that runs fill: write figure 6 runs/mine")
