"""The scores of a run's models on held-out parts, as records."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fedllm_bench import records
from fedllm_bench.build import Parts
from fedllm_bench.evaluate.heldout import ClientScore, evaluate
from fedllm_bench.experiment import Experiment
from fedllm_bench.federation.keys import personal_model
from fedllm_bench.federation.messages import RunState
from fedllm_bench.federation.rounds import OwnStates
from fedllm_bench.progress import Progress
from fedllm_bench.store import replacing
from fedllm_bench.tensors import Tensors

__all__ = ["base_scores", "finite", "round_scores"]


def round_scores(
    experiment: Experiment, parts: Parts, state: RunState, own: OwnStates, progress: Progress
) -> list[dict[str, Any]]:
    """A record for each evaluated client: the global model's score and, where it has one, its own model's beside it."""
    scores = _evaluate(experiment, parts, parts.evaluated, state, f"round {state.round}", progress)
    personal = _personal_scores(experiment, parts, state, own, progress)
    return [_record(state.round, parts, score, personal.get(score.client)) for score in scores]


def base_scores(experiment: Experiment, parts: Parts, above: Path, progress: Progress) -> list[dict[str, Any]]:
    """The base model's scores, computed once for all runs of an experiment that score it on the same clients.

    Args:
        above: the folder of the experiment's runs, where they are kept.
    """
    facts = (
        parts.model.fingerprint,
        parts.dataset.fingerprint,
        parts.objective.key,
        experiment.objective.model_dump_json(),
        list(parts.evaluated),
        experiment.evaluate.samples,
        parts.compute,
        parts.model.packed,
        sorted(parts.groups.items()),
    )
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
    path = above / f"base-{key}.jsonl"
    if not path.exists():
        # The first to ask for these parts waits for their tokens, and for what the objective asks the base of them.
        with progress.task("encode held-out parts", len(parts.evaluated), "clients") as task:
            for client in parts.evaluated:
                parts.encoded.part(client, "test")
                task.advance()
        scores = _evaluate(experiment, parts, parts.evaluated, None, "base model", progress)
        with replacing(path) as scratch:
            records.append(scratch, *(_record(0, parts, score, None) for score in scores))
    return list(records.read(path))


def finite(value: float | None) -> float | None:
    """JSON has neither infinity nor not-a-number; both become null."""
    return value if value is not None and math.isfinite(value) else None


def _personal_scores(
    experiment: Experiment, parts: Parts, state: RunState, own: OwnStates, progress: Progress
) -> dict[int, ClientScore]:
    """Client to the score of the model that it would use itself; empty where the method has none."""
    if not parts.has_personal_models:
        return {}
    found = {}
    for client in parts.evaluated:
        mine = personal_model(own.load(client, state.round + 1))
        if mine:
            what = f"own model of {parts.dataset.client_id(client)}"
            found[client] = _evaluate(experiment, parts, [client], state, what, progress, mine)[0]
    return found


def _evaluate(
    experiment: Experiment,
    parts: Parts,
    clients: Iterable[int],
    state: RunState | None,
    what: str,
    progress: Progress,
    mine: Tensors | None = None,
) -> list[ClientScore]:
    adapter = None if state is None else {**state.adapter, **(mine or {})}
    with (
        progress.task(f"held-out loss, {what}", unit="samples") as task,
        parts.model.lora.changed_base({} if state is None else state.base),
    ):
        return evaluate(
            parts.model,
            parts.objective,
            parts.encoded,
            list(clients),
            adapter,
            samples=experiment.evaluate.samples,
            token_budget=parts.compute.token_budget,
            on_samples=task.advance,
        )


def _record(round: int, parts: Parts, score: ClientScore, personal: ClientScore | None) -> dict[str, Any]:
    own = {} if personal is None else {"personal": _measured(personal)}
    group = {"group": parts.groups[score.client]} if score.client in parts.groups else {}
    return {
        "round": round,
        "client": parts.dataset.client_id(score.client),
        **group,
        "samples": score.samples,
        "tokens": score.tokens,
        **_measured(score),
        **own,
        "skipped_samples": dict(score.notes),
    }


def _measured(score: ClientScore) -> Mapping[str, float | None]:
    further = {name: finite(value) for name, value in score.metrics.items()}
    return {"loss": finite(score.loss), "accuracy": finite(score.accuracy), **further}
