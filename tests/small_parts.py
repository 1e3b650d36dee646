"""The engine's own parts at their smallest: a tiny model, an objective, encoded people, a trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedllm_bench import rng
from fedllm_bench.examples import FederatedDataset
from fedllm_bench.federation.hooks import ClientHook, Plain
from fedllm_bench.federation.messages import Update
from fedllm_bench.federation.optimizer import AdamW
from fedllm_bench.federation.trainer import CohortTrainer, Learner, LocalPlan
from fedllm_bench.model.base import LanguageModel, load_model
from fedllm_bench.model.layout import Layout, lay_out
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.objectives.sft import SFT
from fedllm_bench.tensors import Tensors, norm, subtract

SPEC = LoraSpec(rank=4, alpha=8.0, dropout=0.0, targets=("q_proj", "v_proj"))
WITH_DROPOUT = LoraSpec(rank=4, alpha=8.0, dropout=0.2, targets=("q_proj", "v_proj"))


def language_model(folder: Path, spec: LoraSpec = SPEC, **options: Any) -> LanguageModel:
    """A model in fp32 on the CPU, by one thread."""
    torch.set_num_threads(1)
    return load_model(str(folder), spec, dtype="float32", device="cpu", **options)


def sft(model: LanguageModel, template: str = "native", max_length: int = 512, truncation: str = "left-context") -> SFT:
    """Supervised fine-tuning with the model's tokenizer."""
    return SFT(Codec(model.tokenizer, template, max_length, truncation), f"{template} {max_length} {truncation}")


def moved(model: LanguageModel, seed: int = 0) -> dict[str, Tensor]:
    """An adapter that has left its start: B is not zero, so that A has a gradient too."""
    drawn = {
        name: torch.from_numpy(rng.stream(seed, "moved", name).normal(0, 0.05, value.shape)).float()
        for name, value in model.lora.initial(seed).items()
    }
    return {name: value + drawn[name] for name, value in model.lora.initial(seed).items()}


def rows_of(model: LanguageModel, lengths: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Random token ids, one tensor a row."""
    draw = rng.stream(seed, "rows")
    return [torch.from_numpy(draw.integers(3, model.model.config.vocab_size, length)) for length in lengths]


def laid_out(model: LanguageModel, rows: Sequence[Tensor], owners: Sequence[int], keys: Sequence[int]) -> Layout:
    """Rows in one pass, every token but the first scored."""
    ids = [row.numpy().astype("int32") for row in rows]
    flags = [torch.ones(len(row), dtype=torch.bool).numpy() for row in rows]
    return lay_out(ids, flags, owners, keys, packed=model.packed, pad_id=model.pad_id, device=model.device)


def logits(
    model: LanguageModel,
    rows: Sequence[Tensor],
    params: Tensors | None = None,
    owners: Sequence[int] | None = None,
    *,
    keys: Sequence[int] | None = None,
    training: bool = False,
) -> list[Tensor]:
    """Logits of each row at all its tokens but the last, the rows taken in one pass."""
    layout = laid_out(model, rows, owners or [0] * len(rows), keys or list(range(len(rows))))
    with model.adapted(params, layout, training=training):
        scored = model.scored_logits(layout)
    return list(scored.split([len(row) - 1 for row in rows]))


def stacked(*adapters: Tensors) -> dict[str, Tensor]:
    """Adapters of several clients as the model takes them."""
    return {name: torch.stack([adapter[name] for adapter in adapters]) for name in adapters[0]}


def trainer(
    model: LanguageModel,
    objective: SFT,
    *,
    hook: ClientHook | None = None,
    batch_size: int = 3,
    clip_norm: float | None = 1.0,
    optimizer: AdamW | None = None,
    keep_optimizer: bool = False,
    token_budget: int = 300,
) -> CohortTrainer:
    """A cohort trainer with seed 7."""
    plan = LocalPlan(batch_size, clip_norm, optimizer or AdamW(), keep_optimizer)
    return CohortTrainer(model, objective, hook or Plain(), plan, token_budget, seed=7)


def learners(
    dataset: FederatedDataset, objective: SFT, cache: Path, steps: Sequence[int], owns: Sequence[Tensors] | None = None
) -> list[Learner]:
    """Every client of a dataset, about to take so many steps."""
    encoded = EncodedClients(dataset, objective, cache)
    return [
        Learner(client, dataset.client_id(client), encoded.part(client, "train"), count, owns[client] if owns else {})
        for client, count in enumerate(steps)
    ]


def difference(a: Tensors, b: Tensors) -> float:
    """|a - b| / |b|."""
    return norm(subtract(a, b)) / norm(b)


def deltas_differ(some: Sequence[Update], others: Sequence[Update]) -> float:
    """The largest relative difference between the updates of a client."""
    assert [update.client for update in some] == [update.client for update in others]
    return max(difference(a.delta, b.delta) for a, b in zip(some, others, strict=True))
