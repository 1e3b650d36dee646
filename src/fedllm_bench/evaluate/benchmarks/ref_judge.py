"""Ref-Judge, the paper's Ref-GPT4 (section 3.4): unseen samples of the run's own dataset with their answers."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fedllm_bench import rng
from fedllm_bench.data.raw import data_folder, find
from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.questions import Question
from fedllm_bench.examples import Example, FederatedDataset, PreferenceExample
from fedllm_bench.model.sampling import Sampling

__all__ = ["official_aya", "ref_judge", "sampling"]

AYA = "fedllm_bench_testsets/aya_eval_8lang_x20.json"  # below FEDLLM_BENCH_DATA
CODES = {
    "Standard_Arabic": "ar",
    "English": "en",
    "Simplified_Chinese": "zh",
    "Portuguese": "pt",
    "Telugu": "te",
    "Russian": "ru",
    "French": "fr",
    "Spanish": "es",
}
BY_LANGUAGE = ("fed-aya", "fed-aya-wide")


def ref_judge(dataset: FederatedDataset, seed: int = 0, count: int = 50, per_language: int = 20) -> list[Question]:
    """Samples drawn from the held-out parts of all clients, which no client trains on.

    Fed-Aya has the paper's own test set where a copy of it is below FEDLLM_BENCH_DATA; else, as every dataset with
    languages that is named so, so many of each language.

    Args:
        dataset: of the run.
        seed: draws the samples.
        count: of samples.
        per_language: samples of each language of Fed-Aya.

    Raises:
        DataError: nothing is held out.
    """
    own = find(AYA, (data_folder(),))
    if own is not None and dataset.name in BY_LANGUAGE:
        return official_aya(own)
    held_out = [
        (example, client.meta.get("language", ""))
        for client in (dataset.load(at) for at in range(len(dataset)))
        for example in client.test
    ]
    if not held_out:
        raise DataError(
            f"{dataset.name}: no samples are held out, so that Ref-Judge has none that no client trained on",
            "run the experiment with data.held_out above 0",
        )
    order = rng.stream(seed, "ref-judge", dataset.fingerprint).permutation(len(held_out))
    questions = [_question(*held_out[at]) for at in order]
    return list(_some_of_each(questions, per_language)) if dataset.name in BY_LANGUAGE else questions[:count]


def official_aya(path: Path) -> list[Question]:
    """The paper's test set of Fed-Aya: 20 of each of eight languages."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [
        Question(f"{CODES[name]}-{number}", (row["instruction"],), "", CODES[name], (row["reference"],))
        for name, rows in content.items()
        for number, row in enumerate(rows)
    ]


def sampling(question: Question) -> Sampling:
    """As the paper's scripts have it."""
    return Sampling(0.7, 1024)


def _some_of_each(questions: list[Question], count: int) -> Iterator[Question]:
    taken: dict[str, int] = defaultdict(int)
    for question in questions:
        taken[question.language] += 1
        if taken[question.language] <= count:
            yield question


def _question(example: Example, language: str) -> Question:
    """The last turn of the user is asked, what comes before is history, the answer is the reference."""
    if isinstance(example, PreferenceExample):
        before, reference = example.prompt, example.chosen
    else:
        before, reference = example.turns[:-1], example.turns[-1].content
    *history, last = before
    return Question(
        id=example.id,
        turns=(last.content,),
        category=example.meta.get("category", ""),
        language=example.meta.get("language", language),
        references=(reference,) if reference.strip() else (),
        history=tuple(history),
    )
