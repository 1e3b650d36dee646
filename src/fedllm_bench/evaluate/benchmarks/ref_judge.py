"""Ref-Judge, the paper's Ref-GPT4 (section 3.4): unseen samples of the run's own dataset with their answers."""

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterator

from fedllm_bench import rng
from fedllm_bench.data.texts import answered, content_key
from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.benchmarks.test_sets import TEST_SETS, code_of, official
from fedllm_bench.evaluate.questions import Question
from fedllm_bench.examples import Example, FederatedDataset
from fedllm_bench.model.sampling import Sampling

__all__ = ["ref_judge", "sampling"]

BY_LANGUAGE = ("fed-aya", "fed-aya-wide")  # the paper reports each language by itself

Ranked = dict[int, Question]  # a sample's place in the draw tells it from all that say something else


def ref_judge(dataset: FederatedDataset, seed: int = 0, count: int = 50, per_language: int = 20) -> list[Question]:
    """The paper's own test set where a copy is below FEDLLM_BENCH_DATA, else samples that no client trains on.

    They are drawn from the held-out parts of all clients: so many, or of Fed-Aya so many of each language. What also
    stands in the training part of any client, word for word, is left out; of preferences both answers count. Whether a
    sample is drawn depends on the seed and on what it says, not on who holds it. The last turn of the user is asked,
    what comes before is history, and the answer, or the preferred one of two, is the reference.

    Args:
        dataset: of the run, with all its clients; it is read twice, one client at a time.
        seed: draws the samples.
        count: of samples.
        per_language: samples of each language of Fed-Aya.

    Raises:
        DataError: nothing is held out, or all that is held out is trained on, too.
    """
    own = official(dataset.name)
    if own is not None:
        return own
    apart = dataset.name in BY_LANGUAGE
    most = per_language if apart else count
    seen: set[int] = set()
    while drawn := _drawn(dataset, seed, most, apart, seen):
        trained = _trained_on(dataset, seed, drawn)
        if not trained:
            return list(drawn.values())
        seen |= trained
    raise _nothing(dataset, trained_on=bool(seen))


def sampling(question: Question) -> Sampling:
    """As the paper's scripts have it."""
    return Sampling(0.7, 1024)


def _drawn(dataset: FederatedDataset, seed: int, most: int, apart: bool, but: Collection[int]) -> Ranked:
    """The held-out samples whose rank is lowest; no more than these, and one client, are held in memory."""
    groups: dict[str, Ranked] = defaultdict(dict)
    for client in map(dataset.load, range(len(dataset))):
        for example in client.test:
            question = _question(example, client.meta.get("language", ""))
            rank = _rank(example, seed)
            if question is not None and rank not in but:
                groups[question.language if apart else ""][rank] = question
        for name, group in groups.items():
            groups[name] = {rank: group[rank] for rank in heapq.nsmallest(most, group)}
    return {rank: question for name in sorted(groups) for rank, question in groups[name].items()}


def _trained_on(dataset: FederatedDataset, seed: int, drawn: Ranked) -> set[int]:
    """Which of the drawn samples some client trains on."""
    return {rank for rank in _training_ranks(dataset, seed) if rank in drawn}


def _training_ranks(dataset: FederatedDataset, seed: int) -> Iterator[int]:
    for client in map(dataset.load, range(len(dataset))):
        yield from (_rank(example, seed) for example in client.train)


def _rank(example: Example, seed: int) -> int:
    """A sample's place in the draw: equal ones have the same, whatever their ids."""
    return rng.integer(seed, "ref-judge", content_key(example).hex())


def _question(example: Example, language: str) -> Question | None:
    """None where the last answer follows no words of the user."""
    *before, answer = answered(example).turns
    if not before or before[-1].role != "user" or not before[-1].content.strip():
        return None
    return Question(
        id=example.id,
        turns=(before[-1].content,),
        category=example.meta.get("category", ""),
        language=code_of(example.meta.get("language", language)),
        references=(answer.content,) if answer.content.strip() else (),
        history=tuple(before[:-1]),
    )


def _nothing(dataset: FederatedDataset, *, trained_on: bool) -> DataError:
    why = "every held-out sample is also trained on" if trained_on else "no samples are held out"
    known = TEST_SETS.get(dataset.name)
    copy = f", or bring the paper's test set as {known.file} below the folder FEDLLM_BENCH_DATA" if known else ""
    return DataError(
        f"{dataset.name}: {why}, so that Ref-Judge has none that no client trained on",
        f"run the experiment with a larger data.held_out{copy}",
    )
