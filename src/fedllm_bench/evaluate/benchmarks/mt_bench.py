"""MT-Bench: 80 questions of two turns (Zheng et al. 2023)."""

import json
from pathlib import Path
from typing import Any

from fedllm_bench import assets
from fedllm_bench.evaluate.questions import Question
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.progress import SILENT, Progress

__all__ = ["DISPUTED", "mt_bench", "sampling"]

# Reported to be wrong: https://github.com/lm-sys/FastChat/pull/3158
DISPUTED = frozenset({104, 105, 109, 111, 113, 114, 120, 122, 124, 125, 126, 128, 130})
TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
REFERENCED = ("math", "coding", "reasoning")


def mt_bench(progress: Progress = SILENT) -> list[Question]:
    """The questions, those of mathematics, coding and reasoning with reference answers."""
    references = {
        row["question_id"]: tuple(row["choices"][0]["turns"])
        for row in _rows(assets.locate("mt-bench-references", progress))
    }
    return [
        Question(
            id=str(row["question_id"]),
            turns=tuple(row["turns"]),
            category=row["category"],
            language="en",
            references=references.get(row["question_id"], ()) if row["category"] in REFERENCED else (),
            disputed=row["question_id"] in DISPUTED,
        )
        for row in _rows(assets.locate("mt-bench-questions", progress))
    ]


def sampling(question: Question) -> Sampling:
    """The likeliest token where there is a right answer; more freedom where there is none."""
    return Sampling(TEMPERATURES.get(question.category, 0.0), 1024)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
