"""A live model, with one of several adapters, as lm-evaluation-harness sees models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lm_eval.api.model import TemplateLM

from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.layout import lay_out, plan_micro_batches
from fedllm_bench.progress import SILENT, Progress
from fedllm_bench.tensors import Tensors

__all__ = ["HarnessModel"]

TOKEN_BUDGET = 4096


class HarnessModel(TemplateLM):  # type: ignore[misc]
    """Log-likelihoods of continuations; rows are packed end to end and logits formed where they are scored.

    Args:
        model: base with adapter sites.
        params: stacked adapters (adapters, ...); None for the base alone.
        adapter: position in the stack.
        progress: shows the requests.
    """

    def __init__(
        self, model: LanguageModel, params: Tensors | None, adapter: int = 0, progress: Progress = SILENT
    ) -> None:
        super().__init__()
        self.model = model
        self.params = params
        self.adapter = adapter
        self.progress = progress

    @property
    def eot_token_id(self) -> int:
        return int(self.model.tokenizer.eos_token_id)

    @property
    def tokenizer_name(self) -> str:
        return str(self.model.tokenizer.name_or_path)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids, with special ones only where asked for."""
        ids: list[int] = self.model.tokenizer(string, add_special_tokens=bool(add_special_tokens))["input_ids"]
        return ids

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        """For each request the sum of log p of the continuation's tokens, and whether each is the likeliest."""
        most = getattr(self.model.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30
        rows = []
        for _text, context, continuation in requests:
            ids = np.asarray([*context, *continuation], dtype=np.int32)[-(most + 1) :]
            scored = np.arange(len(ids)) >= len(ids) - len(continuation)
            rows.append((ids, scored))
        found: list[tuple[float, bool]] = [(0.0, True)] * len(rows)
        with self.progress.task("log-likelihoods", len(rows), "requests") as task:
            for chosen in plan_micro_batches([len(ids) for ids, _ in rows], TOKEN_BUDGET):
                for row, result in zip(chosen, self._scored([rows[at] for at in chosen]), strict=True):
                    found[row] = result
                task.advance(len(chosen))
        return found

    def _scored(self, rows: Sequence[tuple[Any, Any]]) -> list[tuple[float, bool]]:
        none = [0] * len(rows)
        layout = lay_out(
            [ids for ids, _ in rows],
            [scored for _, scored in rows],
            [self.adapter] * len(rows),
            none,
            packed=self.model.packed,
            pad_id=self.model.pad_id,
            device=self.model.device,
        )
        with self.model.adapted(self.params, layout, training=False):
            logits = self.model.scored_logits(layout).float()
        chances = logits.log_softmax(-1).gather(-1, layout.targets[:, None])[:, 0].double()
        likeliest = logits.argmax(-1) == layout.targets
        sums = torch.zeros(len(rows), dtype=torch.float64, device=chances.device)
        sums.index_add_(0, layout.target_rows, chances)
        misses = torch.zeros(len(rows), device=chances.device).index_add_(0, layout.target_rows, (~likeliest).float())
        return list(zip(sums.tolist(), (misses == 0).tolist(), strict=True))

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError("perplexity over long texts is not offered; held-out loss is in the run's own table")

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError("tasks that generate are not offered; see the chat benchmarks")
