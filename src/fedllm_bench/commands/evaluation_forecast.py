"""`eval --dry-run`: what would be asked and judged."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from fedllm_bench.commands.output import print_rows

if TYPE_CHECKING:
    from fedllm_bench.analysis.frames import Run
    from fedllm_bench.evaluate.bench import Options
    from fedllm_bench.evaluation_plan import Planned
    from fedllm_bench.progress import Progress

__all__ = ["print_plan"]


def print_plan(
    runs: Sequence["Run"], benchmarks: Sequence[str], options: "Options", progress: "Progress", form: str
) -> None:
    """Print a row for each benchmark, and below it what the judge would take in all.

    Args:
        runs: that are finished.
        benchmarks: by name.
        options: of the user.
        progress: shows what is fetched and read.
        form: text or json.
    """
    from fedllm_bench.analysis.tables import Column, column
    from fedllm_bench.evaluation_plan import plan_runs

    plan = plan_runs(runs, benchmarks, options, progress)

    def count(title: str, key: str, optional: bool = False) -> Column:
        return column(title, key, "{:,}".format, numeric=True, optional=optional)

    columns = (
        column("benchmark", "benchmark"),
        column("base", "base"),
        count("models", "models"),
        count("questions", "questions"),
        count("answers", "answers"),
        count("most new tokens", "most_new_tokens"),
        count("models answered", "answered"),
        count("requests", "requests", optional=True),
        count("tokens sent", "tokens_in", optional=True),
        count("tokens back", "tokens_out", optional=True),
        column("cost", "cost", "{:.2f}".format, numeric=True, optional=True),
    )
    several = len({each.base for each in plan}) > 1
    shown = [head for head in columns if several or head.title != "base"]
    print_rows([_row(each, options) for each in plan], shown, form, " ".join(_note(plan, options)))
    for name, reason, hint in dict.fromkeys((each.benchmark, each.missing, each.hint) for each in plan):
        if reason:
            click.echo(f"{name} would be missing: {reason}\nhint: {hint}", err=True)


def _row(planned: "Planned", options: "Options") -> dict[str, Any]:
    names = ("benchmark", "base", "models", "questions", "answers", "most_new_tokens", "answered", "missing", "hint")
    row = {name: getattr(planned, name) for name in names}
    row |= dict.fromkeys(("requests", "tokens_in", "tokens_out", "cost"))
    if planned.requests is not None and options.judge is not None:
        from fedllm_bench.evaluate.judging.budget import forecast

        prices = replace(options.budget, requests=None, money=None)
        found = forecast(planned.requests, prices, options.judge.longest)
        row |= {"requests": found.requests, "tokens_in": found.tokens_in, "tokens_out": found.tokens_out}
        row["cost"] = found.cost if prices.price_in or prices.price_out else None
    return row


def _note(plan: Sequence["Planned"], options: "Options") -> Iterator[str]:
    """What the columns mean, and what the judge takes."""
    yield "Questions, and answers to their turns, are those of each model."
    if any(each.questions is None and not each.missing for each in plan):
        yield "How many questions a task of lm-evaluation-harness has is known when its data are loaded."
    if options.judge is None:
        yield "No judge: judged scores stay unscored."
        return
    from fedllm_bench.evaluate.judging.budget import forecast

    messages = [request for each in plan for request in each.requests or ()]
    if not messages:
        yield f"{options.judge.name} has nothing left to judge."
        return
    found = forecast(messages, options.budget, options.judge.longest)
    yield f"{options.judge.name}: {found}."
    if found.requests < len(messages):
        yield f"That is what the budget is likely to pay for, of {len(messages):,} requests."
    yield (
        "Tokens are guessed, and answers that are not there yet taken to be as long as they may be;"
        " a reply without a score is asked for once more."
    )
