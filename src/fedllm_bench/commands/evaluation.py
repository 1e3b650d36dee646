"""`eval`: benchmarks of finished runs and of their base models."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedllm_bench.benchmark_scores import harness_benchmark
from fedllm_bench.commands.evaluation_forecast import print_plan
from fedllm_bench.commands.evaluation_inputs import ENGINES, FROM_ZERO, budget_of, limits_of, rubrics_of, suites_of
from fedllm_bench.commands.results import print_metrics

if TYPE_CHECKING:
    from fedllm_bench.evaluate.table import Benchmark

__all__ = ["evaluate"]


@click.command("eval")
@click.argument("folders", metavar="RUN_OR_FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="NAME",
    help="A benchmark, or all; may be repeated.  [default: all, or none beside --task]",
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    help="A task, group or tag of lm-evaluation-harness; may be repeated.",
)
@click.option(
    "--task-folder",
    "task_folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With task files of your own; may be repeated.",
)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="[NAME=]N",
    help="At most N questions (MMLU: of a subject), drawn by seed; may be repeated.",
)
@click.option(
    "--judge",
    metavar="KIND[:NAME]",
    help="endpoint:MODEL (a server, see OPENAI_BASE_URL), local:BASE, scripted:FILE.jsonl, or rule.",
)
@click.option("--judge-temperature", type=FROM_ZERO, default=0.0, show_default=True, help="Of the judge's replies.")
@click.option(
    "--judge-tokens", type=click.IntRange(min=1), default=1024, show_default=True, help="Of a reply, at most."
)
@click.option("--judge-seed", type=int, help="Sent to the judge.")
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Requests to a server under way at once.",
)
@click.option(
    "--rubric",
    "rubrics",
    multiple=True,
    metavar="NAME=FILE.toml",
    help="What the judge is told: mt-bench, vicuna, ref-judge or advbench; may be repeated.",
)
@click.option("--max-requests", type=click.IntRange(min=0), help="Requests to the judge, at most.")
@click.option("--budget", type=FROM_ZERO, help="Money for the judge, at most; needs both prices.")
@click.option("--price-in", type=FROM_ZERO, help="Of a million tokens sent to the judge.")
@click.option("--price-out", type=FROM_ZERO, help="Of a million tokens of its replies.")
@click.option(
    "--references",
    type=click.Choice(["original", "exclude-disputed"]),
    default="original",
    show_default=True,
    help="MT-Bench's questions whose reference is disputed.",
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Of an answer, where the benchmark allows more.")
@click.option("--samples", type=click.IntRange(min=1), default=1, show_default=True, help="Of a HumanEval problem.")
@click.option("--unsandboxed", is_flag=True, help="Run generated programs even where there is no sandbox.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="own",
    show_default=True,
    help="What makes answers: own, or vllm (a package of its own, for GPUs).",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws questions and answers.")
@click.option("--dry-run", is_flag=True, help="Show what would be asked and judged, and what it would take.")
@click.option("--json", "form", flag_value="json", default="text", help='Print {"rows": [...]}.')
def evaluate(
    *,
    folders: tuple[Path, ...],
    suites: tuple[str, ...],
    tasks: tuple[str, ...],
    task_folders: tuple[Path, ...],
    limits: tuple[str, ...],
    judge: str | None,
    judge_temperature: float,
    judge_tokens: int,
    judge_seed: int | None,
    concurrency: int,
    rubrics: tuple[str, ...],
    max_requests: int | None,
    budget: float | None,
    price_in: float | None,
    price_out: float | None,
    references: str,
    max_new_tokens: int | None,
    samples: int,
    unsandboxed: bool,
    engine: str,
    seed: int,
    dry_run: bool,
    form: str,
) -> None:
    """Evaluate finished runs and their base models: MT-Bench, Vicuna, AdvBench, Ref-Judge, MMLU, HumanEval; any task
    of lm-evaluation-harness.

    What was answered or judged before is not done again. Judged scores need --judge; without one they are unscored.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")  # other packages' bars; ours say what they are for
    from fedllm_bench.finished import finished_runs
    from fedllm_bench.judges import JudgeSettings, judge_from
    from fedllm_bench.progress import progress_on

    names, limited = suites_of(suites, tasks), limits_of(limits, tasks)
    paid = budget_of(max_requests, budget, price_in, price_out)
    chosen, runs = rubrics_of(rubrics, _tell), finished_runs(folders, _tell)
    progress = progress_on()
    settings = JudgeSettings("", judge_temperature, judge_seed, concurrency, judge_tokens)
    judging = None if judge is None else judge_from(judge, settings, progress)

    from fedllm_bench.evaluate.bench import Options
    from fedllm_bench.suite import evaluate_runs

    benchmarks = _benchmarks(names, tasks, task_folders)
    options = Options(
        seed=seed,
        limits=limited,
        judge=judging,
        rubrics=chosen,
        budget=paid,
        exclude_disputed=references == "exclude-disputed",
        max_new_tokens=max_new_tokens,
        samples=samples,
        unsandboxed=unsandboxed,
        engine=engine,
        tell=_tell,
    )
    if dry_run:
        print_plan(runs, tuple(benchmarks), options, progress, form)
        return
    for path in evaluate_runs(runs, benchmarks, options, progress):
        click.echo(path, err=True)
    print_metrics(folders, form, "fedavg")


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _benchmarks(names: Sequence[str], tasks: Sequence[str], folders: Sequence[Path]) -> dict[str, "Benchmark"]:
    """The benchmarks by name; a task that nobody knows is refused before a model is loaded."""
    from fedllm_bench.evaluate.harness_task import harness_task, require_task
    from fedllm_bench.evaluate.table import EVALUATIONS

    for task in tasks:
        require_task(task, folders)
    asked = {harness_benchmark(task): partial(harness_task, task, folders) for task in tasks}
    return {name: EVALUATIONS[name] for name in names} | asked
