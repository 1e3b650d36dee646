"""`eval`: benchmarks of finished runs and of their base models."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedllm_bench.commands.results import print_metrics

if TYPE_CHECKING:
    from fedllm_bench.evaluate.judging.judge import Judge
    from fedllm_bench.evaluate.judging.rubric import Rubric
    from fedllm_bench.evaluate.table import Benchmark
    from fedllm_bench.progress import Progress

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
@click.option("--judge-temperature", type=float, default=0.0, show_default=True, help="Of the judge's replies.")
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
@click.option("--budget", type=float, help="Money for the judge, at most; needs the prices.")
@click.option("--price-in", type=float, default=0.0, help="Of a million tokens sent to the judge.")
@click.option("--price-out", type=float, default=0.0, help="Of a million tokens of its replies.")
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
    default="own",
    show_default=True,
    metavar="NAME",
    help="What makes answers: own, or vllm (a package of its own, for GPUs).",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws questions and answers.")
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
    price_in: float,
    price_out: float,
    references: str,
    max_new_tokens: int | None,
    samples: int,
    unsandboxed: bool,
    engine: str,
    seed: int,
    form: str,
) -> None:
    """Evaluate finished runs and their base models: MT-Bench, Vicuna, AdvBench, Ref-Judge, MMLU, HumanEval; any task
    of lm-evaluation-harness.

    What was answered or judged before is not done again. Judged scores need --judge; without one they are unscored.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")  # other packages' bars; ours say what they are for
    from fedllm_bench.evaluate.bench import Options
    from fedllm_bench.evaluate.judging.judged import Budget
    from fedllm_bench.options import named
    from fedllm_bench.progress import progress_on
    from fedllm_bench.suite import WRITERS, evaluate_runs

    progress = progress_on()
    benchmarks = _benchmarks(suites or (() if tasks else ("all",)), tasks, task_folders)
    named("--engine", engine, WRITERS)
    if budget is not None and not (price_in or price_out):
        raise click.UsageError("--budget needs --price-in and --price-out")
    options = Options(
        seed=seed,
        limits=_limits(limits),
        judge=_judge(judge, progress, judge_temperature, judge_seed, concurrency, judge_tokens),
        rubrics=_rubrics(rubrics),
        budget=Budget(max_requests, budget, price_in, price_out),
        exclude_disputed=references == "exclude-disputed",
        max_new_tokens=max_new_tokens,
        samples=samples,
        unsandboxed=unsandboxed,
        engine=engine,
        tell=lambda line: click.echo(line, err=True),
    )
    for path in evaluate_runs(folders, benchmarks, options, progress):
        click.echo(path, err=True)
    print_metrics(folders, form, "fedavg")


def _benchmarks(suites: Sequence[str], tasks: Sequence[str], folders: Sequence[Path]) -> dict[str, "Benchmark"]:
    from fedllm_bench.benchmark_scores import harness_benchmark
    from fedllm_bench.evaluate.harness_task import harness_task
    from fedllm_bench.evaluate.table import EVALUATIONS
    from fedllm_bench.options import named

    for suite in suites:
        named("--suite", suite, {"all": None, **EVALUATIONS})
    chosen = {name: row for name, row in EVALUATIONS.items() if "all" in suites or name in suites}
    return chosen | {harness_benchmark(task): partial(harness_task, task, folders) for task in tasks}


def _limits(texts: Sequence[str]) -> dict[str, int]:
    from fedllm_bench.benchmark_scores import HARNESS
    from fedllm_bench.evaluate.table import EVALUATIONS
    from fedllm_bench.options import named

    found: dict[str, int] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if name and not name.startswith(HARNESS):
            named("--limit", name, EVALUATIONS)
        if not number.isdigit() or int(number) == 0:
            raise click.BadParameter(f"{text!r} is not [NAME=]N with a number above 0", param_hint="--limit")
        found[name] = int(number)
    return found


def _rubrics(texts: Sequence[str]) -> Mapping[str, "Rubric"]:
    from fedllm_bench.evaluate.judging.rubric import read_rubric
    from fedllm_bench.options import named

    found = {}
    for text in texts:
        name, separator, file = text.partition("=")
        if not separator:
            raise click.BadParameter(f"{text!r} is not NAME=FILE.toml", param_hint="--rubric")
        named("--rubric", name, dict.fromkeys(("mt-bench", "vicuna", "ref-judge", "advbench")))
        found[name] = read_rubric(Path(file))
    return found


def _judge(
    text: str | None, progress: "Progress", temperature: float, seed: int | None, concurrency: int, max_tokens: int
) -> "Judge | None":
    from fedllm_bench.judges import JUDGES, JudgeSettings
    from fedllm_bench.options import named

    if text is None:
        return None
    kind, _, name = text.partition(":")
    named("--judge", kind, JUDGES)
    return JUDGES[kind](JudgeSettings(name, temperature, seed, concurrency, max_tokens), progress)
