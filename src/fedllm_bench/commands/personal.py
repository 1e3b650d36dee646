"""`personalise`: what some local steps add to a finished run's model."""

from pathlib import Path

import click

from fedllm_bench.commands.output import as_json, print_rows

__all__ = ["personalise"]


@click.command()
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--steps", type=click.IntRange(min=1), default=10, show_default=True, help="Optimizer steps on each client."
)
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="Learning rate.  [default: the run's]")
@click.option(
    "--weight",
    "weights",
    type=click.FloatRange(min=0, max=1),
    multiple=True,
    default=(0.25, 0.5, 0.75, 1.0),
    show_default=True,
    help="Share of the fine-tuned adapter; may be repeated.",
)
@as_json
def personalise(path: Path, steps: int, lr: float | None, weights: tuple[float, ...], form: str) -> None:
    """Fine-tune a finished run's model on each client.

    Compares the model after the run with the fine-tuned one and with mixtures of the two, on each client's held-out
    samples. Continues where it stopped.
    """
    from fedllm_bench import personalise as stage
    from fedllm_bench.analysis.tables import column, interval_text
    from fedllm_bench.progress import progress_on

    found = stage.personalise(path, steps, lr, weights, progress_on())
    columns = (
        column("weight", "weight", "{:g}".format, numeric=True),
        column("held-out loss", "loss", interval_text(".3f"), numeric=True),
        column("change", "change", interval_text("+.3f"), numeric=True),
        column("clients better", "better", "{:.0%}".format, numeric=True),
    )
    rows = [mixture.row() for mixture in stage.summarise(found)]
    note = (
        f"After {steps} local steps on each of {max((row['clients'] for row in rows), default=0)} clients; weight 0 is "
        "the model after the run, 1 the fine-tuned one. Brackets: 95% bootstrap intervals over clients; change: paired."
    )
    print_rows(rows, columns, form, note)
