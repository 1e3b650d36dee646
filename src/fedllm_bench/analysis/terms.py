"""What must be equal where scores are averaged or compared: who judged, and what was asked how."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from fedllm_bench.benchmark_scores import Metric, Scores

__all__ = ["WHO_TRAINS", "Judge", "Terms", "differing", "judge_of", "names_of", "terms_of"]

# Settings of scores that decide which questions were asked, or how they were answered.
ASKED = (
    "limit",
    "seed",
    "references",
    "max_new_tokens",
    "samples",
    "shots",
    "harness",
    "template",
    "dtype",
    "base",
    "engine",
)
# Settings of `data` that say who trains: Ref-Judge asks what all clients hold.
WHO_TRAINS = ("group", "groups", "group_by", "cap", "pool", "client", "client_samples", "drawn", "partition")

Terms = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, order=True)
class Judge:
    """Who gave scores.

    Args:
        name: for people; several may share it.
        rubric: by which.
        identity: a hash of all that decides its replies; empty in files that do not say.
        settings: temperature, seed and the like, by name.
    """

    name: str
    rubric: str
    identity: str = ""
    settings: Terms = ()


def judge_of(scores: Scores) -> Judge | None:
    """Who judged; None where nobody did."""
    found = scores.settings
    if found.get("judge") is None:
        return None
    own = found.get("judge_settings") or {}
    return Judge(
        str(found["judge"]),
        str(found.get("rubric", "")),
        str(found.get("judge_identity", "")),
        tuple(sorted((str(name), str(value)) for name, value in own.items())),
    )


def terms_of(metric: Metric, scores: Scores, experiment: Mapping[str, Any]) -> Terms:
    """What was asked, and how it was answered.

    Args:
        metric: of the scores.
        scores: with their settings.
        experiment: of the run: its data are where the questions of Ref-Judge come from.
    """
    found = [(key, _text(scores.settings.get(key))) for key in ASKED]
    if metric.benchmark == "ref-judge":
        data = {key: value for key, value in experiment["data"].items() if key not in WHO_TRAINS}
        found.append(("questions", _text(scores.settings.get("questions", data))))
    return tuple(found)


def differing(terms: Iterable[Terms]) -> list[str]:
    """Names of the settings in which terms differ."""
    values: dict[str, set[str]] = {}
    for name, value in chain.from_iterable(terms):
        values.setdefault(name, set()).add(value)
    return [name for name, found in values.items() if len(found) > 1]


def names_of(judges: Iterable[Judge]) -> dict[Judge, str]:
    """Judges by name, those that share one also by the settings, or else the hash, in which they differ."""
    found = sorted(set(judges))
    known = {(judge.name, judge.settings, judge.identity) for judge in found}
    same_name = Counter(name for name, _, _ in known)
    return {
        judge: _label(judge.name, dict(judge.settings), judge.identity, known)
        if same_name[judge.name] > 1
        else judge.name
        for judge in found
    }


def _label(name: str, settings: Mapping[str, str], identity: str, known: Iterable[tuple[str, Terms, str]]) -> str:
    rivals = [dict(own) for other, own, _ in known if other == name]
    keys = sorted(set().union(*rivals))
    told = [f"{key} {settings.get(key, '-')}" for key in keys if len({rival.get(key) for rival in rivals}) > 1]
    return f"{name} ({', '.join(told) or identity or 'settings not kept'})"


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
