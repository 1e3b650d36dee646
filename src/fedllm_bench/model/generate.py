"""Answers of a model to many conversations at once, with several adapters over one base."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from fedllm_bench import rng
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.cached import CACHED, KeyValues, padded_by, supports_cached
from fedllm_bench.model.layout import route_of
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.tensors import Tensors

__all__ = ["ROWS", "Generated", "Prompt", "alike", "batches", "generate", "most_new", "stop_ids"]

Ids = NDArray[np.int32]

ROWS = 32  # most rows of a batch
PLACES = 65_536  # most tokens of a batch, room for the answers included: what keys and values take grows with it
ALIKE = 0.8  # prompts at least so long, beside the longest, are passed together: what is padded is computed, too
FULL = 512  # places of a pass that fill a processor; with fewer, shorter prompts may come along
SPARSE = 0.8  # a batch in which a smaller share of the rows goes on is made smaller


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is answered.

    Args:
        ids: tokens up to where the answer begins.
        sampling: how the answer is drawn.
        key: with the seed it decides the random numbers, whatever else is in the batch.
        adapter: position in the stack of adapters.
    """

    ids: Ids
    sampling: Sampling
    key: tuple[int | str, ...]
    adapter: int = 0


@dataclass(frozen=True, slots=True)
class Generated:
    """An answer.

    Args:
        ids: its tokens, without the one that ends it.
        stopped: whether the model ended it; False: it was cut.
    """

    ids: tuple[int, ...]
    stopped: bool


def stop_ids(model: LanguageModel, codec: Codec | None = None) -> frozenset[int]:
    """Tokens that end an answer: those that the model, its tokenizer or the template end one with."""
    named = getattr(model.model.generation_config, "eos_token_id", None)
    several = named if isinstance(named, list) else [named]
    ending = None if codec is None else codec.ending()
    return frozenset(int(one) for one in (*several, model.tokenizer.eos_token_id, ending) if one is not None)


def batches(prompts: Sequence[Prompt], rows: int = ROWS, places: int = PLACES) -> list[list[int]]:
    """Positions of the prompts of each batch, the longest first; they depend on nothing but the whole list.

    Args:
        prompts: of any number.
        rows: most of a batch.
        places: most tokens of a batch, answers at their longest included; a larger prompt has a batch of its own.
    """
    order = sorted(range(len(prompts)), key=lambda at: (-_room(prompts[at]), -len(prompts[at].ids), at))
    found: list[list[int]] = []
    for at in order:
        if found and len(found[-1]) < rows and (len(found[-1]) + 1) * _room(prompts[found[-1][0]]) <= places:
            found[-1].append(at)
        else:
            found.append([at])
    return found


def _room(prompt: Prompt) -> int:
    return len(prompt.ids) + prompt.sampling.max_new_tokens


@torch.inference_mode()
def generate(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    stops: frozenset[int],
    seed: int,
    adapters: Tensors | None = None,
    on_tokens: Callable[[int], None] = lambda count: None,
) -> list[Generated]:
    """Answer the prompts of one batch together: their tokens are passed once, then one new token of each at a time.

    p(token) = softmax(logits / temperature), cut to the fewest tokens that have `top_p` together; the likeliest token
    where the temperature is 0. Every row has its own random numbers, one a token, from (seed, key).

    Args:
        model: base with adapter sites.
        prompts: of one batch; see `batches`.
        stops: tokens that end an answer.
        seed: of the random numbers.
        adapters: stacked (adapters, ...); None for the base alone.
        on_tokens: told of each step's new tokens.
    """
    longest = max(len(prompt.ids) for prompt in prompts)
    limits = [most_new(model, prompt) for prompt in prompts]
    with _attention(model) as buffered:
        run = _Batch(model, prompts, adapters, longest + max(limits), buffered)
        draws = [rng.stream(seed, "generation", *prompt.key) for prompt in prompts]
        texts: list[list[int]] = [[] for _ in prompts]
        stopped = [False] * len(prompts)
        active = list(range(len(prompts)))
        logits = run.first()
        while True:
            tokens = _choose(logits, [prompts[at].sampling for at in active], [draws[at] for at in active])
            going = []
            for row, (at, token) in enumerate(zip(active, tokens, strict=True)):
                if token in stops:
                    stopped[at] = True
                else:
                    texts[at].append(token)
                    if len(texts[at]) < limits[at]:
                        going.append(row)
            on_tokens(len(active))
            if not going:
                break
            # A finished row stays in the batch, unread, until enough others have finished, too.
            if len(going) < SPARSE * run.rows:
                run.keep([run.place[active[row]] for row in going], [active[row] for row in going])
            active = [active[row] for row in going]
            logits = run.next({at: texts[at][-1] for at in active}, active)
    return [Generated(tuple(ids), end) for ids, end in zip(texts, stopped, strict=True)]


