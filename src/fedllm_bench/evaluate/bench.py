"""What every benchmark of an evaluation is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedllm_bench import rng
from fedllm_bench.benchmark_scores import METRICS, ItemScore, Scores
from fedllm_bench.evaluate.answering import answer, answers_file
from fedllm_bench.evaluate.engine import Candidate, Engine
from fedllm_bench.evaluate.judging.judge import Judge, told_of_judge
from fedllm_bench.evaluate.judging.judged import Budget
from fedllm_bench.evaluate.judging.rubric import Rubric
from fedllm_bench.evaluate.questions import Answer, Question
from fedllm_bench.examples import FederatedDataset
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.progress import SILENT, Progress

__all__ = ["JUDGED", "Bench", "Embed", "Options", "Said", "asked_of", "some"]

JUDGED = frozenset(metric.benchmark for metric in METRICS.values() if metric.judged)

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Options:
    """What a user chooses.

    Args:
        seed: draws questions and answers.
        limits: most questions by benchmark (of a subject: MMLU); the key "" is for all others.
        judge: None leaves judged metrics unscored.
        rubrics: of the user, by name.
        budget: of the judge.
        exclude_disputed: leave out MT-Bench's questions whose reference is disputed.
        max_new_tokens: most tokens of an answer; None for each benchmark's own number.
        samples: of each HumanEval problem; pass@k is estimated for k = 1.
        unsandboxed: run generated programs without a sandbox.
        engine: what makes answers: `own` or `vllm`.
        tell: says a line to the user, such as what judging will take.
    """

    seed: int = 0
    limits: Mapping[str, int] = field(default_factory=dict)
    judge: Judge | None = None
    rubrics: Mapping[str, Rubric] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    exclude_disputed: bool = False
    max_new_tokens: int | None = None
    samples: int = 1
    unsandboxed: bool = False
    engine: str = "own"
    tell: Callable[[str], object] = lambda line: None

    def limit(self, benchmark: str) -> int | None:
        """Most questions of a benchmark."""
        return self.limits.get(benchmark, self.limits.get(""))


@dataclass(frozen=True)
class Said:
    """A candidate's answers to a benchmark.

    Args:
        candidate: who.
        questions: in order.
        answers: to each.
        file: that holds them.
    """

    candidate: Candidate
    questions: Sequence[Question]
    answers: Sequence[Answer]
    file: str


@dataclass(frozen=True)
class Bench:
    """Who is evaluated, with what.

    Args:
        engine: model and codec.
        candidates: base and runs.
        dataset: of the runs.
        embed: embeddings of texts; None where no embedder is here.
        options: of the user.
        cache: the cache folder.
        progress: shows what is done.
    """

    engine: Engine
    candidates: Sequence[Candidate]
    dataset: Callable[[], FederatedDataset]
    embed: Embed | None
    options: Options
    cache: Path
    progress: Progress = SILENT

    def ask(
        self, benchmark: str, questions: Sequence[Question], sampling: Callable[[Question], Sampling], copies: int = 1
    ) -> list[Said]:
        """Every candidate's answers to some of the questions, as many as the user wants; several to each with copies.

        See `asked_of`. A judge of what is still to be written is asked first whether it is there.
        """
        asked, seed = asked_of(benchmark, questions, sampling, self.options, copies), self.options.seed
        files = [answers_file(benchmark, asked, each, self.engine.identity, seed) for each in self.candidates]
        judge = self.options.judge
        if judge is not None and benchmark in JUDGED and not all(file.exists() for file in files):
            with told_of_judge():
                judge.ready()
        answers = answer(benchmark, asked, self.candidates, self.engine, seed, self.progress)
        chosen = [question for question, _ in asked]
        return [
            Said(each, chosen, answers[each.folder], file.name)
            for each, file in zip(self.candidates, files, strict=True)
        ]

    def scores(self, benchmark: str, said: Said, items: Sequence[ItemScore], **settings: object) -> Scores:
        """A candidate's scores with what decided them."""
        own = {
            "seed": self.options.seed,
            "limit": self.options.limit(benchmark),
            "max_new_tokens": self.options.max_new_tokens,
            "answers": said.file,
            "cut": sum(not all(each.stopped) for each in said.answers),
            **self.engine.identity,
        }
        return Scores(benchmark, tuple(items), {**own, **settings})


def asked_of(
    benchmark: str,
    questions: Sequence[Question],
    sampling: Callable[[Question], Sampling],
    options: Options,
    copies: int = 1,
) -> list[tuple[Question, Sampling]]:
    """As many of the questions as the user wants, with how their answers are drawn.

    Args:
        benchmark: its name.
        questions: of it.
        sampling: by the benchmark's own rule.
        options: of the user.
        copies: of each question; the id of one ends in `#` and its number, from 0.
    """
    chosen = some(questions, options.limit(benchmark), options.seed, benchmark)
    if copies > 1:
        chosen = [replace(question, id=f"{question.id}#{copy}") for question in chosen for copy in range(copies)]
    return [(question, _capped(sampling(question), options.max_new_tokens)) for question in chosen]


def some(questions: Sequence[Question], limit: int | None, seed: int, benchmark: str) -> list[Question]:
    """So many questions, drawn by seed, in their own order."""
    if limit is None or limit >= len(questions):
        return list(questions)
    drawn = rng.stream(seed, "limit", benchmark).permutation(len(questions))[:limit]
    return [questions[at] for at in sorted(drawn.tolist())]


def _capped(sampling: Sampling, most: int | None) -> Sampling:
    new = sampling.max_new_tokens if most is None else min(most, sampling.max_new_tokens)
    return Sampling(sampling.temperature, new, sampling.top_p)
