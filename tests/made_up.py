"""Made-up people and their conversations, and the small real parts that learn from them."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fedllm_bench import rng
from fedllm_bench.examples import ChatExample, ClientData, Turn

WORDS = (
    *("rain", "tea", "we", "you", "walk", "often", "never", "mild", "green", "song"),
    *("because", "maybe", "river", "old", "friend", "bread", "late", "sing", "why", "quiet"),
)


@dataclass(frozen=True)
class People:
    """A federated dataset in memory.

    Args:
        members: the clients, in order.
    """

    members: tuple[ClientData, ...]
    name: str = "people"

    @cached_property
    def fingerprint(self) -> str:
        """Tells these people from others."""
        return f"{rng.integer(0, repr(self.members)):x}"

    def __len__(self) -> int:
        return len(self.members)

    def client_id(self, index: int) -> str:
        return self.members[index].id

    def size(self, index: int) -> int:
        return len(self.members[index].train)

    def load(self, index: int) -> ClientData:
        return self.members[index]


def sentence(draw: np.random.Generator, least: int = 3, most: int = 12) -> str:
    """Some words in a row."""
    return " ".join(draw.choice(WORDS, int(draw.integers(least, most))))


def chat(name: str, exchanges: int = 1, trained: str = "last") -> ChatExample:
    """A conversation that depends on its name alone."""
    draw = rng.stream(0, "chat", name)
    roles = ("user", "assistant") * exchanges
    return ChatExample(name, tuple(Turn(role, sentence(draw)) for role in roles), trained)  # type: ignore[arg-type]


def people(*sizes: int, held_out: int = 2) -> People:
    """One person for each number of training conversations; every third conversation has two exchanges."""
    return People(
        tuple(
            ClientData(
                f"person-{number}",
                [chat(f"{number}/train/{i}", 1 + (i % 3 == 2)) for i in range(size)],
                [chat(f"{number}/test/{i}", 1 + i % 2) for i in range(held_out)],
            )
            for number, size in enumerate(sizes)
        )
    )


def chitchat(pairs: int = 12, conversations: int = 8) -> dict[str, Any]:
    """Raw conversations in the shape of the chitchat data; the people of a pair talk only with each other."""
    raw: dict[str, Any] = {}
    for pair in range(pairs):
        for number in range(conversations - pair % 3):
            draw = rng.stream(0, "talk", pair, number)
            said = [(f"p{pair}-{'ab'[turn % 2]}", sentence(draw, 5, 12)) for turn in range(4)]
            messages = [[{"text": text, "timestamp": "", "sender": sender}] for sender, text in said]
            raw[f"talk-{pair:02}-{number:02}"] = {"start": "", "messages": messages}
    return raw


def take_as_chitchat(cache: Path, raw: dict[str, Any]) -> Path:
    """Have a cache give these conversations as the asset `chitchat`, whose hash `assets add` would miss."""
    path = cache / "made-up" / "dataset.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(raw), encoding="utf-8")
    added = cache / "assets" / "added.json"
    added.parent.mkdir(parents=True, exist_ok=True)
    added.write_text(json.dumps({"chitchat": {"path": str(path), "licence": "made up", "sha256": None}}))
    return path