class _Batch:
    """The rows that are passed together: which prompt each is, where its tokens begin, and what was computed of it."""

    def __init__(
        self, model: LanguageModel, prompts: Sequence[Prompt], adapters: Tensors | None, capacity: int, buffered: bool
    ) -> None:
        self._model = model
        self._adapters = None if adapters is None else {name: x.to(model.device) for name, x in adapters.items()}
        self._prompts = prompts
        self._members = list(range(len(prompts)))
        self._layers = model.model.config.get_text_config().num_hidden_layers
        self._cache = KeyValues(self._layers, capacity) if buffered else DynamicCache()
        self._longest = max(len(prompt.ids) for prompt in prompts)
        self._empty = torch.tensor([self._longest - len(prompt.ids) for prompt in prompts], device=model.device)
        self._passed = self._longest

    @property
    def rows(self) -> int:
        """In the batch, finished ones that were not taken out included."""
        return len(self._members)

    @property
    def place(self) -> dict[int, int]:
        """Prompt to its row."""
        return {member: row for row, member in enumerate(self._members)}

    def first(self) -> Tensor:
        """Logits of each row's first new token: (rows, vocabulary)."""
        lengths = [len(prompt.ids) for prompt in self._prompts]
        if not isinstance(self._cache, KeyValues):
            return self._pass(self._padded(range(self.rows)), self._cache, self._empty, self._members, 0)
        groups = alike(lengths)
        found = []
        for rows in groups:
            longest = max(lengths[row] for row in rows)
            part, chosen = KeyValues(self._layers, longest), torch.tensor(rows, device=self._model.device)
            empty = self._empty[chosen] - (self._longest - longest)
            found.append(self._pass(self._padded(rows), part, empty, rows, 0))
            self._cache.take(chosen, self.rows, self._longest, part)
        order = np.argsort(np.concatenate(groups))
        return torch.cat(found)[torch.from_numpy(order).to(self._model.device)]

    def _padded(self, rows: Sequence[int]) -> Tensor:
        """Tokens of some prompts, padded on the left: (rows, longest)."""
        longest = max(len(self._prompts[row].ids) for row in rows)
        ids = np.full((len(rows), longest), self._model.pad_id, dtype=np.int64)
        for place, row in enumerate(rows):
            own = self._prompts[row].ids
            ids[place, longest - len(own) :] = own
        return torch.from_numpy(ids).to(self._model.device)

    def next(self, tokens: dict[int, int], active: Sequence[int]) -> Tensor:
        """Logits after one more token of each active prompt: (active, vocabulary)."""
        ids = torch.tensor([[tokens.get(member, self._model.pad_id)] for member in self._members])
        logits = self._pass(ids.to(self._model.device), self._cache, self._empty, self._members, self._passed)
        self._passed += 1
        if len(active) == self.rows:
            return logits
        place = self.place
        return logits[[place[member] for member in active]]

    def keep(self, rows: Sequence[int], members: Sequence[int]) -> None:
        """Take the other rows out."""
        chosen = torch.tensor(rows, device=self._model.device)
        if isinstance(self._cache, KeyValues):
            self._cache.keep(chosen)
        else:
            self._cache.batch_select_indices(chosen)
        self._empty = self._empty[chosen]
        self._members = list(members)

    def _pass(
        self, ids: Tensor, cache: KeyValues | DynamicCache, empty: Tensor, members: Sequence[int], passed: int
    ) -> Tensor:
        """Logits after the newest tokens (rows, new) of some prompts, `passed` places of which are in the cache."""
        new = ids.shape[1]
        places = torch.arange(passed, passed + new, device=ids.device)
        filled = torch.arange(passed + new, device=ids.device) >= empty[:, None]
        with padded_by(empty if bool(empty.any()) else None), self._adapted(members, new):
            output = self._model.model(
                input_ids=ids,
                attention_mask=None if isinstance(cache, KeyValues) else filled.long(),
                position_ids=(places - empty[:, None]).clamp(min=0),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _adapted(self, members: Sequence[int], new: int) -> AbstractContextManager[None]:
        if self._adapters is None:
            return nullcontext()
        owners = [self._prompts[member].adapter for member in members]
        route = route_of(owners, new, self._model.device)
        return self._model.lora.bound(self._adapters, route, training=False)


def alike(lengths: Sequence[int]) -> list[list[int]]:
    """Prompts of a batch whose tokens are passed together, the longest first, so that little of a pass is padding.

    Args:
        lengths: tokens of each prompt.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    groups: list[list[int]] = []
    for row in order:
        longest = lengths[groups[-1][0]] if groups else 0
        if groups and (lengths[row] >= ALIKE * longest or len(groups[-1]) * longest < FULL):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


@contextmanager
def _attention(model: LanguageModel) -> Iterator[bool]:
    """Attention over buffered keys and values where the model can be given it, else its own, for the block."""
    usual = model.model.config._attn_implementation
    able = supports_cached(model.model)
    model.model.set_attn_implementation(CACHED if able else "sdpa")
    try:
        yield able
    finally:
        model.model.set_attn_implementation(usual)


def most_new(model: LanguageModel, prompt: Prompt) -> int:
    """Most new tokens: what is asked for, or what the model has places for."""
    places = getattr(model.model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    return int(max(1, min(prompt.sampling.max_new_tokens, places - len(prompt.ids))))


def _choose(logits: Tensor, samplings: Sequence[Sampling], draws: Sequence[np.random.Generator]) -> list[int]:
    """A token for each row of (rows, vocabulary)."""
    tokens: list[int] = logits.argmax(-1).tolist()
    drawn = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0]
    if drawn:
        heat = torch.tensor([samplings[row].temperature for row in drawn], device=logits.device)
        chances = (logits[drawn].float() / heat[:, None]).softmax(-1).double().cpu()
        for row, chance in zip(drawn, chances, strict=True):
            tokens[row] = _drawn(chance, samplings[row].top_p, float(draws[row].random()))
    return tokens


def _drawn(chance: Tensor, top_p: float, u: float) -> int:
    """The token whose stretch of [0, 1) holds u, the likeliest tokens that have `top_p` together filling it."""
    if top_p >= 1:
        total = chance.cumsum(0)
        return min(int(torch.searchsorted(total, u * float(total[-1]), right=True)), len(chance) - 1)
    ranked, order = chance.sort(descending=True, stable=True)
    total = ranked.cumsum(0)
    kept = int((total - ranked < top_p).sum())
    return int(order[min(int(torch.searchsorted(total[:kept], u * float(total[kept - 1]), right=True)), kept - 1)])
