"""Models of runs with what benchmarks say about them, and the numbers behind one cell of a table."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fedllm_bench.analysis.comparison import Replicas, mean, score_interval
from fedllm_bench.analysis.frames import Run
from fedllm_bench.analysis.stats import Interval
from fedllm_bench.analysis.student import SEEDLESS
from fedllm_bench.analysis.terms import Judge, Terms, differing, judge_of, terms_of
from fedllm_bench.benchmark_scores import ItemScore, Metric, Scores, base_folder, bounds_of, metric_of, read_scores

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
        return SEEDLESS if self.is_base else " ".join(filter(None, [f"seed {self.run.seed}", self.part]))

    @property
    def part(self) -> str:
        """The client or group that trained alone; empty where all trained together."""
        data = self.run.experiment["data"]
        chosen = [data.get(key) for key in ("client", "client_samples", "drawn", "group")]
        return " ".join(str(value) for value in chosen if value is not None)


def models(runs: Iterable[Run]) -> list[Model]:
    """The model that each run ended with.

    Raises:
        RunError: a file of scores is broken; named.
    """
    return [Model(run, run.path, read_scores(run.path)) for run in runs]


def base_models(runs: Iterable[Run]) -> list[Model]:
    """The base models of runs, each once; one that lies in several folders has the scores of all, the first's first.

    Raises:
        RunError: a file of scores is broken; named.
    """
    firsts: dict[Path, Run] = {}
    for run in runs:
        folder = base_folder(run.path, run.experiment)
        if folder not in firsts or (run.complete and not firsts[folder].complete):
            firsts[folder] = run  # a base is evaluated with a finished run
    found: dict[str, Model] = {}
    for folder, run in firsts.items():
        model = Model(run, folder, read_scores(folder), is_base=True)
        found[folder.name] = _joined(found[folder.name], model) if folder.name in found else model
    return list(found.values())


def _joined(first: Model, second: Model) -> Model:
    """The same model with the benchmarks of both; where both have one, the first's, unless that is missing."""
    scored = {name: scores for name, scores in first.scores.items() if not scores.missing}
    return replace(first if first.scores else second, scores={**first.scores, **second.scores, **scored})


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
        for model in self._scored:
            scores = {item.item: item.score for item in self._items(model) if item.score is not None}
            found[_free(model.replica, found)] = scores
        return found

    @cached_property
    def unscored(self) -> Counter[str]:
        """Why items have no score, and how many."""
        items = (item for model in self.models for item in self._items(model))
        return Counter(item.unscored for item in items if item.score is None)

    @property
    def seeds(self) -> int:
        """Different seeds behind the scores; none behind those of a base."""
        return len({model.run.seed for model in self._scored if not model.is_base})

    @property
    def clients(self) -> int:
        """Clients that trained alone, each by a run of its own."""
        return len({model.part for model in self._scored if model.part and model.run.algorithm == "local"})

    @property
    def groups(self) -> int:
        """Groups of clients that trained together, each by runs of its own."""
        return len({model.part for model in self._scored if model.part and model.run.algorithm != "local"})

    @property
    def lacking(self) -> list[Model]:
        """Models that eval would give a score: not evaluated, or not judged."""
        return [model for model in self._without if model.run.complete]

    @property
    def unfinished(self) -> list[Model]:
        """Models of runs that have to be finished first."""
        return [model for model in self._without if not model.run.complete]

    @cached_property
    def judges(self) -> frozenset[Judge]:
        """Who gave the scores, and by which rubric; empty where nobody judges."""
        found = (judge_of(self._scores(model)) for model in self._scored) if self.metric.judged else ()
        return frozenset(judge for judge in found if judge is not None)

    @cached_property
    def terms(self) -> frozenset[Terms]:
        """What was asked how."""
        return frozenset(terms_of(self.metric, self._scores(model), model.run.experiment) for model in self._scored)

    @property
    def mixed(self) -> str:
        """Why its scores are no row of one method; empty where they are."""
        if len(self.judges) > 1:
            return "its runs are by different judges or rubrics"
        if len(self.terms) > 1:
            names = ", ".join(differing(self.terms))
            return f"its runs answered different questions or under different settings ({names})"
        return ""

    @property
    def in_vain(self) -> bool:
        """Whether a judge was asked and gave no item a score."""
        judged = any(judge_of(self._scores(model)) is not None for model in self.models)
        return self.metric.judged and judged and not self.replicas and bool(self.unscored)

    @property
    def known(self) -> bool:
        """Whether its scores have a mean that says something."""
        return bool(self.replicas) and not self.mixed

    @property
    def missing(self) -> dict[str, str]:
        """Why the benchmark has nothing, to the way out, as its files say."""
        found = map(self._scores, self.models)
        return {scores.missing: scores.hint for scores in found if scores.missing}

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest number that the mean can be."""
        found = [bounds_of(self.metric, self._scores(model).settings) for model in self._scored]
        return min(low for low, _ in found), max(high for _, high in found)

    @property
    def n(self) -> int:
        """Different items that have a score."""
        return len(set().union(*self.replicas.values()))

    @cached_property
    def _scored(self) -> list[Model]:
        return [model for model in self.models if any(item.score is not None for item in self._items(model))]

    @property
    def _without(self) -> Iterator[Model]:
        """Models without a score, but for those whose file says why: who judges in vain, or cannot be run."""
        for model in self.models:
            scores = self._scores(model)
            silent = self.metric.judged and scores.settings.get("judge") is None
            if model not in self._scored and not scores.missing and (silent or not any(self._items(model))):
                yield model

    def _scores(self, model: Model) -> Scores:
        return model.scores.get(self.metric.benchmark) or Scores(self.metric.benchmark)

    def _items(self, model: Model) -> Iterator[ItemScore]:
        return (
            item
            for item in self._scores(model).items
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
        """Whether every sample has scores that go together."""
        return bool(self.samples) and all(sample.known for sample in self.samples)

    @property
    def judges(self) -> tuple[frozenset[Judge], ...]:
        """Of each sample."""
        return tuple(sample.judges for sample in self.samples)

    @property
    def terms(self) -> tuple[frozenset[Terms], ...]:
        """Of each sample."""
        return tuple(sample.terms for sample in self.samples)

    def is_like(self, other: "Slot") -> bool:
        """Whether both are by the same judges, and answered the same under the same settings."""
        return (self.judges, self.terms) == (other.judges, other.terms)

    def interval(self) -> Interval | None:
        """The mean with its interval, which ends where the scale does; None where a sample has no score."""
        if not self.known:
            return None
        found = score_interval(self.parts)
        low = min(sample.bounds[0] for sample in self.samples)
        high = max(sample.bounds[1] for sample in self.samples)
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
