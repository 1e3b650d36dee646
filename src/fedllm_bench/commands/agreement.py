"""`agreement`: how far judges of the same answers agree."""

from pathlib import Path

import click

from fedllm_bench.commands.output import as_json, print_rows

__all__ = ["agreement"]


@click.command()
@click.argument("folders", metavar="RUN_OR_FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@as_json
def agreement(folders: tuple[Path, ...], form: str) -> None:
    """Compare judges, or seeds of one judge, on the answers that both have judged.

    Run eval once with each: --judge endpoint:A, --judge endpoint:B, or with another --judge-seed.
    """
    from fedllm_bench.analysis.frames import read_runs
    from fedllm_bench.analysis.tables import column
    from fedllm_bench.benchmark_scores import base_folder
    from fedllm_bench.errors import RunError
    from fedllm_bench.evaluate.judging.agreement import agreements

    runs = read_runs(folders)
    models = dict.fromkeys([*(base_folder(run.path, run.experiment) for run in runs), *(run.path for run in runs)])
    rows = [row for folder in models for row in agreements(folder)]
    if not rows:
        raise RunError(f"{folders[0]}: no answers were judged twice", "run eval again with another --judge")
    columns = (
        column("model", "model"),
        column("answers", "answers"),
        column("judges", "judges", "\n".join),
        column("n", "count", numeric=True),
        column("kappa", "kappa", "{:.2f}".format, numeric=True),
        column("Pearson", "pearson", "{:.2f}".format, numeric=True),
        column("Spearman", "spearman", "{:.2f}".format, numeric=True),
        column("within 1", "within_one", "{:.0%}".format, numeric=True),
    )
    note = "Kappa: Cohen's, with quadratic weights. n: answers that both scored. Within 1: differ by one at most."
    print_rows(rows, columns, form, note)
