"""Answers side by side: what each method said to the same question, and what the judge said of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from fedllm_bench import records
from fedllm_bench.analysis.evaluated import Model, base_models, models
from fedllm_bench.analysis.methods import Method
from fedllm_bench.benchmark_scores import BENCHMARKS, metric_of

__all__ = ["Asked", "Said", "answers"]

ROOM = 30_000_000  # characters of all texts on the page: more, and browsers get slow
LONGEST = 6000  # characters of a text


@dataclass(frozen=True, slots=True)
class Said:
    """What one method said.

    Args:
        method: its name.
        turns: its answers, cut where they are very long.
        scores: metric's title to the score in words, or why there is none.
        judged: the judge's words on each turn, in order.
        cut: whether an answer was cut at the most tokens allowed.
    """

    method: str
    turns: tuple[str, ...]
    scores: Mapping[str, str]
    judged: tuple[str, ...]
    cut: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the answers of all methods that were asked.

    Args:
        benchmark: its name.
        question: its id.
        category: of the question, or empty.
        language: of the question, or empty.
        prompts: the user's turns.
        references: to each turn, where there are some.
        said: by method.
    """

    benchmark: str
    question: str
    category: str
    language: str
    prompts: tuple[str, ...]
    references: tuple[str, ...]
    said: tuple[Said, ...]

    @property
    def words(self) -> str:
        """All texts."""
        own = (text for each in self.said for text in (*each.turns, *each.judged))
        return "\n".join([*self.prompts, *self.references, *own])


def answers(methods: Sequence[Method]) -> tuple[list[Asked], dict[str, int]]:
    """Questions in the order of the benchmarks, as many as the page has room for, and how many of each there are.

    Of a method with several runs the first speaks.

    Args:
        methods: as `methods.group` gives them.

    Raises:
        RunError: a file is broken; named.
    """
    speakers = [(method.name, found[0]) for method in methods if (found := _speakers(method))]
    shown: list[Asked] = []
    totals: dict[str, int] = {}
    for benchmark in BENCHMARKS:
        said = {name: _read(model, benchmark) for name, model in speakers}
        asked = {question: row for own in said.values() for question, (row, _) in own.items()}
        if asked:
            totals[benchmark] = len(asked)
            shown += [_asked(benchmark, row, said) for row in asked.values()]
    sizes = accumulate(len(one.words) for one in shown)
    return [one for one, size in zip(shown, sizes, strict=True) if size <= ROOM], totals


def _speakers(method: Method) -> list[Model]:
    return [model for model in (base_models if method.base is None else models)(method.used) if model.scores]


def _read(model: Model, benchmark: str) -> dict[str, tuple[Mapping[str, Any], Said]]:
    """Question to the record of its answers and what is shown of it."""
    scores = model.scores.get(benchmark)
    if scores is None or not scores.settings.get("answers"):
        return {}
    rows = list(records.read(model.folder / "generations" / str(scores.settings["answers"])))[1:]
    judged = _judgments(model.folder, scores.settings.get("judgments"))
    points: dict[str, dict[str, str]] = {}
    for item in scores.items:
        words = f"{item.score:.4g}" if item.score is not None else item.unscored
        points.setdefault(item.item, {})[metric_of(item.metric).title] = words
    found: dict[str, tuple[Mapping[str, Any], Said]] = {}
    for row in rows:
        question = str(row["question"])
        own = points.get(question) or points.get(question.partition("#")[0], {})
        said = Said(
            "", tuple(map(_short, row["turns"])), own, judged.get(question, ()), not all(row.get("stopped", [True]))
        )
        found[question] = (row, said)
    return found


def _judgments(folder: Path, name: object) -> dict[str, tuple[str, ...]]:
    """Question to the judge's words, turn after turn."""
    found: dict[str, list[str]] = {}
    for row in records.read(folder / "judgments" / str(name)) if name else ():
        words = _short(_replies(row["raw"])) or f"({row['unscored']})"
        found.setdefault(str(row["question"]), []).append(words)
    return {question: tuple(words) for question, words in found.items()}


def _replies(raw: Sequence[str]) -> str:
    """One as it is; several, asked for again without a score in the one before, by number."""
    if len(raw) == 1 or not any(raw):
        return "".join(raw)
    return "\n\n".join(f"Reply {number} of {len(raw)}:\n{reply}" for number, reply in enumerate(raw, start=1))


def _asked(benchmark: str, row: Mapping[str, Any], said: Mapping[str, Mapping[str, tuple[Any, Said]]]) -> Asked:
    question = str(row["question"])
    return Asked(
        benchmark,
        question,
        str(row["category"]),
        str(row["language"]),
        tuple(map(_short, row["prompts"])),
        tuple(map(_short, row["references"])),
        tuple(_named(said, question)),
    )


def _named(said: Mapping[str, Mapping[str, tuple[Any, Said]]], question: str) -> Iterator[Said]:
    for name, own in said.items():
        if question in own:
            found = own[question][1]
            yield Said(name, found.turns, found.scores, found.judged, found.cut)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters)"
