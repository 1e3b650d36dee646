"""One run from its first round to the saved adapter, or from wherever it stopped."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedllm_bench import records
from fedllm_bench.build import build
from fedllm_bench.check import check, require_data
from fedllm_bench.environment import describe, require_same
from fedllm_bench.errors import FedLLMError
from fedllm_bench.experiment import Experiment
from fedllm_bench.federation.checkpoint import Checkpoints, DiskStates
from fedllm_bench.federation.messages import ClientReport, RoundRecord, RunState
from fedllm_bench.federation.rounds import first_state, run_round
from fedllm_bench.model.compute import telling_of_order
from fedllm_bench.model.peft_format import save_adapter
from fedllm_bench.progress import SILENT, Progress, Task
from fedllm_bench.scores import base_scores, finite, round_scores
from fedllm_bench.store import RunFolder, telling_of_full_disk, write_json

__all__ = ["execute"]


def execute(experiment: Experiment, runs: Path, progress: Progress = SILENT) -> Path:
    """Run an experiment to its end and return its folder; a complete run is left alone, an interrupted one goes on.

    Args:
        experiment: one resolved run.
        runs: the folder above all experiments.
        progress: shows how far it is.

    Raises:
        FedLLMError: something in the experiment, the data, the model or the folder is not usable.
    """
    check(experiment)
    require_data(experiment)
    folder = RunFolder(runs / experiment.name / experiment.run_id)
    with telling_of_full_disk(folder.path), telling_of_order(), folder.locked():
        folder.claim({**experiment.model_dump(mode="json"), "run_id": experiment.run_id})
        if not folder.complete:
            try:
                _Run(experiment, folder, progress).finish()
            except FedLLMError:
                folder.abandon_if_not_begun()
                raise
    return folder.path


@dataclass
class _Run:
    """A run under way: the experiment, its folder, and how to tell of progress."""

    experiment: Experiment
    folder: RunFolder
    progress: Progress

    def finish(self) -> None:
        recorded = None
        if self.folder.environment.exists():
            recorded = json.loads(self.folder.environment.read_text(encoding="utf-8"))
        self.parts = build(self.experiment, recorded, self.progress)
        environment = describe(self.experiment, self.parts)
        if recorded is None:
            write_json(self.folder.environment, environment)
        else:
            require_same(recorded, environment, self.folder.path)
        checkpoints = Checkpoints(self.folder.checkpoints, self.experiment.checkpoint.keep)
        own = DiskStates(self.folder.own, self.experiment.checkpoint.keep * self.experiment.checkpoint.every)
        state = self._resume(checkpoints)
        self._rounds(state, checkpoints, own)

    def _resume(self, checkpoints: Checkpoints) -> RunState:
        """The newest state, with the records of rounds that come after it taken back."""
        state = checkpoints.newest()
        if state is None:
            adapter = self.parts.model.lora.initial(self.experiment.seed)
            state = first_state(self.parts.plan, adapter)
        self.parts.model.lora.require_shape(state.adapter, str(self.folder.checkpoints))
        self.folder.sweep()
        checkpoints.thin_out()
        for path in (self.folder.rounds, self.folder.clients, self.folder.evaluations):
            # Before the first checkpoint nothing counts, the base's scores neither: they may be there in part.
            records.keep(path, lambda record: state.round > 0 and record["round"] <= state.round)
        if state.round == 0:
            records.append(
                self.folder.evaluations,
                *base_scores(self.experiment, self.parts, self.folder.path.parent, self.progress),
            )
        return state

    def _rounds(self, state: RunState, checkpoints: Checkpoints, own: DiskStates) -> None:
        rounds = self.experiment.federation.rounds
        checkpoint_seconds = 0.0
        with self.progress.task(f"{self.experiment.algorithm.name}", rounds, "rounds", done=state.round) as task:
            while state.round < rounds:
                started = time.perf_counter()
                state, record = self._one_round(state, own)
                seconds = {**record.seconds, "checkpoint": checkpoint_seconds}
                if self._is_evaluated(state.round):
                    before = time.perf_counter()
                    records.append(
                        self.folder.evaluations, *round_scores(self.experiment, self.parts, state, own, self.progress)
                    )
                    seconds["evaluate"] = time.perf_counter() - before
                seconds["total"] = time.perf_counter() - started + checkpoint_seconds
                records.append(self.folder.clients, *self._client_records(record))
                row = self._round_record(record, seconds)
                records.append(self.folder.rounds, row)
                before = time.perf_counter()
                if state.round % self.experiment.checkpoint.every == 0 or state.round == rounds:
                    checkpoints.save(state)
                checkpoint_seconds = time.perf_counter() - before
                _tell(task, row)
        save_adapter(
            self.folder.adapter,
            state.adapter,
            self.parts.model.lora.spec,
            self.experiment.model.base,
            state.base,
        )

    def _one_round(self, state: RunState, own: DiskStates) -> tuple[RunState, RoundRecord]:
        cohort = min(self.experiment.federation.cohort, len(self.parts.plan.members))
        started, tokens = time.perf_counter(), 0
        with self.progress.task(f"round {state.round + 1}", cohort, "clients") as task:

            def on_client(report: ClientReport) -> None:
                nonlocal tokens
                tokens += report.tokens
                task.advance(1, tokens_per_s=round(tokens / (time.perf_counter() - started)))

            return run_round(self.parts.plan, state, self.parts.executor, own, on_client)

    def _is_evaluated(self, round: int) -> bool:
        every = self.experiment.evaluate.every
        return round == self.experiment.federation.rounds or (every > 0 and round % every == 0)

    # --- records

    def _client_records(self, record: RoundRecord) -> list[dict[str, Any]]:
        return [
            {
                "round": record.round,
                "client": self.parts.dataset.client_id(report.client),
                "samples": report.samples,
                "steps": report.steps,
                "tokens": report.tokens,
                "trained_tokens": report.trained_tokens,
                "loss_first": finite(report.loss_first),
                "loss_last": finite(report.loss_last),
                "loss": finite(report.loss),
                "update_norm": finite(record.update_norms.get(report.client)),
                "status": record.rejected.get(report.client, "ok"),
                "skipped_samples": dict(report.notes),
            }
            for report in record.reports
        ]

    def _round_record(self, record: RoundRecord, seconds: Mapping[str, float]) -> dict[str, Any]:
        name = self.parts.dataset.client_id
        spent = self.parts.plan.channel.account(record.round)
        return {
            "round": record.round,
            "cohort": [name(client) for client in record.cohort],
            "rejected": [name(client) for client in record.rejected],
            "lr": record.lr,
            "train_loss": finite(_mean_loss(record.reports)),
            "steps": sum(report.steps for report in record.reports),
            "samples": sum(report.steps for report in record.reports) * self.experiment.local.batch_size,
            "tokens": sum(report.tokens for report in record.reports),
            "trained_tokens": sum(report.trained_tokens for report in record.reports),
            "flops": sum(report.flops for report in record.reports),
            "bytes_up": record.bytes_up,
            "bytes_down": record.bytes_down,
            "update_norm": finite(record.update_norm),
            **({} if spent is None else {"privacy": dict(spent)}),
            "seconds": {name: round(value, 4) for name, value in seconds.items()},
        }


def _mean_loss(reports: Sequence[ClientReport]) -> float | None:
    """Training loss per trained token over the cohort; clients whose loss is not finite do not count."""
    good = [report for report in reports if report.loss is not None and math.isfinite(report.loss)]
    tokens = sum(report.trained_tokens for report in good)
    return sum(float(report.loss or 0.0) * report.trained_tokens for report in good) / tokens if tokens else None


def _tell(task: Task, row: Mapping[str, Any]) -> None:
    loss = row["train_loss"]
    task.advance(
        1,
        loss="n/a" if loss is None else round(loss, 3),
        tokens_per_s=round(row["tokens"] / row["seconds"]["train"]) if row["seconds"].get("train") else 0,
        up=f"{row['bytes_up'] / 1e6:.1f} MB",
        down=f"{row['bytes_down'] / 1e6:.1f} MB",
    )
