"""From a finished run to a model for each client: some local steps from the global adapter, and mixtures of the two."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedllm_bench import records
from fedllm_bench.analysis.stats import Interval, mean_interval, paired_change
from fedllm_bench.build import Parts, build, local_plan
from fedllm_bench.environment import describe, require_same
from fedllm_bench.errors import RunError
from fedllm_bench.evaluate.heldout import evaluate
from fedllm_bench.experiment import Experiment
from fedllm_bench.federation.checkpoint import Checkpoints, DiskStates
from fedllm_bench.federation.hooks import Plain
from fedllm_bench.federation.keys import personal_model
from fedllm_bench.federation.messages import RunState
from fedllm_bench.federation.trainer import CohortTrainer, Learner
from fedllm_bench.progress import SILENT, Progress
from fedllm_bench.scores import finite
from fedllm_bench.store import RunFolder
from fedllm_bench.tensors import Tensors, axpy

__all__ = ["Mixture", "personalise", "summarise"]


@dataclass(frozen=True)
class Mixture:
    """What a weight between the global and the fine-tuned adapter gives, over clients.

    Args:
        weight: 0 is the model a client has after the run, 1 the one it fine-tuned.
        clients: how many were scored.
        loss: held-out loss with its interval.
        change: to weight 0, paired on the same clients.
        better: share of clients whose loss is below that at weight 0.
    """

    weight: float
    clients: int
    loss: Interval
    change: Interval
    better: float

    def row(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def personalise(
    path: Path, steps: int, lr: float | None, weights: Sequence[float], progress: Progress = SILENT
) -> list[dict[str, Any]]:
    """Fine-tune a finished run's model on each evaluated client, and score w + weight * (v - w) on its held-out part.

    Results go to `personal.jsonl` in the run's folder, client by client; those that are there are not done again.

    Args:
        path: the run's folder.
        steps: optimizer steps on each client.
        lr: learning rate; None takes that of the run's first round.
        weights: of the fine-tuned adapter v against the client's model w after the run.
        progress: shows the clients as they are done.

    Raises:
        RunError: the folder holds no finished run, or the base model or the data have changed since.
    """
    experiment = _finished(path)
    folder = RunFolder(path)
    rate = experiment.local.lr if lr is None else lr
    settings = {"steps": steps, "lr": rate}
    out = folder.path / "personal.jsonl"
    with folder.locked():
        wanted = sorted({0.0, *weights})
        records.keep(out, lambda _: True)  # without a line that a kill has torn
        done = [record for record in records.read(out) if {key: record[key] for key in settings} == settings]
        held = {(record["client"], record["weight"]) for record in done}
        recorded = json.loads(folder.environment.read_text(encoding="utf-8"))
        parts = build(experiment, recorded, progress)
        require_same(recorded, describe(experiment, parts), folder.path)
        state = Checkpoints(folder.checkpoints, experiment.checkpoint.keep).newest()
        if state is None:
            raise RunError(f"{path} has no checkpoint that can be read", "run the experiment again")
        own = DiskStates(folder.own, experiment.checkpoint.keep * experiment.checkpoint.every)
        left = [
            client
            for client in parts.evaluated
            if any((parts.dataset.client_id(client), weight) not in held for weight in wanted)
        ]
        with progress.task("personalise", len(left), "clients") as task:
            for client in left:
                start = {**state.adapter, **personal_model(own.load(client, state.round + 1))}
                found = _mixtures(experiment, parts, state, client, start, steps, rate, wanted)
                fresh = [{**settings, **row} for row in found if (row["client"], row["weight"]) not in held]
                records.append(out, *fresh)
                done += fresh
                task.advance(1)
    return [record for record in done if record["weight"] in wanted]


def summarise(found: Sequence[dict[str, Any]]) -> list[Mixture]:
    """One row for each weight, over the clients that have a loss at every weight."""
    by_weight: dict[float, dict[str, float]] = {}
    for record in found:
        if record["loss"] is not None:
            by_weight.setdefault(record["weight"], {})[record["client"]] = record["loss"]
    start = by_weight.get(0.0, {})
    rows = []
    for weight, losses in sorted(by_weight.items()):
        change = paired_change(start, losses)
        better = statistics.fmean(value < 0 for value in change.values())
        rows.append(
            Mixture(
                weight, len(losses), mean_interval(list(losses.values())), mean_interval(list(change.values())), better
            )
        )
    return rows


def _finished(path: Path) -> Experiment:
    folder = RunFolder(path)
    if not folder.experiment.exists():
        raise RunError(f"{path} holds no run", "name a run's folder: <runs>/<experiment name>/<run id>")
    if not folder.complete:
        raise RunError(f"{path} is not finished", "run the experiment again to finish it")
    resolved = json.loads(folder.experiment.read_text(encoding="utf-8"))
    return Experiment.model_validate({key: value for key, value in resolved.items() if key != "run_id"})


def _mixtures(
    experiment: Experiment,
    parts: Parts,
    state: RunState,
    client: int,
    start: Tensors,
    steps: int,
    lr: float,
    weights: Sequence[float],
) -> list[dict[str, Any]]:
    """A client's scores at each weight; a client that cannot train has its loss at weight 0 alone."""
    rows, name = parts.encoded.part(client, "train"), parts.dataset.client_id(client)
    trainer = CohortTrainer(
        parts.model,
        parts.objective,
        Plain(),
        local_plan(experiment),
        parts.compute.token_budget,
        experiment.seed,
    )
    learner = Learner(client, name, rows, steps, {})
    updates = trainer.train(state.round + 1, [learner], start, {}, lr, state.base) if len(rows) else []
    found = []
    for weight in weights if updates else [0.0]:
        adapter = axpy(weight, updates[0].delta, start) if updates else start
        with parts.model.lora.changed_base(state.base):
            (score,) = evaluate(
                parts.model,
                parts.objective,
                parts.encoded,
                [client],
                adapter,
                samples=experiment.evaluate.samples,
                token_budget=parts.compute.token_budget,
            )
        found.append({"client": name, "weight": weight, "loss": finite(score.loss), "accuracy": finite(score.accuracy)})
    return found
