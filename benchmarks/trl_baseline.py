"""Federated averaging of LoRA adapters with one TRL `SFTTrainer` per client and round, timed."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, PrinterCallback
from trl import SFTConfig, SFTTrainer

MICRO_BATCH = 4
ACCUMULATION = 4
PAD_TOKEN = "<|endoftext|>"

Adapter = dict[str, torch.Tensor]
Sample = dict[str, Any]


class MeasuredTrainer(SFTTrainer):
    """An `SFTTrainer` that keeps the loss of every micro-batch and counts its tokens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Start the counters."""
        super().__init__(*args, **kwargs)
        self.micro_losses: list[torch.Tensor] = []
        self.real_tokens: list[int] = []
        self.padded_tokens: list[int] = []

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Run one micro-batch, whose loss must be normalised by the tokens of the whole step."""
        if num_items_in_batch is None:
            raise RuntimeError("the loss would be averaged per micro-batch instead of per trained token")
        self.real_tokens.append(int(inputs["attention_mask"].sum()))
        self.padded_tokens.append(inputs["attention_mask"].numel())
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.micro_losses.append(loss)
        return loss

    def step_losses(self) -> list[float]:
        """Return the per-token mean loss of every optimiser step."""
        steps = torch.stack(self.micro_losses).float().view(-1, ACCUMULATION)
        return steps.sum(dim=1).tolist()


def load_tokenizer(model_dir: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer with a pad token that is not the end of a turn."""
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    tokenizer.pad_token = PAD_TOKEN
    return tokenizer


def load_model(model_dir: str, spec: dict[str, Any], bf16: bool, device: str, seed: int) -> PeftModel:
    """Load the base model with a fresh LoRA adapter, or with the one named in the workload."""
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16 if bf16 else torch.float32)
    config = LoraConfig(
        r=spec["rank"],
        lora_alpha=spec["alpha"],
        target_modules=spec["targets"],
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base.to(device), config)
    if spec.get("init"):
        load_adapter(model, load_file(spec["init"]))
    return model


def load_adapter(model: PeftModel, adapter: Adapter) -> None:
    """Replace every adapter tensor of the model."""
    result = set_peft_model_state_dict(model, adapter)
    missing = [key for key in result.missing_keys if "lora_" in key]
    if missing or result.unexpected_keys:
        raise ValueError(f"adapter does not fit the model: {missing[:3]} {result.unexpected_keys[:3]}")


def adapter_state(model: PeftModel) -> Adapter:
    """Copy the adapter tensors to the CPU in fp32."""
    return {
        key: value.detach().to("cpu", torch.float32, copy=True)
        for key, value in get_peft_model_state_dict(model).items()
    }


def average(adapters: list[Adapter], weights: list[float]) -> Adapter:
    """Average adapters with the given weights."""
    total = sum(weights)
    return {
        key: sum(adapter[key] * (weight / total) for adapter, weight in zip(adapters, weights, strict=True))
        for key in adapters[0]
    }


def make_config(output_dir: str, lr: float, steps: int, bf16: bool, device: str, seed: int) -> SFTConfig:
    """Configure plain fine-tuning: samples in the given order, constant rate, nothing saved or logged."""
    return SFTConfig(
        output_dir=output_dir,
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=ACCUMULATION,
        max_steps=steps,
        learning_rate=lr,
        lr_scheduler_type="constant",
        warmup_steps=0,
        optim="adamw_torch",
        weight_decay=0.0,
        max_grad_norm=1.0,
        gradient_checkpointing=True,
        completion_only_loss=True,
        max_length=None,
        packing=False,
        shuffle_dataset=False,
        train_sampling_strategy="sequential",
        bf16=bf16,
        fp16=False,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        seed=seed,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def make_dataset(samples: list[Sample]) -> Dataset:
    """Turn samples into the pre-tokenised rows that TRL builds its labels from."""
    return Dataset.from_list([{"input_ids": s["ids"], "completion_mask": s["mask"]} for s in samples])


def build_trainer(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: list[Sample],
    config: SFTConfig,
) -> MeasuredTrainer:
    """Build the trainer of one client, keeping its final report off stdout."""
    dataset = make_dataset(samples)
    trainer = MeasuredTrainer(model=model, args=config, train_dataset=dataset, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    return trainer


def check_order(trainer: MeasuredTrainer, samples: list[Sample]) -> None:
    """Refuse a run whose micro-batches were not the samples in their given order."""
    lengths = [len(s["ids"]) for s in samples]
    batches = [lengths[i : i + MICRO_BATCH] for i in range(0, len(lengths), MICRO_BATCH)]
    if trainer.real_tokens != [sum(batch) for batch in batches]:
        raise RuntimeError("the trainer did not consume the samples in their given order")
    if trainer.padded_tokens != [MICRO_BATCH * max(batch) for batch in batches]:
        raise RuntimeError("the trainer did not pad its micro-batches to their longest sample")


def train_client(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    adapter: Adapter,
    client: dict[str, Any],
    lr: float,
    bf16: bool,
    device: str = "cpu",
    seed: int = 0,
) -> tuple[Adapter, dict[str, Any]]:
    """Train the global adapter on one client's samples and return it with the measurements."""
    steps, rest = divmod(len(client["samples"]), MICRO_BATCH * ACCUMULATION)
    if rest or not steps:
        raise ValueError(f"client {client['client']} has no whole number of steps")
    start = time.perf_counter()
    load_adapter(model, adapter)
    with tempfile.TemporaryDirectory() as output_dir:
        config = make_config(output_dir, lr, steps, bf16, device, seed)
        trainer = build_trainer(model, tokenizer, client["samples"], config)
        built = time.perf_counter()
        trainer.train()
        local = adapter_state(model)
        done = time.perf_counter()
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    check_order(trainer, client["samples"])
    losses = trainer.step_losses()
    return local, {
        "client": client["client"],
        "build_s": built - start,
        "train_s": done - built,
        "real_tokens": sum(trainer.real_tokens),
        "padded_tokens": sum(trainer.padded_tokens),
        "last_step_loss": losses[-1],
        "mean_loss": sum(losses) / len(losses),
    }


def summarise(clients: list[dict[str, Any]], wall: float, cpu: float) -> dict[str, Any]:
    """Add up the measurements of one round."""
    keys = ("build_s", "train_s", "real_tokens", "padded_tokens")
    totals = {key: sum(c[key] for c in clients) for key in keys}
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        **totals,
        "padding_factor": totals["padded_tokens"] / totals["real_tokens"],
        "tokens_per_s": totals["real_tokens"] / wall,
        "train_tokens_per_s": totals["real_tokens"] / totals["train_s"],
        "clients": clients,
    }


