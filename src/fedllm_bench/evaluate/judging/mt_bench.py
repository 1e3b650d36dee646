"""MT-Bench's own words to its judge, from its asset."""

import json

from fedllm_bench import assets
from fedllm_bench.evaluate.judging.rubric import Rubric
from fedllm_bench.progress import SILENT, Progress

__all__ = ["mt_bench_rubric"]


def mt_bench_rubric(progress: Progress = SILENT) -> Rubric:
    """Single-answer grading: one template for each turn, with and without a reference (Zheng et al. 2023)."""
    text = assets.locate("mt-bench-judge-prompts", progress).read_text(encoding="utf-8")
    rows = {row["name"]: row for row in map(json.loads, text.splitlines())}

    def words(name: str) -> tuple[str, str]:
        return rows[name]["system_prompt"], rows[name]["prompt_template"]

    return Rubric(
        name="mt-bench",
        version="single-v1.2",  # theirs, with our reminder and taming
        plain=rows["single-v1"]["prompt_template"],
        with_reference=rows["single-math-v1"]["prompt_template"],
        system=rows["single-v1"]["system_prompt"],
        later=(words("single-v1-multi-turn"), words("single-math-v1-multi-turn")),
    )
