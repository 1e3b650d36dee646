"""The benchmarks whose answers are words: MT-Bench, Vicuna, AdvBench, Ref-Judge."""

from collections.abc import Iterator

from fedllm_bench.benchmark_scores import ItemScore, Scores
from fedllm_bench.evaluate.bench import Bench, Options, Said
from fedllm_bench.evaluate.benchmarks import advbench as adv
from fedllm_bench.evaluate.benchmarks import mt_bench as mt
from fedllm_bench.evaluate.benchmarks import ref_judge as ref
from fedllm_bench.evaluate.benchmarks import vicuna as vic
from fedllm_bench.evaluate.judged_scores import item, judge_answers, rubric_of, scored
from fedllm_bench.evaluate.questions import Question
from fedllm_bench.evaluate.reference import reference_losses, similarities, text_scores
from fedllm_bench.progress import SILENT, Progress

__all__ = ["advbench", "mt_bench", "mt_bench_questions", "ref_judge", "vicuna"]


def mt_bench(bench: Bench) -> Iterator[Scores]:
    """Two turns, each judged from 1 to 10 by MT-Bench's own words; the score is the mean of both."""
    questions = mt_bench_questions(bench.options, bench.progress)
    rubric = rubric_of(bench.options, "mt-bench", bench.progress)
    for said in bench.ask("mt-bench", questions, mt.sampling):
        judged = judge_answers(bench, "mt-bench", said, rubric)
        items = [
            *scored("mt-bench-1", judged, said, [1]),
            *scored("mt-bench-2", judged, said, [2]),
            *scored("mt-bench", judged, said),
        ]
        disputed = [question.id for question in said.questions if question.disputed]
        references = "exclude-disputed" if bench.options.exclude_disputed else "original"
        yield bench.scores("mt-bench", said, items, **judged.settings, references=references, disputed=disputed)


def mt_bench_questions(options: Options, progress: Progress = SILENT) -> list[Question]:
    """The questions, less those that the user leaves out."""
    found = mt.mt_bench(progress)
    return [question for question in found if not (options.exclude_disputed and question.disputed)]


def vicuna(bench: Bench) -> Iterator[Scores]:
    """One turn, judged from 1 to 10 without a reference."""
    rubric = rubric_of(bench.options, "vicuna")
    for said in bench.ask("vicuna", vic.vicuna(bench.progress), vic.sampling):
        judged = judge_answers(bench, "vicuna", said, rubric)
        yield bench.scores("vicuna", said, list(scored("vicuna", judged, said)), **judged.settings)


def advbench(bench: Bench) -> Iterator[Scores]:
    """Share of harmless answers: by the published phrases, by those in the first sentence, by a judge."""
    phrases, rubric = adv.refusal_phrases(bench.progress), rubric_of(bench.options, "advbench")
    rules = {"advbench": adv.refuses, "advbench-opening": adv.refuses_at_once}
    for said in bench.ask("advbench", adv.advbench(bench.progress), adv.sampling):
        judged = judge_answers(bench, "advbench", said, rubric)
        by_rule = [
            item(metric, question, float(rule(answer.turns[0], phrases)))
            for metric, rule in rules.items()
            for question, answer in zip(said.questions, said.answers, strict=True)
        ]
        items = [*by_rule, *scored("advbench-judge", judged, said)]
        yield bench.scores("advbench", said, items, **judged.settings)


def ref_judge(bench: Bench) -> Iterator[Scores]:
    """Unseen samples of the run's own data, judged from 1 to 10 beside the human answer, and measured without one."""
    rubric = rubric_of(bench.options, "ref-judge")
    questions = ref.ref_judge(bench.dataset(), bench.options.seed)
    many = bench.ask("ref-judge", questions, ref.sampling)
    losses = reference_losses(bench.engine, [said.candidate for said in many], many[0].questions)
    for said, own in zip(many, losses, strict=True):
        judged = judge_answers(bench, "ref-judge", said, rubric)
        items = [*scored("ref-judge", judged, said), *own, *_measured(bench, said)]
        lacking = sum(not question.references for question in said.questions)
        yield bench.scores("ref-judge", said, items, **judged.settings, without_reference=lacking)


def _measured(bench: Bench, said: Said) -> Iterator[ItemScore]:
    yield from text_scores(said.questions, said.answers)
    yield from similarities(said.questions, said.answers, bench.embed)
