"""HumanEval (Chen et al. 2021): functions completed by a model, and checked by their tests in a sandbox."""

import gzip
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean
from typing import Any

from fedllm_bench import assets
from fedllm_bench.benchmark_scores import ItemScore, Scores
from fedllm_bench.evaluate.bench import Bench, Said
from fedllm_bench.evaluate.kept import kept
from fedllm_bench.evaluate.programs import program_of
from fedllm_bench.evaluate.questions import Question
from fedllm_bench.evaluate.sandbox.cell import Limits
from fedllm_bench.evaluate.sandbox.run import Problem, kind_of_sandbox, run_many
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.progress import SILENT, Progress

__all__ = ["Task", "humaneval", "pass_at", "questions_of", "sampling", "tasks"]

ASKED = (
    "Complete this Python function. Reply with the whole function in one code block, without tests or explanation."
    "\n\n```python\n{prompt}```"
)
AT_ONCE = 16  # programs whose outcomes are written together
SEVERAL = 0.8  # temperature where a problem has several answers, as in the benchmark's paper


@dataclass(frozen=True, slots=True)
class Task:
    """A function to be written.

    Args:
        id: such as HumanEval/0.
        prompt: its head, with what it says of itself, after what it may use.
        function: its name.
        test: text with `check(candidate)`.
        solution: the authors' own body.
    """

    id: str
    prompt: str
    function: str
    test: str
    solution: str


def tasks(progress: Progress = SILENT) -> list[Task]:
    """The 164 problems."""
    with gzip.open(assets.locate("humaneval", progress), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        Task(row["task_id"], row["prompt"], row["entry_point"], row["test"], row["canonical_solution"]) for row in rows
    ]


def humaneval(bench: Bench) -> Iterator[Scores]:
    """pass@1 for each candidate: the share of answers that stand all tests of their problem."""
    kind = "none" if bench.options.unsandboxed else kind_of_sandbox()
    known = {task.id: task for task in tasks(bench.progress)}
    copies = bench.options.samples
    for said in bench.ask("humaneval", questions_of(known.values()), partial(sampling, copies), copies):
        of = [known[question.id.partition("#")[0]] for question in said.questions]
        outcomes = _outcomes(bench, said, of, kind)
        right: dict[str, int] = dict.fromkeys((task.id for task in of), 0)
        for task, outcome in zip(of, outcomes, strict=True):
            right[task.id] += outcome["passed"]
        items = [ItemScore("humaneval", id, pass_at(copies, count, 1), language="en") for id, count in right.items()]
        reasons = Counter(outcome["reason"] for outcome in outcomes if not outcome["passed"])
        settings = {"sandbox": kind, "samples": copies, "pass_at": _pass_at(right, copies), "failures": dict(reasons)}
        yield bench.scores("humaneval", said, items, **settings)


def questions_of(tasks: Iterable[Task]) -> list[Question]:
    """What a model is asked for each problem."""
    return [Question(task.id, (ASKED.format(prompt=task.prompt),), "", "en") for task in tasks]


def _outcomes(bench: Bench, said: Said, of: Sequence[Task], kind: str) -> list[dict[str, Any]]:
    """Whether each answer's program passed, and why not; kept, since checking takes time."""
    problems = [
        Problem(program_of(task.prompt, task.function, answer.turns[0]), task.function, task.prompt, task.test)
        for task, answer in zip(of, said.answers, strict=True)
    ]
    limits = Limits()
    starts = range(0, len(problems), AT_ONCE)
    parts = {str(at): partial(_checked, problems[at : at + AT_ONCE], limits, kind) for at in starts}
    facts = [asdict(limits), kind, [asdict(problem) for problem in problems]]
    found = kept(said.candidate.folder / "answers" / "humaneval", facts, parts, bench.progress, "parts of programs")
    return [outcome for own in found.values() for outcome in own]


def _checked(problems: Sequence[Problem], limits: Limits, kind: str) -> list[dict[str, Any]]:
    return [asdict(outcome) for outcome in run_many(problems, limits, kind)]


def pass_at(count: int, right: int, k: int) -> float:
    """The chance that one of k answers is right, without bias: 1 - C(n - c, k) / C(n, k).

    Args:
        count: n, answers to a problem.
        right: c of them.
        k: drawn without putting back, at most n.
    """
    return 1.0 - math.comb(count - right, k) / math.comb(count, k)


def _pass_at(right: Mapping[str, int], copies: int) -> dict[str, float]:
    """pass@k in percent for each k that so many answers allow."""
    ks = [k for k in (1, 10, 100) if k <= copies]
    return {str(k): 100 * fmean(pass_at(copies, count, k) for count in right.values()) for k in ks}


def sampling(copies: int, question: Question) -> Sampling:
    """The likeliest answer where there is one, different ones where there are several."""
    return Sampling(0.0 if copies == 1 else SEVERAL, 512)
