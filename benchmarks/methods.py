"""What each method adds to FedAvg's round on the same work: same clients, samples and steps, rounds in turn."""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.machine import save
from benchmarks.workload import BATCH, LR, SEED, SPEC, clients_and_rows
from fedllm_bench.federation.algorithms import ALGORITHMS
from fedllm_bench.federation.channel import Pipeline
from fedllm_bench.federation.checkpoint import DiskStates
from fedllm_bench.federation.executors.inprocess import InProcess
from fedllm_bench.federation.messages import RunState
from fedllm_bench.federation.optimizer import AdamW
from fedllm_bench.federation.rounds import RoundPlan, constant, first_state, run_round
from fedllm_bench.federation.trainer import CohortTrainer, LocalPlan
from fedllm_bench.federation.worker import Worker
from fedllm_bench.model.base import LanguageModel, load_model
from fedllm_bench.objectives.encoded import EncodedClients

METHODS = (
    *("fedavg", "fedprox", "scaffold", "fedavgm", "fedadagrad", "fedyogi", "fedadam"),
    *("ffa-lora", "fedsa-lora"),
)


class Side:
    """One method, going on from round to round."""

    def __init__(self, name: str, model: LanguageModel, encoded: EncodedClients, clients: int, steps: int) -> None:
        algorithm = ALGORITHMS[name]()
        self.plan = RoundPlan(
            SEED, range(clients), clients, constant(LR, 0, 1), algorithm, Pipeline([]), 1, algorithm.keys
        )
        plan = LocalPlan(BATCH, 1.0, AdamW())
        trainer = CohortTrainer(
            model, encoded.objective, algorithm.client, plan, 1024, SEED, algorithm.keys, algorithm.beside
        )
        self.executor = InProcess(Worker(trainer, encoded, lambda samples: steps))
        self.state: RunState = first_state(self.plan, model.lora.initial(SEED))

    def seconds(self, own: DiskStates) -> float:
        """Time of the next round."""
        started = time.perf_counter()
        self.state, _ = run_round(self.plan, self.state, self.executor, own)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="measured, after one that is not")
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS, help="beside fedavg")
    args = parser.parse_args()
    torch.set_num_threads(2)
    methods = list(dict.fromkeys(["fedavg", *args.methods]))
    model = load_model("smollm2-135m", SPEC, dtype="auto", device="auto")
    _, encoded = clients_and_rows(args.clients)
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: Side(name, model, encoded, args.clients, args.steps) for name in methods}
        owns = {name: DiskStates(Path(folder) / name, 2) for name in methods}
        taken: dict[str, list[float]] = {name: [] for name in methods}
        for number in range(args.rounds + 1):
            # Every other round in the opposite order: what drifts over a round then evens out.
            for name in methods if number % 2 else reversed(methods):
                seconds = sides[name].seconds(owns[name])
                if number:
                    taken[name].append(seconds)
            print(f"round {number} done", file=sys.stderr)
    ratios = {
        name: [mine / fedavg for mine, fedavg in zip(values, taken["fedavg"], strict=True)]
        for name, values in taken.items()
    }
    save(
        "methods",
        {
            "clients": args.clients,
            "steps": args.steps,
            "dtype": str(model.model.dtype),
            "fedavg_seconds": [round(value, 3) for value in taken["fedavg"]],
            "median_ratio_to_fedavg": {name: round(statistics.median(values), 4) for name, values in ratios.items()},
            "fastest_to_fastest": {name: round(min(v) / min(taken["fedavg"]), 4) for name, v in taken.items()},
        },
    )


if __name__ == "__main__":
    main()
