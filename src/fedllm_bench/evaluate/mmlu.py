"""MMLU (Hendrycks et al. 2021) by lm-evaluation-harness: its own task files, on data that need no hub."""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from fedllm_bench import assets, rng
from fedllm_bench.benchmark_scores import ItemScore, Scores
from fedllm_bench.data.raw import data_folder, find
from fedllm_bench.evaluate.bench import Bench, Said
from fedllm_bench.evaluate.kept import kept
from fedllm_bench.extras import needed
from fedllm_bench.progress import SILENT, Progress

__all__ = ["SHOTS", "drawn", "mmlu", "mmlu_data", "run_tasks"]

SHOTS = 5
LETTERS = "ABCD"
OWN_TEST, OWN_DEV = "mmlu/test.jsonl.gz", "mmlu/dev.jsonl.gz"  # below FEDLLM_BENCH_DATA
EXAMPLE = re.compile(
    r"Q: (?P<question>.*?)\n\(A\)(?P<a>.*?)\s\(B\)(?P<b>.*?)\s\(C\)(?P<c>.*?)\s\(D\)(?P<d>.*?)\n"
    r"A: Let's think step by step\..*?The (?:correct )?answer is \(?(?P<answer>[ABCD])\b",
    re.DOTALL,
)

Doc = dict[str, Any]
Split = Mapping[str, Sequence[Doc]]  # by subject


def mmlu(bench: Bench) -> Iterator[Scores]:
    """Share of questions whose right letter is the likeliest of four after five worked examples, for each candidate."""
    harness = needed("lm_eval", "evaluation", "MMLU")
    getLogger("lm_eval").setLevel(ERROR)  # it warns of settings that are its own files'
    test, dev = mmlu_data(bench.progress)
    limit, seed = bench.options.limit("mmlu"), bench.options.seed
    chosen = {subject: drawn(docs, limit, seed, subject) for subject, docs in test.items()}
    shots = min(len(docs) for docs in dev.values())
    params = bench.engine.stack(bench.candidates)
    for at, candidate in enumerate(bench.candidates):
        facts = [bench.engine.scored_by(candidate), harness.__version__, chosen, dev]
        parts = {
            subject: partial(_records, bench, params, at, {subject: docs}, dev) for subject, docs in chosen.items()
        }
        found = kept(candidate.folder / "answers" / "mmlu", facts, parts, bench.progress, "subjects")
        items = [ItemScore(**record) for own in found.values() for record in own]
        settings = {"harness": f"lm-eval {harness.__version__}", "shots": SHOTS, "fewest_shots": shots}
        yield bench.scores("mmlu", Said(candidate, (), (), ""), items, **settings)


def _records(bench: Bench, params: Any, at: int, test: Split, dev: Split) -> list[dict[str, Any]]:
    return [asdict(item) for item in run_tasks(bench.engine.model, params, at, test, dev)]


def run_tasks(
    model: Any, params: Any, adapter: int, test: Split, dev: Split, progress: Progress = SILENT
) -> list[ItemScore]:
    """The harness's own MMLU tasks on these questions: an item for each, and one in its group of subjects.

    Args:
        model: the base with adapter sites.
        params: stacked adapters; None for the base alone.
        adapter: position in the stack.
        test: questions by subject.
        dev: worked examples by subject.
        progress: shows the requests.
    """
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate

    from fedllm_bench.model.harness import HarnessModel

    tasks, groups = {}, {}
    for subject, docs in test.items():
        splits = {"test": Dataset.from_list(list(docs)), "dev": Dataset.from_list(list(dev[subject]))}
        config = _task_file(subject)
        groups[subject] = "mmlu-" + config["tag"].removeprefix("mmlu_").removesuffix("_tasks").replace("_", "-")
        config["custom_dataset"] = lambda splits=splits, **_: DatasetDict(splits)
        tasks[subject] = ConfigurableTask(config={**config, "num_fewshot": min(SHOTS, len(dev[subject]))})
    found = evaluate(HarnessModel(model, params, adapter, progress), tasks, bootstrap_iters=0, log_samples=True)
    assert found is not None
    return [
        ItemScore(metric, f"{subject}/{sample['doc']['id']}", float(sample["acc"]), "", subject, "en")
        for subject, samples in found["samples"].items()
        for sample in samples
        for metric in ("mmlu", groups[subject])
    ]


def mmlu_data(progress: Progress = SILENT) -> tuple[dict[str, list[Doc]], dict[str, list[Doc]]]:
    """Questions and worked examples by subject: the user's copy of the original files, or what packages ship.

    The packages' examples are 281 of 285: three subjects have four, one loses another to a broken entry.
    """
    test, dev = find(OWN_TEST, (data_folder(),)), find(OWN_DEV, (data_folder(),))
    if test is not None and dev is not None:
        return _original(test), _original(dev)
    return _shipped(assets.locate("mmlu-test", progress)), _examples(assets.locate("mmlu-dev", progress))


def _original(path: Path) -> dict[str, list[Doc]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return _by_subject(
            (row["subject"], row["question"], row["choices"], row["answer"]) for row in map(json.loads, file)
        )


def _shipped(path: Path) -> dict[str, list[Doc]]:
    """The package's file has two rows that are headers of the original tables."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return _by_subject(
        (
            row["topic"].replace(" ", "_"),
            row["question"],
            [row[f"answer_{letter}"] for letter in "abcd"],
            LETTERS.index(row["correct_answer"]),
        )
        for row in rows
        if row.get("topic") and row.get("correct_answer") in tuple(LETTERS)
    )


def _examples(path: Path) -> dict[str, list[Doc]]:
    """Worked examples without their chains of thought."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return _by_subject(
        (
            subject,
            found["question"].strip(),
            [found[letter].strip() for letter in "abcd"],
            LETTERS.index(found["answer"]),
        )
        for subject, text in content.items()
        for part in re.split(r"^(?=Q: )", text, flags=re.MULTILINE)
        if (found := EXAMPLE.match(part)) is not None
    )


def _by_subject(rows: Any) -> dict[str, list[Doc]]:
    found: dict[str, list[Doc]] = defaultdict(list)
    for subject, question, choices, answer in rows:
        doc = {
            "id": len(found[subject]),
            "question": question,
            "choices": choices,
            "answer": answer,
            "subject": subject,
        }
        found[subject].append(doc)
    return dict(sorted(found.items()))


def drawn(docs: Sequence[Doc], limit: int | None, seed: int, subject: str) -> list[Doc]:
    """So many questions of a subject, in their own order."""
    if limit is None or limit >= len(docs):
        return list(docs)
    order = rng.stream(seed, "limit", "mmlu", subject).permutation(len(docs))[:limit]
    return [docs[at] for at in sorted(order.tolist())]


def _task_file(subject: str) -> dict[str, Any]:
    """The harness's settings of a subject, with the template that its file includes."""
    import lm_eval
    import yaml

    folder = Path(lm_eval.__file__).parent / "tasks" / "mmlu" / "default"
    template = yaml.safe_load((folder / "_default_template_yaml").read_text(encoding="utf-8"))
    own = yaml.safe_load((folder / f"mmlu_{subject}.yaml").read_text(encoding="utf-8"))
    named = ("include", "dataset_name", "dataset_path", "task_alias")
    return {key: value for key, value in {**template, **own}.items() if key not in named}
