"""Any task of lm-evaluation-harness by its name, on the live model."""

import difflib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from fedllm_bench import rng
from fedllm_bench.benchmark_scores import ItemScore, Scores, harness_benchmark, harness_metric
from fedllm_bench.errors import DataError, FedLLMError
from fedllm_bench.evaluate.bench import Bench, Said
from fedllm_bench.evaluate.kept import kept
from fedllm_bench.extras import needed

__all__ = ["harness_task", "require_task"]

FEW_SHOT_SEED = 1234  # the harness's own: the same worked examples as it draws by itself


def harness_task(name: str, include: Sequence[Path], bench: Bench) -> Iterator[Scores]:
    """Every metric of a task that is a mean over its items, for each candidate.

    Prompts, worked examples and metrics are the harness's; a chat template is not applied. Metrics that are not a mean
    over items stand in the settings, without an interval.

    Args:
        name: of a task, group or tag, or a path of a task file.
        include: folders with further task files.
        bench: who is evaluated.

    Raises:
        FedLLMError: the harness is not installed, or knows no such task.
        DataError: the task's data are not here.
    """
    harness = needed("lm_eval", "evaluation", name)
    getLogger("lm_eval").setLevel(ERROR)  # it warns of settings that are its own files'
    tasks = _loaded(name, include)
    chosen = {task: _drawn(len(found.eval_docs), bench, name, task) for task, found in tasks.items()}
    params, benchmark = bench.engine.stack(bench.candidates), harness_benchmark(name)
    for at, candidate in enumerate(bench.candidates):
        facts = [bench.engine.scored_by(candidate), harness.__version__, _configs(tasks), chosen]
        parts = {
            task: partial(_records, bench, params, at, task, tasks[task], numbers) for task, numbers in chosen.items()
        }
        found = kept(candidate.folder / "answers" / benchmark, facts, parts, bench.progress, "tasks")
        rows = [record for own in found.values() for record in own]
        items = [
            ItemScore(harness_metric(benchmark, row["metric"], row["up"]), row["item"], row["score"], "", row["task"])
            for row in rows
            if "item" in row
        ]
        settings = {"harness": f"lm-eval {harness.__version__}", "task": name}
        whole = {row["task"]: row["results"] for row in rows if "results" in row}
        yield bench.scores(benchmark, Said(candidate, (), (), ""), items, **settings, results=whole)


def require_task(name: str, include: Sequence[Path]) -> None:
    """Refuse a name that the harness does not know, before a model is loaded.

    Args:
        name: see `harness_task`.
        include: see `harness_task`.

    Raises:
        FedLLMError: the harness is not installed, or knows no such task; the nearest names are told.
    """
    needed("lm_eval", "evaluation", name)
    getLogger("lm_eval").setLevel(ERROR)
    _manager(name, include)


def _loaded(name: str, include: Sequence[Path]) -> dict[str, Any]:
    """Tasks by name, with their data."""
    manager = _manager(name, include)
    try:
        tasks: dict[str, Any] = manager.load([name])["tasks"]
    except Exception as error:  # whatever its loader of data, and code of tasks, may raise
        raise DataError(
            f"{name}: its data cannot be loaded ({type(error).__name__}: {str(error)[:200]})",
            "it needs the model hub's data; a task file of yours may name files on disk: --task-folder DIR",
        ) from error
    unsafe = [task for task, found in tasks.items() if getattr(found, "UNSAFE_CODE", False)]
    if unsafe:
        raise FedLLMError(
            f"{', '.join(unsafe)} runs programs that models write, and the harness has no sandbox",
            "--suite humaneval runs them in one",
        )
    for found in tasks.values():
        found.set_fewshot_seed(seed=FEW_SHOT_SEED)
    return tasks


def _manager(name: str, include: Sequence[Path]) -> Any:
    """What knows the task: the user's folders, or all that the harness has, which takes seconds to look through.

    Raises:
        FedLLMError: nothing does.
    """
    import lm_eval
    from lm_eval.tasks import TaskManager

    own = tuple(str(folder) for folder in include)
    if own and name in (manager := TaskManager(include_path=list(own), include_defaults=False)).task_index:
        return manager
    manager = _all_tasks(own)
    if name in manager.task_index or Path(name).is_file():
        return manager
    near = difflib.get_close_matches(name, manager.all_tasks, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else "lm-eval ls tasks lists them; yours: --task-folder DIR"
    raise FedLLMError(f"lm-evaluation-harness {lm_eval.__version__} has no task {name!r}", hint)


@cache  # it takes seconds, and a task is looked up when the command begins and when its turn comes
def _all_tasks(folders: tuple[str, ...]) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=list(folders) or None)


def _drawn(count: int, bench: Bench, name: str, task: str) -> list[int]:
    """Numbers of the items that are asked: all, or so many of each task as the user wants, drawn by seed."""
    limit = bench.options.limit(harness_benchmark(name))
    if limit is None or limit >= count:
        return list(range(count))
    order = rng.stream(bench.options.seed, "limit", "harness", task).permutation(count)
    return sorted(order[:limit].tolist())


def _configs(tasks: Mapping[str, Any]) -> dict[str, str]:
    """What a task is, its data aside."""
    return {name: json.dumps(task.dump_config(), sort_keys=True, default=repr) for name, task in tasks.items()}


def _records(bench: Bench, params: Any, at: int, name: str, task: Any, chosen: Sequence[int]) -> list[dict[str, Any]]:
    """What the harness makes of a task: a record for each item and metric, then its own numbers of the whole."""
    from lm_eval.evaluator import evaluate

    from fedllm_bench.model.harness import HarnessModel

    random.seed(0)  # code of tasks may draw from it
    model = HarnessModel(bench.engine.model, params, at, bench.progress)
    one: Any = {"tasks": {name: task}, "groups": {}, "group_map": {}}
    try:
        found: Any = evaluate(model, one, samples={name: list(chosen)}, bootstrap_iters=0)
    except ImportError as error:
        raise FedLLMError(f"{name} needs a package that is missing ({error})", "pip install it") from error
    results = {key: value for key, value in found["results"][name].items() if isinstance(value, int | float)}
    return [*_items(name, found), {"task": name, "results": results}]


def _items(name: str, found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """An item for each question and metric; a filter of answers that is not the usual one is part of the name."""
    up = found["higher_is_better"].get(name, {})
    for sample in found["samples"][name]:
        rule = "" if sample["filter"] == "none" else f", {sample['filter']}"
        for metric in sample["metrics"]:
            if isinstance(sample[metric], bool | int | float):
                yield {
                    "task": name,
                    "item": f"{name}/{sample['doc_id']}",
                    "metric": f"{metric}{rule}",
                    "up": up.get(metric) is not False,
                    "score": float(sample[metric]),
                }
