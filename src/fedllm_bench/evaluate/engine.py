"""One base model with several adapters, and what writes its answers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from fedllm_bench.errors import FedLLMError
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.generate import ROWS, Generated, Prompt, batches, generate, stop_ids
from fedllm_bench.model.prepacked import prepacked
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.tensors import Tensors

__all__ = ["Candidate", "Engine", "OwnWriter", "Write", "Writer", "WriterError"]

Write = Callable[[Sequence[Prompt]], list[Generated]]


class WriterError(FedLLMError):
    """What makes answers cannot go on; nothing is missing, and what is there is kept."""


@dataclass(frozen=True)
class Candidate:
    """A model to be evaluated: the base with one adapter.

    Args:
        name: for people.
        folder: where what it says is written; its adapter is in `adapter/`, in PEFT's format.
        adapter: its tensors; None for the base alone.
        identity: tells this adapter from others.
    """

    name: str
    folder: Path
    adapter: Tensors | None
    identity: str


class Writer(Protocol):
    """Makes answers of prompts; one batch may hold those of several candidates."""

    @property
    def name(self) -> str:
        """Tells its answers from those of others."""
        ...

    def batches(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Positions of the prompts of each batch; they depend on nothing but the whole list."""
        ...

    def opened(self, engine: "Engine", candidates: Sequence[Candidate], seed: int) -> AbstractContextManager[Write]:
        """What answers one batch; a prompt's adapter is its candidate's position."""
        ...


@dataclass(frozen=True)
class OwnWriter:
    """The project's own generation: greedy answers in fp32 are those of one prompt at a time.

    Args:
        rows: most of a batch.
    """

    rows: int = ROWS

    @property
    def name(self) -> str:
        return "fedllm-bench"

    def batches(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return batches(prompts, self.rows)

    @contextmanager
    def opened(self, engine: "Engine", candidates: Sequence[Candidate], seed: int) -> Iterator[Write]:
        stack = engine.stack(candidates)
        with prepacked(engine.model.model):
            yield lambda prompts: generate(engine.model, prompts, engine.stops, seed, stack)


@dataclass(frozen=True)
class Engine:
    """What candidates share.

    Args:
        model: the base with adapter sites.
        codec: writes conversations as in training.
        dtype: precision, by name.
        writer: makes answers of prompts.
    """

    model: LanguageModel
    codec: Codec
    dtype: str
    writer: Writer = OwnWriter()

    @property
    def identity(self) -> dict[str, Any]:
        """What decides answers besides the adapter."""
        named = {"base": self.model.fingerprint, "template": self.codec.template, "dtype": self.dtype}
        return {**named, "engine": self.writer.name}

    def scored_by(self, candidate: Candidate) -> list[str]:
        """What decides the chances that a candidate gives to a text."""
        return [self.model.fingerprint, self.dtype, candidate.identity]

    @property
    def stops(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return stop_ids(self.model, self.codec)

    def stack(self, candidates: Sequence[Candidate]) -> Tensors | None:
        """The adapters of candidates where the model is, stacked (candidates, ...); the base alone is one of zeros."""
        if all(candidate.adapter is None for candidate in candidates):
            return None
        shapes = self.model.lora.shapes
        none = {name: torch.zeros(shape) for name, shape in shapes.items()}
        stacks = [none if candidate.adapter is None else candidate.adapter for candidate in candidates]
        place = self.model.device
        return {name: torch.stack([adapter[name].float() for adapter in stacks]).to(place) for name in shapes}
