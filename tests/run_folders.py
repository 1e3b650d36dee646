"""Run folders as the engine leaves them, with numbers made up by a seed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedllm_bench import records
from fedllm_bench.experiment import Experiment

BASE_LOSS = 3.94


def experiment(**changes: Any) -> Experiment:
    """A resolved experiment; keyword arguments replace whole tables."""
    tables: dict[str, Any] = {
        "name": "quickstart",
        "federation": {"rounds": 4, "cohort": 3},
        "evaluate": {"every": 2},
    }
    return Experiment.model_validate({**tables, **changes})


def write_run(
    above: Path,
    run: Experiment,
    *,
    clients: int = 20,
    gain: float = 0.3,
    trained: Sequence[str] | None = None,
    rounds: int | None = None,
    complete: bool = True,
    rejected: bool = False,
) -> Path:
    """Write the files of one run below `above` and return its folder.

    Args:
        above: the folder of the experiment.
        run: the resolved experiment.
        clients: how many are evaluated; named `client-000` and so on.
        gain: how much the last evaluation is below the base, on average.
        trained: the cohort of every round; drawn by the run's seed if not given.
        rounds: rounds recorded; all of the experiment's if not given.
        complete: whether the final adapter is there.
        rejected: whether the first client of round 1 sends an update that is not finite.
    """
    folder = above / run.run_id
    folder.mkdir(parents=True)
    names = [f"client-{index:03}" for index in range(clients)]
    draws = np.random.default_rng(run.seed)
    # What a client finds hard does not depend on the run: methods are paired on it.
    hardness = np.random.default_rng(7).normal(0, 0.3, clients)
    resolved = {**run.model_dump(mode="json"), "run_id": run.run_id}
    (folder / "experiment.json").write_text(json.dumps(resolved))
    (folder / "environment.json").write_text(json.dumps(ENVIRONMENT))

    total = run.federation.rounds
    for number in range((total if rounds is None else rounds) + 1):
        progress = number / total
        if number > 0:
            drawn = [names[index] for index in draws.choice(clients, run.federation.cohort, replace=False)]
            cohort = list(trained) if trained is not None else drawn
            refused = cohort[:1] if rejected and number == 1 else []
            records.append(folder / "rounds.jsonl", _round(number, cohort, refused, BASE_LOSS - gain * progress))
            records.append(folder / "clients.jsonl", *(_client(number, name, refused) for name in cohort))
        every = run.evaluate.every
        if number in (0, total) or (every and number % every == 0):
            noise = draws.normal(0, 0.03, clients) if number else np.zeros(clients)
            values = BASE_LOSS + hardness - gain * progress + noise
            rows = [_evaluation(number, name, float(value)) for name, value in zip(names, values, strict=True)]
            records.append(folder / "evaluations.jsonl", *rows)
    if complete:
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_config.json").write_text("{}")
    return folder


def write_quickstart(above: Path) -> list[Path]:
    """Two local runs and one of FedAvg, as `fedllm-bench quickstart` leaves them."""
    local = {"federation": {"rounds": 4, "cohort": 1}, "algorithm": {"name": "local"}}
    return [
        *(
            write_run(
                above,
                experiment(**local, data={"drawn": {"index": index, "of": 2}}),
                gain=0.2 + 0.05 * index,
                trained=[f"client-00{index}"],
            )
            for index in range(2)
        ),
        write_run(above, experiment(), gain=0.31),
    ]


ENVIRONMENT = {
    "fedllm_bench": "0.1.0",
    "python": "3.11.7",
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "platform": "Linux-6.1-x86_64",
    "cpu": "A processor <with> 2 cores",
    "cores": 2,
    "device": "cpu",
    "base_model": "smollm2-135m",
    "base_fingerprint": "b179c9523d0e",
    "data": "fed-chitchat",
    "data_fingerprint": "0123456789ab",
    "dtype": "bfloat16",
    "width": 1,
    "token_budget": 1024,
    "threads": 2,
    "packing": "packed",
    "trainable_parameters": 921_600,
    "parameters": 134_515_008,
    "lora_bytes": 3_686_400,
    "started": "2026-01-01T00:00:00+00:00",
}


def _round(number: int, cohort: list[str], rejected: list[str], loss: float) -> dict[str, Any]:
    seconds = {"train": 20.0, "encode": 0.1, "aggregate": 0.05, "checkpoint": 0.1, "evaluate": 4.0}
    return {
        "round": number,
        "cohort": cohort,
        "rejected": rejected,
        "lr": 5e-4 / number,
        "train_loss": loss,
        "steps": 5 * len(cohort),
        "samples": 40 * len(cohort),
        "tokens": 6_000 * len(cohort),
        "trained_tokens": 1_200 * len(cohort),
        "flops": 3.2e12 * len(cohort),
        "bytes_up": 3_686_400 * len(cohort),
        "bytes_down": 3_686_400 * len(cohort),
        "update_norm": 0.4,
        "seconds": {**seconds, "total": 24.5},
    }


def _client(number: int, name: str, rejected: list[str]) -> dict[str, Any]:
    return {
        "round": number,
        "client": name,
        "samples": 40,
        "steps": 5,
        "tokens": 6_000,
        "trained_tokens": 1_200,
        "loss_first": 4.0,
        "loss_last": 3.8,
        "loss": 3.9,
        "update_norm": 0.4,
        "status": "rejected: non-finite update" if name in rejected else "ok",
        "skipped_samples": {"too long": 1},
    }


def _evaluation(number: int, name: str, loss: float) -> dict[str, Any]:
    return {
        "round": number,
        "client": name,
        "samples": 8,
        "tokens": 100 + 10 * int(name.removeprefix("client-")),
        "loss": loss,
        "accuracy": 0.9 - loss / 8,
        "skipped_samples": {},
    }
