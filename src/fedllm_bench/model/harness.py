"""A live model, with one of several adapters, as lm-evaluation-harness sees models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As the harness does it, without its bars."""
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        """For each request the sum of log p of the continuation's tokens, and whether each is the likeliest."""
        most = getattr(self.model.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30
        # Continuations of one token after the same context are read off one row: a question's letters, say.
        owners: dict[tuple[tuple[int, ...], int], list[int]] = {}
        for at, (_text, context, continuation) in enumerate(requests):
            before = tuple([*context, *continuation[:-1]][-most:])
            owners.setdefault((before, len(continuation)), []).append(at)
        rows = [
            _Row(before, count, [(at, requests[at][2]) for at in members])
            for (before, count), members in owners.items()
        ]
        found: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        with self.progress.task("log-likelihoods", len(rows), "rows") as task:
            for chosen in plan_micro_batches([len(row.before) for row in rows], TOKEN_BUDGET):
                for at, result in self._scored([rows[i] for i in chosen]):
                    found[at] = result
                task.advance(len(chosen))
        return found

    def _scored(self, rows: Sequence["_Row"]) -> Iterator[tuple[int, tuple[float, bool]]]:
        none = [0] * len(rows)
        # A token more than is passed, whose value nobody looks at, marks the last place as one to be scored.
        ids = [np.asarray([*row.before, 0], dtype=np.int32) for row in rows]
        layout = lay_out(
            ids,
            [np.arange(len(own)) >= len(own) - row.count for own, row in zip(ids, rows, strict=True)],
            [self.adapter] * len(rows),
            none,
            packed=self.model.packed,
            pad_id=self.model.pad_id,
            device=self.model.device,
        )
        with self.model.adapted(self.params, layout, training=False):
            logits = self.model.scored_logits(layout).float()
        chances, likeliest = logits.log_softmax(-1).double().cpu(), logits.argmax(-1).cpu()
        start = 0
        for row in rows:
            own, best = chances[start : start + row.count], likeliest[start : start + row.count]
            start += row.count
            for at, continuation in row.asked:
                wanted = torch.tensor(continuation)
                yield at, (float(own.gather(-1, wanted[:, None]).sum()), bool((best == wanted).all()))

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError("perplexity over long texts is not offered; held-out loss is in the run's own table")

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError("tasks that generate are not offered; see the chat benchmarks")


@dataclass(frozen=True, slots=True)
class _Row:
    """Tokens that are passed once, and the continuations that are read off them.

    Args:
        before: all tokens but the last of a continuation.
        count: tokens of each continuation.
        asked: number of the request and its continuation.
    """

    before: tuple[int, ...]
    count: int
    asked: Sequence[tuple[int, list[int]]]
