"""What an evaluation would take, told before a model is loaded or a judge is asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fedllm_bench import assets
from fedllm_bench.analysis.frames import Run
from fedllm_bench.candidates import Group, dataset_of, groups_of
from fedllm_bench.errors import FedLLMError
from fedllm_bench.evaluate import humaneval as code
from fedllm_bench.evaluate.answering import answers_file, read_answers
from fedllm_bench.evaluate.bench import JUDGED, Options, asked_of
from fedllm_bench.evaluate.benchmarks import advbench, mt_bench, ref_judge, vicuna
from fedllm_bench.evaluate.chat import mt_bench_questions
from fedllm_bench.evaluate.engine import OwnWriter
from fedllm_bench.evaluate.judged_scores import rubric_of
from fedllm_bench.evaluate.judging.budget import BYTES_A_TOKEN, Messages
from fedllm_bench.evaluate.judging.cache import unheard
from fedllm_bench.evaluate.judging.judge import Ask
from fedllm_bench.evaluate.judging.rubric import turns_of
from fedllm_bench.evaluate.mmlu import drawn, mmlu_data
from fedllm_bench.evaluate.questions import Answer, Question
from fedllm_bench.evaluate.sandbox.run import kind_of_sandbox
from fedllm_bench.model.base import device_and_dtype
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.model.source import fingerprint, resolve
from fedllm_bench.progress import SILENT, Progress

__all__ = ["Planned", "plan_runs"]

Asked = list[tuple[Question, Sampling]]


@dataclass(frozen=True)
class Planned:
    """One benchmark on the models that answer together.

    Args:
        benchmark: its name.
        base: that the models share.
        models: how many.
        questions: that each is asked; None where nobody knows before the data are loaded.
        answers: that each writes, one for a turn; None where none is written.
        most_new_tokens: of an answer.
        answered: models whose answers are there.
        requests: to the judge that are still to be sent; None without one.
        missing: why the benchmark could not run; empty where it could.
        hint: the way out of that.
    """

    benchmark: str
    base: str
    models: int
    questions: int | None = None
    answers: int | None = None
    most_new_tokens: int | None = None
    answered: int | None = None
    requests: tuple[Messages, ...] | None = None
    missing: str = ""
    hint: str = ""


def plan_runs(
    runs: Sequence[Run], benchmarks: Sequence[str], options: Options, progress: Progress = SILENT
) -> list[Planned]:
    """What benchmarks would take on finished runs and on their base models.

    What a judge would be told of answers that are not there yet is as long as it can be.

    Args:
        runs: that are finished.
        benchmarks: by name.
        options: of the user.
        progress: shows what is fetched and read.
    """
    return [_planned(benchmark, group, options, progress) for group in groups_of(runs) for benchmark in benchmarks]


def _planned(benchmark: str, group: Group, options: Options, progress: Progress) -> Planned:
    base, models = group.experiment.model.base, len(group.candidates)
    try:
        if benchmark == "mmlu":
            return Planned(benchmark, base, models, questions=_mmlu_questions(options, progress))
        if benchmark not in QUESTIONS:  # a task of lm-evaluation-harness, which loads its own data
            return Planned(benchmark, base, models)
        return _written(benchmark, group, options, progress)
    except FedLLMError as error:
        return Planned(benchmark, base, models, missing=error.message, hint=error.hint or "")


def _written(benchmark: str, group: Group, options: Options, progress: Progress) -> Planned:
    """A benchmark that models answer in words."""
    asked = QUESTIONS[benchmark](_Source(group, options, progress))
    answers = _answers(benchmark, asked, group, options)
    return Planned(
        benchmark,
        group.experiment.model.base,
        len(answers),
        questions=len({question.id.partition("#")[0] for question, _ in asked}),
        answers=sum(len(question.turns) for question, _ in asked),
        most_new_tokens=max(sampling.max_new_tokens for _, sampling in asked),
        answered=sum(own is not None for own in answers),
        requests=_requests(benchmark, asked, answers, options, progress) if benchmark in JUDGED else None,
    )


# --- the questions


@dataclass(frozen=True)
class _Source:
    """Where questions come from."""

    group: Group
    options: Options
    progress: Progress

    def asked(self, name: str, questions: Sequence[Question], how: Callable[[Question], Sampling]) -> Asked:
        return asked_of(name, questions, how, self.options)


def _ref_judge(source: _Source) -> Asked:
    dataset = dataset_of(source.group.experiment, source.progress)
    return source.asked("ref-judge", ref_judge.ref_judge(dataset, source.options.seed), ref_judge.sampling)


def _humaneval(source: _Source) -> Asked:
    if not source.options.unsandboxed:
        kind_of_sandbox()  # where there is none, it says so
    questions, copies = code.questions_of(code.tasks(source.progress)), source.options.samples
    return asked_of("humaneval", questions, partial(code.sampling, copies), source.options, copies)


# The benchmarks whose answers are written.
QUESTIONS: Mapping[str, Callable[[_Source], Asked]] = {
    "mt-bench": lambda it: it.asked("mt-bench", mt_bench_questions(it.options, it.progress), mt_bench.sampling),
    "vicuna": lambda it: it.asked("vicuna", vicuna.vicuna(it.progress), vicuna.sampling),
    "advbench": lambda it: it.asked("advbench", advbench.advbench(it.progress), advbench.sampling),
    "ref-judge": _ref_judge,
    "humaneval": _humaneval,
}


def _mmlu_questions(options: Options, progress: Progress) -> int:
    test, _ = mmlu_data(progress)
    limit = options.limit("mmlu")
    return sum(len(drawn(docs, limit, options.seed, subject)) for subject, docs in test.items())


# --- the answers and the judge


def _answers(benchmark: str, asked: Asked, group: Group, options: Options) -> list[list[Answer] | None]:
    """Each model's answers; None where they are not there."""
    if options.engine != "own":  # another engine's name is known when it has started
        return [None for _ in group.candidates]
    settings = group.experiment.model
    quantized = "" if settings.quantization == "none" else f" {settings.quantization}"
    engine = {
        "base": fingerprint(resolve(settings.base)) + quantized,
        "template": group.experiment.objective.template,
        "dtype": device_and_dtype(group.experiment.executor.device, settings.dtype)[1],
        "engine": OwnWriter().name,
    }
    files = [answers_file(benchmark, asked, candidate, engine, options.seed) for candidate in group.candidates]
    return [read_answers(file) if file.exists() else None for file in files]


