"""Vicuna's benchmark: 80 questions of one turn (Chiang et al. 2023)."""

import json

from fedllm_bench import assets
from fedllm_bench.data.raw import data_folder, find
from fedllm_bench.evaluate.questions import Question
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.progress import SILENT, Progress

__all__ = ["sampling", "vicuna"]

OWN_COPY = "mt_bench/vicuna_question.jsonl"  # below FEDLLM_BENCH_DATA


def vicuna(progress: Progress = SILENT) -> list[Question]:
    """The questions; no package has them: they are had from their public repository, or from a copy of the user's."""
    path = find(OWN_COPY, (data_folder(),)) or assets.locate("vicuna-questions", progress)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Question(str(row["question_id"]), tuple(row["turns"]), row["category"], "en") for row in rows]


def sampling(question: Question) -> Sampling:
    """As the paper's scripts have it."""
    return Sampling(0.7, 2048)
