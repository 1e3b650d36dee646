"""Vicuna's benchmark: 80 questions of one turn (Chiang et al. 2023)."""

import json
from pathlib import Path

from fedllm_bench import assets
from fedllm_bench.assets.sources import verify
from fedllm_bench.data.raw import data_folder, find
from fedllm_bench.errors import AssetError
from fedllm_bench.evaluate.questions import Question
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.progress import SILENT, Progress

__all__ = ["sampling", "vicuna"]

ASSET = "vicuna-questions"
OWN_COPY = "mt_bench/vicuna_question.jsonl"  # below FEDLLM_BENCH_DATA


def vicuna(progress: Progress = SILENT) -> list[Question]:
    """The questions; no package has them: they are had from their public repository, or from a copy of the user's.

    Raises:
        AssetError: neither is there, or the copy is another file.
    """
    rows = [json.loads(line) for line in _file(progress).read_text(encoding="utf-8").splitlines()]
    return [Question(str(row["question_id"]), tuple(row["turns"]), row["category"], "en") for row in rows]


def sampling(question: Question) -> Sampling:
    """As the paper's scripts have it."""
    return Sampling(0.7, 2048)


def _file(progress: Progress) -> Path:
    copy = find(OWN_COPY, (data_folder(),))
    if copy is not None:
        verify(copy, assets.ASSETS[ASSET].sources[0].sha256 or "", str(copy))
        return copy
    try:
        return assets.locate(ASSET, progress)
    except AssetError as error:
        raise AssetError(
            error.message,
            f"fedllm-bench assets add {ASSET} PATH, or put it below the folder FEDLLM_BENCH_DATA as {OWN_COPY}",
        ) from error
