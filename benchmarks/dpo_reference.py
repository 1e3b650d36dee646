"""What caching reference log-probabilities saves: a preference step with it and without, in one process, in turn."""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.machine import save
from fedllm_bench import rng
from fedllm_bench.examples import ClientData, PreferenceExample, Turn
from fedllm_bench.federation.hooks import Plain
from fedllm_bench.federation.optimizer import AdamW
from fedllm_bench.federation.trainer import CohortTrainer, Learner, LocalPlan
from fedllm_bench.model.base import load_model
from fedllm_bench.model.compute import TOKEN_BUDGETS
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.objectives.dpo import dpo
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.progress import progress_on

SPEC = LoraSpec(rank=8, alpha=16, dropout=0.05, targets=("q_proj", "v_proj"))
SEED, LR, CLIENT = 0, 1e-4, "one"
WORDS = ("rain", "tea", "we", "you", "walk", "often", "never", "mild", "green", "song", "because", "river", "friend")


@dataclass(frozen=True)
class Pairs:
    """One client with so many pairs."""

    samples: tuple[PreferenceExample, ...]
    name: str = "benchmark-pairs"

    @property
    def fingerprint(self) -> str:
        return f"{self.name} {len(self.samples)}"

    def __len__(self) -> int:
        return 1

    def client_id(self, index: int) -> str:
        return CLIENT

    def size(self, index: int) -> int:
        return len(self.samples)

    def load(self, index: int) -> ClientData:
        return ClientData(CLIENT, self.samples, ())


def pairs(count: int) -> Pairs:
    """Made-up words, as long as people's questions and a model's answers."""
    draw = rng.stream(SEED, "pairs")

    def text(least: int, most: int) -> str:
        return " ".join(draw.choice(WORDS, int(draw.integers(least, most))))

    return Pairs(
        tuple(
            PreferenceExample(str(number), (Turn("user", text(10, 60)),), text(40, 120), text(40, 120))
            for number in range(count)
        )
    )


def measure(base: str, dtype: str, steps: int, batch: int, repeats: int) -> dict[str, object]:
    """Seconds a step with and without the cache, and what filling it took."""
    model = load_model(base, SPEC, dtype=dtype, device="auto")
    budget = TOKEN_BUDGETS[model.device.type]
    data = pairs(steps * batch)
    adapter = model.lora.initial(SEED)
    codec = Codec(model.tokenizer, "none", 512, "paper-dpo")
    seconds: dict[str, list[float]] = {"cached": [], "recomputed": []}
    with tempfile.TemporaryDirectory() as cache:
        trainers, learners = {}, {}
        for name in seconds:
            objective = dpo(cache_reference=name == "cached")(codec, f"{model.fingerprint} benchmark")
            encoded = EncodedClients(data, objective, Path(cache), objective.annotation(model), progress_on())
            started = time.perf_counter()
            part = encoded.part(0, "train")
            learners[name] = Learner(0, CLIENT, part.ready(range(len(part))), steps, {})
            if name == "cached":
                filling = time.perf_counter() - started
            trainers[name] = CohortTrainer(model, objective, Plain(), LocalPlan(batch, 1.0, AdamW()), budget, SEED)
        for number in range(repeats + 1):
            for name, trainer in trainers.items():
                started = time.perf_counter()
                (update,) = trainer.train(1, [learners[name]], adapter, {}, LR)
                if model.device.type == "cuda":
                    torch.cuda.synchronize()
                if number:  # the first of each is for warming up
                    seconds[name].append((time.perf_counter() - started) / steps)
    # Whatever else the machine does only adds to a time: the least of several is the step's own.
    with_cache, without = (min(seconds[name]) for name in ("cached", "recomputed"))
    return {
        "base": base,
        "dtype": str(next(model.model.parameters()).dtype).removeprefix("torch."),
        "pairs_a_step": batch,
        "tokens_a_pair": round(update.report.tokens / (steps * batch), 1),
        "seconds_a_step": seconds,
        "share_saved": round(1 - with_cache / without, 4),
        "seconds_to_fill_a_pair": round(filling / len(data.samples), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    save("dpo_reference", measure(args.base, args.dtype, args.steps, args.batch, args.repeats))


if __name__ == "__main__":
    main()
