"""The table of benchmarks: a new one is a new row."""

from collections.abc import Callable, Iterable

from fedllm_bench.benchmark_scores import Scores
from fedllm_bench.evaluate import chat, humaneval, mmlu
from fedllm_bench.evaluate.bench import Bench

__all__ = ["EVALUATIONS", "Benchmark"]

# From what is evaluated to the scores of each candidate, in their order.
Benchmark = Callable[[Bench], Iterable[Scores]]

EVALUATIONS: dict[str, Benchmark] = {
    "mt-bench": chat.mt_bench,
    "vicuna": chat.vicuna,
    "advbench": chat.advbench,
    "ref-judge": chat.ref_judge,
    "mmlu": mmlu.mmlu,
    "humaneval": humaneval.humaneval,
}