def run(
    spec: dict[str, Any], model_dir: str, bf16: bool, device: str = "cpu", seed: int = 0
) -> tuple[Adapter, list[dict[str, Any]]]:
    """Run every round of the workload and return the final adapter with one summary per round."""
    tokenizer = load_tokenizer(model_dir)
    model = load_model(model_dir, spec, bf16, device, seed)
    adapter = adapter_state(model)
    summaries = []
    for clients in spec["rounds"]:
        start, cpu_start = time.perf_counter(), time.process_time()
        results = [
            train_client(model, tokenizer, adapter, client, spec["lr"], bf16, device, seed) for client in clients
        ]
        adapter = average([local for local, _ in results], [client["weight"] for client in clients])
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        summaries.append(summarise([measured for _, measured in results], wall, cpu))
    return adapter, summaries


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", type=Path)
    parser.add_argument("--model", required=True, help="folder with safetensors and tokenizer")
    parser.add_argument("--precision", choices=["fp32", "bf16"], required=True)
    parser.add_argument("--out", type=Path, required=True, help="safetensors file for the final adapter")
    parser.add_argument("--save-init", type=Path, help="safetensors file for the initial adapter")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Run the workload and print the measurements as JSON."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    datasets.disable_progress_bars()
    spec = json.loads(args.workload.read_text())
    bf16 = args.precision == "bf16"
    if args.save_init:
        save_file(adapter_state(load_model(args.model, spec, bf16, "cpu", args.seed)), args.save_init)
    adapter, rounds = run(spec, args.model, bf16, args.device, args.seed)
    save_file(adapter, args.out)
    json.dump({"precision": args.precision, "threads": args.threads, "rounds": rounds}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
