"""Runs read from their folders, and what they say about each client."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fedllm_bench import records
from fedllm_bench.errors import RunError
from fedllm_bench.store import RunFolder

__all__ = ["Run", "Score", "copies_note", "mean_margin", "pooled", "read_run", "read_runs"]


@dataclass(frozen=True, slots=True)
class Score:
    """What held-out evaluation says about one client.

    Args:
        loss: mean per scored token, or per pair.
        accuracy: share of scored tokens that the model ranks first, or of pairs whose preferred answer it does.
        tokens: scored.
        margin: mean difference of the rewards of a pair's answers; None where there are no pairs.
    """

    loss: float
    accuracy: float
    tokens: float
    margin: float | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """The records of one run folder.

    Args:
        path: the folder.
        experiment: as resolved when it started.
        environment: versions, machine and fingerprints; empty if the run stopped before it wrote them.
        rounds: one record a round.
        clients: one record a (round, client) trained.
        evaluations: one record a (round, client) evaluated; round 0 is the base model.
        complete: whether the run has ended.
        copies: other folders with the same run, which count for nothing.
    """

    path: Path
    experiment: Mapping[str, Any]
    environment: Mapping[str, Any]
    rounds: Sequence[Mapping[str, Any]]
    clients: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]
    complete: bool
    copies: tuple[Path, ...] = ()

    @property
    def seed(self) -> int:
        return int(self.experiment["seed"])

    @property
    def algorithm(self) -> str:
        return str(self.experiment["algorithm"]["name"])

    @property
    def variant(self) -> str:
        """What it has more than its plain algorithm, such as " + paper-noise" or " in groups"; else empty."""
        names = [f" + {channel['name']}" for channel in self.experiment.get("channel", ())]
        return "".join([*names, " in groups" if self.experiment["data"].get("group") is not None else ""])

    @property
    def objective(self) -> str:
        return str(self.experiment["objective"]["name"])

    @property
    def rounds_done(self) -> int:
        return max((int(record["round"]) for record in self.rounds), default=0)

    @cached_property
    def scores(self) -> Mapping[int, Mapping[str, Score]]:
        """Round to client to score; who could not be scored is in `unscored`."""
        found: dict[int, dict[str, Score]] = {}
        for record in self.evaluations:
            if _is_scored(record):
                score = Score(record["loss"], record["accuracy"], record["tokens"], record.get("margin"))
                found.setdefault(record["round"], {})[record["client"]] = score
        return found

    @property
    def unscored(self) -> set[str]:
        """Clients that some evaluation could not score: nothing is held out, or the loss is not finite."""
        return {record["client"] for record in self.evaluations if not _is_scored(record)}

    @property
    def groups(self) -> Mapping[str, str]:
        """Client to the group it is in; empty where the experiment does not group them."""
        return {record["client"]: record["group"] for record in self.evaluations if "group" in record}

    @property
    def before(self) -> Mapping[str, Score]:
        """Scores of the base model."""
        return self.scores.get(0, {})

    @property
    def latest(self) -> Mapping[str, Score]:
        """Scores after the last round that was evaluated; empty if none was."""
        last = max(self.scores, default=0)
        return self.scores[last] if last > 0 else {}

    @property
    def personal(self) -> Mapping[str, Score]:
        """Scores of clients' own models after the last round that was evaluated, for the clients that have one."""
        last = max(self.scores, default=0)
        found = {}
        for record in self.evaluations:
            own = record.get("personal")
            if record["round"] == last and own is not None and own["loss"] is not None:
                found[record["client"]] = Score(own["loss"], own["accuracy"], record["tokens"], own.get("margin"))
        return found

    @property
    def privacy(self) -> Mapping[str, Any] | None:
        """What privacy the rounds have spent; None where no channel gives any."""
        return self.rounds[-1].get("privacy") if self.rounds else None

    @cached_property
    def only_client(self) -> str | None:
        """The client that trained, if no other did."""
        trained = {client for record in self.rounds for client in record["cohort"]}
        return next(iter(trained)) if len(trained) == 1 else None

    def spent(self, what: str) -> float:
        """The sum over rounds of a field such as `tokens`, `flops` or `bytes_up`."""
        return math.fsum(record[what] for record in self.rounds)

    @property
    def seconds(self) -> float:
        """Time that the rounds took."""
        return math.fsum(record["seconds"]["total"] for record in self.rounds)

    @property
    def overhead(self) -> float | None:
        """Share of the rounds' time that is neither training nor evaluation; None without a round."""
        # A round that is not evaluated has no such time.
        useful = (record["seconds"].get(part, 0.0) for record in self.rounds for part in ("train", "evaluate"))
        return 1 - math.fsum(useful) / self.seconds if self.seconds > 0 else None


