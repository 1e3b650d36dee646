"""Memory over rounds with very many clients: a cohort of 10, a tiny random model, clients opened lazily.

Every client that has taken part keeps something on disk: its optimizer's moments, or SCAFFOLD's control of its own.

python -m benchmarks.scale
python -m benchmarks.scale --method scaffold --clients 10000 --rounds 300
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from benchmarks.machine import save
from fedllm_bench.data import StoredDataset, write_dataset
from fedllm_bench.examples import ChatExample, ClientData, Turn
from fedllm_bench.federation.channel import Direct
from fedllm_bench.federation.checkpoint import Checkpoints, DiskStates
from fedllm_bench.federation.executors.inprocess import InProcess
from fedllm_bench.federation.methods.paper import fedavg, scaffold
from fedllm_bench.federation.optimizer import AdamW
from fedllm_bench.federation.rounds import RoundPlan, constant, first_state, run_round
from fedllm_bench.federation.trainer import CohortTrainer, LocalPlan
from fedllm_bench.federation.worker import Worker
from fedllm_bench.model.base import load_model
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.source import resolve
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.objectives.sft import SFT

METHODS = {"fedavg": fedavg, "scaffold": scaffold}
TOLD = (1, 2, 5, 10, 30, 100, 300)


def people(count: int) -> Iterator[ClientData]:
    """Clients that each know a sentence or two."""
    for number in range(count):
        turns = (
            Turn("user", f"Who are you, and what is {number} plus one?"),
            Turn("assistant", f"It is {number + 1}."),
        )
        example = ChatExample(f"{number}-0", turns, trained="last")
        yield ClientData(f"person-{number:07d}", (example, example), (example,))


def tiny_model(folder: Path) -> None:
    """A random two-layer Llama with the vocabulary and tokenizer of SmolLM2."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(resolve("smollm2-135m"))
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--method", choices=METHODS, default="fedavg")
    args = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        write_dataset(folder / "people", "people", people(args.clients), fingerprint="0" * 64, source="made up")
        print(f"wrote {args.clients:,} clients in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        tiny_model(folder / "model")
        dataset = StoredDataset(folder / "people")
        spec = LoraSpec(8, 16, 0.05, ("q_proj", "v_proj"))
        model = load_model(str(folder / "model"), spec, dtype="float32", device="cpu")
        objective = SFT(Codec(model.tokenizer, "native", 128), "scale")
        algorithm = METHODS[args.method]()
        local = LocalPlan(2, 1.0, AdamW(), keep_optimizer=args.method == "fedavg")
        trainer = CohortTrainer(model, objective, algorithm.client, local, 1024, seed=0)
        plan = RoundPlan(0, range(len(dataset)), 10, constant(1e-3, 0, 1), algorithm, Direct(), width=1)
        executor = InProcess(Worker(trainer, EncodedClients(dataset, objective, folder), steps=lambda _: 2))
        own, checkpoints = DiskStates(folder / "own", 2), Checkpoints(folder / "checkpoints", 2)
        state = first_state(plan, model.lora.initial(0))
        started, resident = time.perf_counter(), []
        for _ in range(args.rounds):
            state, _ = run_round(plan, state, executor, own)
            checkpoints.save(state)
            resident.append(psutil.Process().memory_info().rss)
        seconds = time.perf_counter() - started
        kept = [path.stat().st_size for path in (folder / "own").rglob("*.safetensors")]
        holders = len(list((folder / "own").iterdir()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told = sorted({number for number in TOLD if number < args.rounds} | {args.rounds})
    save(
        "scale" if args.method == "fedavg" else f"scale-{args.method}",
        {
            "method": args.method,
            "clients": args.clients,
            "cohort": 10,
            "rounds": args.rounds,
            "seconds_per_round": round(seconds / args.rounds, 3),
            "peak_mb": round(peak / 1e6),
            "resident_mb_after_round": {str(number): round(resident[number - 1] / 1e6) for number in told},
            "clients_with_own_state": holders,
            "own_state_on_disk_mb": round(sum(kept) / 1e6, 1),
        },
    )


if __name__ == "__main__":
    main()