def _requests(
    benchmark: str, asked: Asked, answers: Sequence[list[Answer] | None], options: Options, progress: Progress
) -> tuple[Messages, ...] | None:
    """What the judge has not replied to yet; a reply without a score is asked for once more, which is not in it."""
    judge, rubric = options.judge, rubric_of(options, benchmark, progress)
    if judge is None or not judge.takes(rubric):
        return None
    questions = [question for question, _ in asked]

    def asks(own: Sequence[Answer]) -> Iterator[Ask]:
        return (Ask(rubric.messages(item), item, rubric) for item in turns_of(questions, own))

    there = [ask for own in answers if own is not None for ask in asks(own)]
    left = unheard(assets.cache_dir() / "judgements.sqlite", judge, rubric, there)
    longest = list(asks([_longest(*each) for each in asked])) * sum(own is None for own in answers)
    return tuple(ask.messages for ask in (*left, *longest))


def _longest(question: Question, sampling: Sampling) -> Answer:
    """An answer of as many bytes as the guess of tokens takes for the most that there can be."""
    text, turns = "x" * BYTES_A_TOKEN * sampling.max_new_tokens, len(question.turns)
    return Answer(question.id, (text,) * turns, (False,) * turns, (sampling.max_new_tokens,) * turns, (False,) * turns)
