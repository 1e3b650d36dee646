"""What a client holds: typed examples, and the seam behind which every dataset stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

__all__ = ["ChatExample", "ClientData", "Example", "FederatedDataset", "PreferenceExample", "Role", "Turn"]

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ChatExample:
    """A conversation to learn from.

    Args:
        id: unique within the dataset.
        turns: messages in order; the last one is the assistant's.
        trained: which assistant turns carry loss: only the last, or all of them.
        meta: fields to group, filter and report by.
    """

    id: str
    turns: tuple[Turn, ...]
    trained: Literal["last", "all"] = "all"
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PreferenceExample:
    """Two answers to a prompt, of which people prefer one.

    Args:
        id: unique within the dataset.
        prompt: messages in order that both answers reply to.
        chosen: the preferred answer.
        rejected: the other one.
        meta: fields to group, filter and report by.
    """

    id: str
    prompt: tuple[Turn, ...]
    chosen: str
    rejected: str
    meta: Mapping[str, str] = field(default_factory=dict)


Example = ChatExample | PreferenceExample


@dataclass(frozen=True, slots=True)
class ClientData:
    """One client's examples, split into a part it trains on and a held-out part."""

    id: str
    train: Sequence[Example]
    test: Sequence[Example]
    meta: Mapping[str, str] = field(default_factory=dict)


class FederatedDataset(Protocol):
    """Clients by position, loaded only when asked for: a million of them cost no more memory than ten."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the content; equal fingerprints mean equal data."""
        ...

    def __len__(self) -> int:
        """Number of clients."""
        ...

    def client_id(self, index: int) -> str: ...

    def size(self, index: int) -> int:
        """Number of training examples of a client, known without loading it."""
        ...

    def load(self, index: int) -> ClientData: ...
