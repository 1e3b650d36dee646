"""The engine's side of the throughput benchmark: the workload's rounds through the cohort trainer, timed."""

import argparse
import json
import time
from pathlib import Path

import torch

from benchmarks.workload import BATCH, LR, SEED, SPEC, clients_and_rows
from fedllm_bench.federation.aggregate import WeightedMean
from fedllm_bench.federation.hooks import Plain
from fedllm_bench.federation.optimizer import AdamW
from fedllm_bench.federation.trainer import CohortTrainer, Learner, LocalPlan
from fedllm_bench.model.base import load_model
from fedllm_bench.model.compute import TOKEN_BUDGETS
from fedllm_bench.model.peft_format import save_adapter
from fedllm_bench.tensors import add


def run(
    clients: int, rounds: int, steps: int, dtype: str, budget: int, width: int, out: Path | None
) -> dict[str, object]:
    """Train the workload and return tokens, seconds and losses."""
    model = load_model("smollm2-135m", SPEC, dtype=dtype, device="auto")
    dataset, encoded = clients_and_rows(clients)
    objective = encoded.objective
    trainer = CohortTrainer(model, objective, Plain(), LocalPlan(BATCH, 1.0, AdamW()), token_budget=budget, seed=SEED)
    adapter = model.lora.initial(SEED)
    learners = [
        Learner(position, dataset.client_id(position), encoded.part(position, "train"), steps, {})
        for position in range(clients)
    ]
    tokens, flops, started = 0, 0.0, time.perf_counter()
    for number in range(1, rounds + 1):
        merger, reports = WeightedMean(), []
        for at in range(0, clients, width):
            for update in trainer.train(number, learners[at : at + width], adapter, {}, LR):
                merger.add(update.client, update.delta, update.weight)
                reports.append(update.report)
        merged = merger.result()
        adapter = adapter if merged is None else add(adapter, merged.delta)
        tokens += sum(report.tokens for report in reports)
        flops += sum(report.flops for report in reports)
    seconds = time.perf_counter() - started
    if out is not None:
        save_adapter(out, adapter, SPEC, "smollm2-135m")
    return {
        "dtype": dtype,
        "seconds": seconds,
        "tokens": tokens,
        "tokens_per_s": tokens / seconds,
        "gflops_per_s": flops / seconds / 1e9,
        "mean_loss": {report.client: report.loss for report in reports},
        "last_loss": {report.client: report.loss_last for report in reports},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--budget", type=int, default=TOKEN_BUDGETS["cpu"])
    parser.add_argument("--width", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(json.dumps(run(args.clients, args.rounds, args.steps, args.dtype, args.budget, args.width, args.out)))


if __name__ == "__main__":
    main()
