"""Models of runs with what benchmarks say about them, and the numbers behind one cell of a table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedllm_bench.analysis.comparison import Replicas, mean, score_interval
from fedllm_bench.analysis.frames import Run
from fedllm_bench.analysis.stats import Interval
from fedllm_bench.benchmark_scores import ItemScore, Metric, Scores, base_folder, metric_of, read_scores

__all__ = ["LANGUAGES", "Model", "Sample", "Slot", "base_models", "models", "same_tongue"]

# The eight languages of Fed-Aya: code to the name in its records.
LANGUAGES: Mapping[str, str] = {
    "ar": "Standard Arabic",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "pt": "Portuguese",
    "ru": "Russian",
    "te": "Telugu",
    "zh": "Simplified Chinese",
}


@dataclass(frozen=True, eq=False)
class Model:
    """What a run ended with, or the base that it began with.

    Args:
        run: the run; of a base, the first run that has it.
        folder: where its scores are.
        scores: benchmark to scores.
        is_base: whether it is the base.
    """

    run: Run
    folder: Path
    scores: Mapping[str, Scores]
    is_base: bool = False

    @property
    def replica(self) -> str:
        """What it is one of several by: seed, and the client or group that trained alone."""
        if self.is_base:
            return "base"
        data = self.run.experiment["data"]
        chosen = [data.get(key) for key in ("client", "client_samples", "drawn", "group")]
        return " ".join([f"seed {self.run.seed}", *(str(value) for value in chosen if value is not None)])


def models(runs: Iterable[Run]) -> list[Model]:
    """The model that each run ended with.

    Raises:
        RunError: a file of scores is broken; named.
    """
    return [Model(run, run.path, read_scores(run.path)) for run in runs]


def base_models(runs: Iterable[Run]) -> list[Model]:
    """The base models of runs, each once; those that lie in several folders by the first that has scores.

    Raises:
        RunError: a file of scores is broken; named.
    """
    found: dict[str, Model] = {}
    for run in runs:
        folder = base_folder(run.path, run.experiment)
        if folder.name not in found or not found[folder.name].scores:
            found[folder.name] = Model(run, folder, read_scores(folder), is_base=True)
    return list(found.values())


@dataclass(frozen=True)
class Sample:
    """Scores by one metric of the models that are one method.

    Args:
        models: all of them.
        metric: by which.
        language: of the items that count; empty for all.
    """

    models: tuple[Model, ...]
    metric: Metric
    language: str = ""

    @cached_property
    def replicas(self) -> Replicas:
        """Replica to item to score, of models that have a score."""
        found: dict[str, dict[str, float]] = {}
        for model in self.models:
            scores = {item.item: item.score for item in self._items(model) if item.score is not None}
            if scores:
                found[_free(model.replica, found)] = scores
        return found

    @cached_property
    def unscored(self) -> Counter[str]:
        """Why items have no score, and how many."""
        items = (item for model in self.models for item in self._items(model))
        return Counter(item.unscored for item in items if item.score is None)

    @property
    def lacking(self) -> list[Model]:
        """Models that this benchmark was not run on, or had nothing to say of."""
        return [model for model in self.models if not any(True for _ in self._items(model))]

    @property
    def judges(self) -> frozenset[tuple[str, str]]:
        """Who gave the scores, and by which rubric; empty where nobody judges."""
        if not self.metric.judged:
            return frozenset()
        return frozenset(
            (str(scores.settings["judge"]), str(scores.settings.get("rubric", "")))
            for scores in self._scores
            if scores.settings.get("judge") is not None
        )

    @property
    def missing(self) -> dict[str, str]:
        """Why the benchmark has nothing, to the way out, as its files say."""
        return {scores.missing: scores.hint for scores in self._scores if scores.missing}

    @property
    def n(self) -> int:
        """Different items that have a score."""
        return len(set().union(*self.replicas.values()))

    @property
    def _scores(self) -> list[Scores]:
        found = (model.scores.get(self.metric.benchmark) for model in self.models)
        return [scores for scores in found if scores is not None]

    def _items(self, model: Model) -> Iterable[ItemScore]:
        scores = model.scores.get(self.metric.benchmark)
        return (
            item
            for item in (scores.items if scores else ())
            if item.metric == self.metric.name and (not self.language or same_tongue(item.language, self.language))
        )


@dataclass(frozen=True)
class Slot:
    """What one cell of a table is the mean of: several samples for an average, which counts each the same."""

    samples: tuple[Sample, ...]

    @classmethod
    def of(cls, models: Sequence[Model], metric: str) -> "Slot":
        """All items of one metric."""
        return cls((Sample(tuple(models), metric_of(metric)),))

    @property
    def parts(self) -> list[Replicas]:
        """Scores of each sample, times what makes them the numbers that tables show."""
        return [
            {
                name: {item: score * sample.metric.factor for item, score in scores.items()}
                for name, scores in sample.replicas.items()
            }
            for sample in self.samples
        ]

    @property
    def known(self) -> bool:
        """Whether every sample has a score."""
        return bool(self.samples) and all(sample.replicas for sample in self.samples)

    @property
    def judges(self) -> frozenset[tuple[str, str]]:
        """Judges and rubrics of all samples."""
        return frozenset().union(*(sample.judges for sample in self.samples))

    def interval(self) -> Interval | None:
        """The mean with its interval, which ends where the scale does; None where a sample has no score."""
        if not self.known:
            return None
        found = score_interval(self.parts)
        low = min(sample.metric.bounds[0] for sample in self.samples)
        high = max(sample.metric.bounds[1] for sample in self.samples)
        return Interval(found.mean, max(found.low, low), min(found.high, high))

    def value(self) -> float | None:
        """The mean alone."""
        return mean(self.parts) if self.known else None


def same_tongue(found: str, asked: str) -> bool:
    """Whether a BCP 47 code, or a name as Fed-Aya has them, is of the language of a code of two letters."""
    text = found.casefold().replace("_", " ")
    main = text.split("-")[0]
    return LANGUAGES.get(asked, "").casefold() == text or {"arb": "ar", "cmn": "zh"}.get(main, main) == asked


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A name that is not taken: runs that repeat one another in all that a replica is told by."""
    count = sum(other.split(" #")[0] == name for other in taken)
    return f"{name} #{count + 1}" if count else name
