"""The work that both sides of the throughput benchmark do: the same clients, samples, order, steps and adapter."""

import json
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from fedllm_bench import assets
from fedllm_bench.data import build_fed_chitchat, draw, with_samples
from fedllm_bench.examples import FederatedDataset
from fedllm_bench.federation.batches import shuffled_batches
from fedllm_bench.model.base import load_tokenizer
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.objectives.sft import SFT

BATCH, SEED, LR = 16, 0, 2e-4
SPEC = LoraSpec(rank=16, alpha=32, dropout=0.0, targets=("q_proj", "v_proj"))


def clients_and_rows(clients: int) -> tuple[FederatedDataset, EncodedClients]:
    """Chitchat clients with at least 64 samples; long contexts, so that the median row has about 200 tokens."""
    dataset = build_fed_chitchat(assets.locate("chitchat"), assets.cache_dir(), min_samples=64, context_turns=9)
    dataset = draw(with_samples(dataset, 64), clients, SEED)
    codec = Codec(load_tokenizer("smollm2-135m"), "native", max_length=512)
    return dataset, EncodedClients(dataset, SFT(codec, "benchmark"), assets.cache_dir())


def write_workload(path: Path, clients: int, rounds: int, steps: int, init: dict[str, object]) -> dict[str, float]:
    """Write what the peer is to train on, in the order in which the engine draws it; returns length statistics."""
    dataset, encoded = clients_and_rows(clients)
    adapter = path.with_suffix(".safetensors")
    save_file({f"base_model.model.{name}": value for name, value in init.items()}, adapter)
    lengths = []
    plan = []
    for number in range(1, rounds + 1):
        cohort = []
        for position in range(clients):
            rows, name = encoded.part(position, "train"), dataset.client_id(position)
            batches = shuffled_batches(SEED, number, name, len(rows), BATCH, steps)
            samples = [rows[row] for batch in batches for row in batch]
            lengths += [len(sample["ids"]) for sample in samples]
            cohort.append(
                {
                    "client": name,
                    "weight": len(rows),
                    "samples": [{"ids": s["ids"].tolist(), "mask": s["trained"].astype(int).tolist()} for s in samples],
                }
            )
        plan.append(cohort)
    work = {"rounds": plan, "lr": LR, "rank": SPEC.rank, "alpha": SPEC.alpha, "targets": list(SPEC.targets)}
    path.write_text(json.dumps({**work, "init": str(adapter)}))
    return {
        "rows": len(lengths),
        "median": float(np.median(lengths)),
        "shortest": min(lengths),
        "longest": max(lengths),
    }
