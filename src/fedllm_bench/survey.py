"""What a dataset looks like: values of its examples by client, each kind measured when it is first asked for."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedllm_bench.data.texts import answered, content_key
from fedllm_bench.examples import ClientData, Example, FederatedDataset, PreferenceExample
from fedllm_bench.measure.cache import Measure, measured
from fedllm_bench.measure.embed import embeddings
from fedllm_bench.measure.ifd import IFD, ifd
from fedllm_bench.measure.language import languages
from fedllm_bench.measure.lengths import Length, lengths
from fedllm_bench.measure.privacy import personal_data
from fedllm_bench.measure.samples import take
from fedllm_bench.measure.verbs import verbs
from fedllm_bench.progress import SILENT, Progress

__all__ = ["Contents", "Survey", "Tools"]

T = TypeVar("T")
ByClient = Mapping[str, Sequence[T]]

BLOCK = 4096  # examples that are read and measured together where all of a dataset are


@dataclass(frozen=True, slots=True)
class Tools:
    """What a survey measures with.

    Args:
        tokenizer: counts tokens; a name that `measure.lengths` takes.
        base: the model whose losses IFD compares.
        embedder: turns texts into vectors; a name that `measure.embed` takes.
        per_client: samples of a client whose quality is measured, and that are embedded, at most.
        samples: of all clients together, at most.
        parsed: samples whose language is identified and that are parsed, of all clients together, at most.
        shown: clients drawn for the figures that show single clients.
        seed: draws clients and samples.
        ifd: whether scores of all axes have quality among them, which takes a model's time.
    """

    tokenizer: str = "llama-like-tokenizer"
    base: str = "smollm2-135m"
    embedder: str = "minilm"
    per_client: int = 20
    samples: int = 2000
    parsed: int = 20_000
    shown: int = 10
    seed: int = 0
    ifd: bool = True


@dataclass(frozen=True, slots=True)
class Contents:
    """What is found by reading alone.

    Args:
        train: training samples of each client.
        test: held-out samples of each client.
        twins_within: samples that say what an earlier sample of the same client says.
        twins_across: samples that say what a sample of an earlier client says.
        flags: samples by the flag that their source gave them, such as toxic; only flags that the source has.
        preferences: whether the examples are preferences.
    """

    train: Mapping[str, int]
    test: Mapping[str, int]
    twins_within: int
    twins_across: int
    flags: Mapping[str, int]
    preferences: bool

    @property
    def samples(self) -> Mapping[str, int]:
        """Of each client, held-out ones among them."""
        return {client: count + self.test[client] for client, count in self.train.items()}


FLAGS = ("toxic", "redacted")


@dataclass(frozen=True)
class Survey:
    """The measurements of one dataset.

    Args:
        dataset: with at least one client.
        tools: what it is measured with.
        cache: the cache folder, where values are kept.
        progress: shows what is measured.
    """

    dataset: FederatedDataset
    tools: Tools
    cache: Path
    progress: Progress = SILENT

    @cached_property
    def contents(self) -> Contents:
        """Counts, twins and flags."""
        train: dict[str, int] = {}
        test: dict[str, int] = {}
        seen: set[bytes] = set()
        found: Counter[str] = Counter()
        flagged: Counter[str] = Counter()
        preferences = False
        for client in self._clients(f"read {self.dataset.name}"):
            train[client.id], test[client.id] = len(client.train), len(client.test)
            own: set[bytes] = set()
            for example in (*client.train, *client.test):
                key = content_key(example)
                found["within"] += key in own
                found["across"] += key in seen and key not in own
                own.add(key)
                flagged.update({flag: example.meta[flag] == "yes" for flag in FLAGS if flag in example.meta})
                preferences = preferences or isinstance(example, PreferenceExample)
            seen |= own
        return Contents(train, test, found["within"], found["across"], flagged, preferences)

    @cached_property
    def lengths(self) -> dict[str, list[Length]]:
        """Tokens of every sample."""
        return self._of_all(lengths(self.tools.tokenizer))

    @cached_property
    def languages(self) -> dict[str, list[str]]:
        """The language of samples: as the data say, else as it is identified."""
        told = {client: [example.meta.get("language") for example in own] for client, own in self._parsed.items()}
        unknown = {
            client: [example for example, language in zip(own, told[client], strict=True) if language is None]
            for client, own in self._parsed.items()
        }
        if any(unknown.values()):
            identified = {client: iter(own) for client, own in self._values(languages(), unknown).items()}
        return {
            client: [next(identified[client]) if language is None else language for language in own]
            for client, own in told.items()
        }

    @cached_property
    def personal_data(self) -> dict[str, list[dict[str, int]]]:
        """Hits of each pattern in every sample."""
        return self._of_all(personal_data())

    @cached_property
    def quality(self) -> dict[str, list[IFD]]:
        """IFD of sampled examples, of preferences with the answer that was chosen."""
        return self._of_some(self._ifd, answered)

    @cached_property
    def rejected_quality(self) -> dict[str, list[IFD]]:
        """IFD of the same preferences with the answer that was rejected."""
        return self._of_some(self._ifd, lambda example: answered(example, "rejected"))

    @cached_property
    def _ifd(self) -> Measure[IFD]:
        return ifd(self.tools.base)  # one for both answers: the model is loaded once

    @cached_property
    def verbs(self) -> dict[str, list[list[tuple[str, str | None]]]]:
        """Root verbs and their objects in the requests of samples."""
        return self._values(verbs(), self._parsed)

    @cached_property
    def sampled(self) -> dict[str, list[Example]]:
        """The samples whose quality is measured and that are embedded."""
        tools = self.tools
        return take(self.dataset, per_client=tools.per_client, total=tools.samples, seed=tools.seed)

    @cached_property
    def embeddings(self) -> dict[str, list[NDArray[np.float32]]]:
        """Vectors of sampled examples of all clients."""
        return self._of_some(embeddings(self.tools.embedder))

    @cached_property
    def shown_embeddings(self) -> dict[str, list[NDArray[np.float32]]]:
        """Vectors of samples of the clients that are shown one by one."""
        tools = self.tools
        taken = take(self.dataset, clients=tools.shown, total=tools.samples, seed=tools.seed)
        return self._values(embeddings(tools.embedder), taken)

    @cached_property
    def _parsed(self) -> dict[str, list[Example]]:
        return take(self.dataset, total=self.tools.parsed, seed=self.tools.seed)

    def _of_some(
        self, measure: Measure[T], view: Callable[[Example], Example] = lambda example: example
    ) -> dict[str, list[T]]:
        seen = {client: [view(example) for example in examples] for client, examples in self.sampled.items()}
        return self._values(measure, seen)

    def _values(
        self, measure: Measure[T], examples: Mapping[str, Sequence[Example]], progress: Progress | None = None
    ) -> dict[str, list[T]]:
        everything = [example for each in examples.values() for example in each]
        values = iter(measured(measure, everything, self.cache, progress or self.progress))
        return {client: [next(values) for _ in each] for client, each in examples.items()}

    def _of_all(self, measure: Measure[T]) -> dict[str, list[T]]:
        found: dict[str, list[T]] = {}
        for block in _blocks(self._clients(f"{measure.name} of {self.dataset.name}")):
            examples = {client.id: [*client.train, *client.test] for client in block}
            found |= self._values(measure, examples, SILENT)
        return found

    def _clients(self, what: str) -> Iterator[ClientData]:
        with self.progress.task(what, len(self.dataset), "clients") as task:
            for position in range(len(self.dataset)):
                yield self.dataset.load(position)
                task.advance()


def _blocks(clients: Iterable[ClientData]) -> Iterator[list[ClientData]]:
    """Clients in a row that together have about `BLOCK` examples."""
    block: list[ClientData] = []
    held = 0
    for client in clients:
        block.append(client)
        held += len(client.train) + len(client.test)
        if held >= BLOCK:
            yield block
            block, held = [], 0
    if block:
        yield block
