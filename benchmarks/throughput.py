"""Real tokens per second of the engine beside a loop of TRL trainers: same clients, samples, order, steps and start.

The peer builds a TRL `SFTTrainer` for each client in each round, with gradient checkpointing, micro-batches of 4 padded
to the longest, accumulated 4 times, completion-only loss, and the precision stated. The two sides run in turn, each in
a process of its own, so that a machine whose speed drifts is fair to both.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import save
from benchmarks.matmul_peak import matmul_peak
from benchmarks.workload import SEED, SPEC, write_workload
from fedllm_bench.model.base import device_and_dtype, load_model
from fedllm_bench.model.compute import TOKEN_BUDGETS, WIDTHS
from fedllm_bench.model.source import resolve

PEER_PRECISION = {"float32": "fp32", "bfloat16": "bf16"}


def measured(*command: str) -> dict[str, Any]:
    """Run a side of the comparison and read what it prints."""
    done = subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def peer_summary(result: dict[str, Any]) -> dict[str, Any]:
    """Tokens per second over all rounds, and the last losses in client order."""
    rounds = result["rounds"]
    tokens, seconds = sum(r["real_tokens"] for r in rounds), sum(r["wall_s"] for r in rounds)
    return {
        "tokens": tokens,
        "tokens_per_s": tokens / seconds,
        "padding": sum(r["padded_tokens"] for r in rounds) / tokens,
        "build_share": sum(r["build_s"] for r in rounds) / seconds,
        "last_loss": [client["last_step_loss"] for client in rounds[-1]["clients"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", choices=PEER_PRECISION, default="float32", help="precision of the peer")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    place, dtype = device_and_dtype("auto", "auto")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work.json"
        init = load_model("smollm2-135m", SPEC, dtype="float32", device="cpu").lora.initial(SEED)
        lengths = write_workload(work, args.clients, args.rounds, args.steps, dict(init))
        shape = [f"--{name}={getattr(args, name)}" for name in ("clients", "rounds", "steps", "threads")]
        engine_command = ("benchmarks.engine", *shape, "--dtype", dtype, "--width", str(WIDTHS[place.type]))
        engine_command += ("--budget", str(TOKEN_BUDGETS[place.type]))
        peer_command = ("benchmarks.trl_baseline", str(work), "--model", str(resolve("smollm2-135m")))
        peer_command += ("--precision", PEER_PRECISION[args.peer], "--device", place.type)
        peer_command += ("--out", f"{folder}/peer.safetensors")
        pairs = []
        for _ in range(args.repeats):
            engine = measured(*engine_command)
            peer = peer_summary(measured(*peer_command, f"--threads={args.threads}"))
            pairs.append((engine, peer))
            print(f"engine {engine['tokens_per_s']:.0f}, peer {peer['tokens_per_s']:.0f} tokens/s", file=sys.stderr)
    peak = matmul_peak(getattr(torch, dtype), place.type)
    engine, peer = pairs[-1]
    losses = list(engine["last_loss"].values())
    save(
        f"throughput-{PEER_PRECISION[args.peer]}",
        {
            "workload": {"clients": args.clients, "rounds": args.rounds, "steps": args.steps, "batch": 16, **lengths},
            "engine_dtype": dtype,
            "peer_dtype": args.peer,
            "engine_tokens_per_s": [round(e["tokens_per_s"], 1) for e, _ in pairs],
            "peer_tokens_per_s": [round(p["tokens_per_s"], 1) for _, p in pairs],
            "ratio": round(statistics.median(e["tokens_per_s"] / p["tokens_per_s"] for e, p in pairs), 2),
            "peer_padding": round(peer["padding"], 3),
            "peer_trainer_build_share": round(peer["build_share"], 4),
            "last_loss": {"engine": losses, "peer": peer["last_loss"]},
            "largest_loss_difference": max(abs(a - b) / b for a, b in zip(losses, peer["last_loss"], strict=True)),
            "matmul_peak_gflops": round(peak, 1),
            "engine_share_of_peak": round(engine["gflops_per_s"] / peak, 3),
        },
    )


if __name__ == "__main__":
    main()
