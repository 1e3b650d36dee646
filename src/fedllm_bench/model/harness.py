"""A live model, with one of several adapters, as lm-evaluation-harness sees models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.generate import Prompt, batches, generate, stop_ids
from fedllm_bench.model.layout import lay_out, plan_micro_batches
from fedllm_bench.model.prepacked import prepacked
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.progress import SILENT, Progress
from fedllm_bench.tensors import Tensors

__all__ = ["HarnessModel"]

TOKEN_BUDGET = 4096
NEW_TOKENS = 256  # of an answer where a task does not say, as the harness has it


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

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that follows nothing."""
        first = self.model.tokenizer.bos_token_id
        return self.eot_token_id if first is None else int(first)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; where nothing is said of special ones, as the tokenizer has it, but none at the front twice."""
        first = self.model.tokenizer.bos_token
        if add_special_tokens is None and first and string.startswith(first):
            add_special_tokens = False
        said = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        ids: list[int] = self.model.tokenizer(string, **said)["input_ids"]
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
        # Continuations of one token after the same context are read off one row: a question's letters, say.
        owners: dict[tuple[tuple[int, ...], int], list[int]] = {}
        for at, (_text, context, continuation) in enumerate(requests):
            before = tuple([*context, *continuation[:-1]][-self._places :])
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
        """For each text the sum of log p of all its tokens, in windows as long as the model takes."""
        windows = [
            (at, window)
            for at, request in enumerate(requests)
            for window in map(
                make_disjoint_window,
                get_rolling_token_windows(self.tok_encode(request.args[0]), self.prefix_token_id, self._places, 1),
            )
        ]
        scored = self._loglikelihood_tokens([(None, *window) for _, window in windows])
        sums = [0.0] * len(requests)
        for (at, _), (value, _likeliest) in zip(windows, scored, strict=True):
            sums[at] += value
        return sums

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """For each request what follows its context, up to the first of its stop words."""
        asked = [_Asked.of(at, *request.args) for at, request in enumerate(requests)]
        prompts = [self._prompt(one) for one in asked]
        stops, found = stop_ids(self.model), [""] * len(asked)
        with prepacked(self.model.model), self.progress.task("harness: answers", len(asked), "answers") as task:
            for chosen in batches(prompts):
                made = generate(self.model, [prompts[at] for at in chosen], stops, 0, self.params)
                for at, one in zip(chosen, made, strict=True):
                    found[at] = asked[at].cut(self.model.tokenizer.decode(list(one.ids), skip_special_tokens=True))
                task.advance(len(chosen))
        return found

    def _prompt(self, asked: "_Asked") -> Prompt:
        ids = self.tok_encode(asked.context)[-max(1, self._places - asked.sampling.max_new_tokens) :]
        return Prompt(np.asarray(ids, dtype=np.int32), asked.sampling, ("harness", asked.number), self.adapter)

    @property
    def _places(self) -> int:
        return getattr(self.model.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30


@dataclass(frozen=True, slots=True)
class _Asked:
    """A text to be continued.

    Args:
        number: of the request.
        context: what is there.
        sampling: how it is continued.
        until: words that end it, and are no part of it.
    """

    number: int
    context: str
    sampling: Sampling
    until: tuple[str, ...]

    @classmethod
    def of(cls, number: int, context: str, settings: dict[str, Any]) -> "_Asked":
        """From a request of the harness."""
        found = normalize_gen_kwargs(settings, NEW_TOKENS)
        warm = float(found.get("temperature", 0.0)) if found["do_sample"] else 0.0
        sampling = Sampling(warm, found["max_gen_toks"], float(found.get("top_p", 1.0)))
        return cls(number, context, sampling, tuple(found["until"]))

    def cut(self, text: str) -> str:
        """A text up to the first word that ends it."""
        for word in filter(None, self.until):
            text = text.partition(word)[0]
        return text


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
