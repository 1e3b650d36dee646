"""What the scores of a table were asked with: an evaluation that joins them has to be asked with the same."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedllm_bench.analysis.terms import judge_of
from fedllm_bench.benchmark_scores import Scores

__all__ = ["NOTHING", "Beside"]

Options = tuple[str, ...]
# What `--judge` takes, by what a judge is called in scores; the name of a model or file is the first group.
_JUDGES = (
    (re.compile(r"(\S+) at https?://\S+.*"), "endpoint:{}"),
    (re.compile(r"(.+), local\b.*"), "local:{}"),
    (re.compile(r"script (\S+)"), "scripted:{}"),
    (re.compile(r"(rule) \(.*"), "{}"),
)
_JUDGE_UNKNOWN = "endpoint:MODEL"
_RULE = "rule"  # judges AdvBench alone


@dataclass(frozen=True, slots=True)
class _Option:
    """An option of `eval` that repeats a setting.

    Args:
        name: of the option.
        default: for which nothing is said.
        words: the setting as the option takes it.
    """

    name: str
    default: object
    words: Callable[[Any], str] = str

    def of(self, settings: Mapping[str, Any], key: str) -> Options:
        """As arguments; none for a setting that is the default, or not kept."""
        value = settings.get(key)
        return () if value in (None, self.default) else (self.name, self.words(value))


# Those that hold for a whole call of `eval`, and those of one benchmark.
_SHARED = {
    "seed": _Option("--seed", 0),
    "max_new_tokens": _Option("--max-new-tokens", None),
    "engine": _Option("--engine", "fedllm-bench", lambda name: str(name).split()[0]),
}
_OWN = {"samples": _Option("--samples", 1), "references": _Option("--references", "original")}
_OF_JUDGE = {
    "temperature": _Option("--judge-temperature", 0.0, "{:g}".format),
    "seed": _Option("--judge-seed", None),
    "max_tokens": _Option("--judge-tokens", 1024),
}


@dataclass(frozen=True)
class Beside:
    """Scores that others are to stand beside.

    Args:
        scores: of all models of the table.
    """

    scores: tuple[Scores, ...] = ()

    def limit(self, benchmark: str) -> int | None:
        """Most questions; None for all."""
        return self._settings(benchmark).get("limit")

    def shared(self, benchmark: str) -> Options:
        """Options that hold for a whole call of `eval`, but for those of the judge."""
        return tuple(_options(_SHARED, self._settings(benchmark)))

    def own(self, benchmark: str) -> Options:
        """Options that no other benchmark takes."""
        return tuple(_options(_OWN, self._settings(benchmark)))

    def judge(self, benchmark: str) -> Options:
        """The judge of the same benchmark, else of any, else a place to put one."""
        known = [(scores.benchmark, _judge(scores)) for scores in self.scores if judge_of(scores) is not None]
        same = [options for name, options in known if name == benchmark]
        return _most(same or [options for _, options in known if _RULE not in options]) or ("--judge", _JUDGE_UNKNOWN)

    def _settings(self, benchmark: str) -> Mapping[str, Any]:
        """What most scores of the benchmark have, else most of all."""
        known = [scores for scores in self.scores if not scores.missing]
        same = [scores.settings for scores in known if scores.benchmark == benchmark]
        keys = ("limit", *_SHARED, *(_OWN if same else ()))
        found = same or [scores.settings for scores in known]
        return dict(_most(tuple((key, each.get(key)) for key in keys) for each in found))


NOTHING = Beside()


def _options(table: Mapping[str, _Option], settings: Mapping[str, Any]) -> Iterator[str]:
    return (word for key, option in table.items() for word in option.of(settings, key))


def _judge(scores: Scores) -> Options:
    name = str(scores.settings["judge"])
    found = ((pattern.fullmatch(name), form) for pattern, form in _JUDGES)
    called = next((form.format(match[1]) for match, form in found if match), _JUDGE_UNKNOWN)
    return ("--judge", called, *_options(_OF_JUDGE, scores.settings.get("judge_settings") or {}))


def _most(found: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The most frequent, the first of several; nothing of nothing."""
    return next((each for each, _ in Counter(found).most_common(1)), ())