def _is_scored(record: Mapping[str, Any]) -> bool:
    return record["tokens"] > 0 and record["loss"] is not None


def pooled(many: Iterable[Mapping[str, Score]]) -> dict[str, Score]:
    """Each client's mean over the runs that scored it."""
    found: dict[str, list[Score]] = {}
    for scores in many:
        for client, score in scores.items():
            found.setdefault(client, []).append(score)
    return {
        client: Score(
            statistics.fmean(score.loss for score in scores),
            statistics.fmean(score.accuracy for score in scores),
            statistics.fmean(score.tokens for score in scores),
            mean_margin(scores),
        )
        for client, scores in sorted(found.items())
    }


def mean_margin(scores: Iterable[Score]) -> float | None:
    """Over the scores that have a margin; None if none has."""
    margins = [score.margin for score in scores if score.margin is not None]
    return statistics.fmean(margins) if margins else None


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read run folders, and the runs right below folders that are none; each once, ordered by name.

    Folders with equal `run_id` hold the same run: the one that is finished counts, or has more rounds or scores.

    Raises:
        RunError: a folder is missing, holds no run, or has a broken file.
    """
    folders = dict.fromkeys(folder.resolve() for path in paths for folder in _run_folders(path))
    found: dict[str, list[Run]] = {}
    for run in map(read_run, folders):
        found.setdefault(str(run.experiment.get("run_id", run.path)), []).append(run)
    return [_one_of(same) for same in found.values()]


def copies_note(runs: Iterable[Run]) -> str:
    """Which folders do not count, since they hold a run that another has; empty where none does."""
    copies = [str(copy) for run in runs for copy in run.copies]
    return f"Copies of a run count once; left out: {', '.join(copies)}." if copies else ""


def _one_of(same: Sequence[Run]) -> Run:
    def worth(run: Run) -> tuple[bool, int, int]:
        return run.complete, run.rounds_done, len(list((run.path / "scores").glob("*.jsonl")))

    kept = max(same, key=worth)
    return replace(kept, copies=tuple(run.path for run in same if run is not kept)) if len(same) > 1 else kept


def _run_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise RunError(f"{path}: no such folder", "give a run folder, or the folder above several")
    if RunFolder(path).experiment.exists():
        return [path]
    below = sorted(child for child in path.iterdir() if RunFolder(child).experiment.exists())
    if not below:
        deeper = sorted({found.parent.parent for found in path.glob("*/*/experiment.json")})
        names = ", ".join(str(folder) for folder in deeper)
        hint = f"runs are in {names}" if deeper else "`fedllm-bench run` prints where its runs are"
        raise RunError(f"{path} holds no run", hint)
    # A run that was refused before it began has nothing to tell.
    return [child for child in below if RunFolder(child).environment.exists()] or below


def read_run(path: Path) -> Run:
    """Read one run folder, finished or not.

    Raises:
        RunError: a file is broken; named, with its line.
    """
    folder = RunFolder(path)
    return Run(
        path=path,
        experiment=_read_json(folder.experiment),
        environment=_read_json(folder.environment) if folder.environment.exists() else {},
        rounds=list(records.read(folder.rounds)),
        clients=list(records.read(folder.clients)),
        evaluations=list(records.read(folder.evaluations)),
        complete=folder.complete,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error})", "restore the file or remove the run folder") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is not a table", "restore the file or remove the run folder")
    return content
