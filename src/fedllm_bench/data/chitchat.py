"""Fed-ChitChat: real conversations between real people, one client a person (docs/data.md has the rules and counts)."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from fedllm_bench import rng
from fedllm_bench.assets.sources import sha256_of
from fedllm_bench.data.stored import StoredDataset, content_fingerprint, write_dataset
from fedllm_bench.errors import DataError
from fedllm_bench.examples import ChatExample, ClientData, Turn
from fedllm_bench.progress import SILENT, Progress

__all__ = ["build_fed_chitchat"]

NAME = "fed-chitchat"
RECIPE = 1  # raise it when the rules below change


@dataclass(frozen=True, slots=True)
class Said:
    """What one person said before the other one spoke."""

    sender: str
    text: str
    words: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A turn that becomes an example: its conversation, and its place there."""

    conversation: str
    at: int


@dataclass(slots=True)
class Part:
    """The replies of one person."""

    train: list[Reply] = field(default_factory=list)
    test: list[Reply] = field(default_factory=list)


Conversations = dict[str, tuple[Said, ...]]


def build_fed_chitchat(
    asset_path: Path,
    cache: Path,
    *,
    min_samples: int = 20,
    held_out: float = 0.2,
    context_turns: int = 3,
    min_words: int = 5,
    seed: int = 0,
    progress: Progress = SILENT,
) -> StoredDataset:
    """Build Fed-ChitChat, or open it where it was built before with the same options.

    Args:
        asset_path: the chitchat asset's dataset.json.
        cache: the cache folder; the dataset goes to `data/` in it.
        min_samples: clients with fewer training samples are left out.
        held_out: share of the conversations whose replies are held out, above 0 and below 1.
        context_turns: turns kept before a reply; as the first is the other person's, an even number keeps one less.
        min_words: words that a reply and the turn before it must have.
        seed: decides which conversations are held out.
        progress: shows the conversations and clients as they are done.

    Raises:
        DataError: an option makes no sense, the file is not the chitchat data, or no client is left.
    """
    options = {
        "min_samples": min_samples,
        "held_out": held_out,
        "context_turns": context_turns,
        "min_words": min_words,
        "seed": seed,
    }
    _check(options, asset_path)
    fingerprint = content_fingerprint(NAME, RECIPE, sha256_of(asset_path), options)
    folder = cache / "data" / f"{NAME}-{fingerprint[:12]}"
    if folder.exists():
        return StoredDataset(folder)
    dropped: Counter[str] = Counter()
    conversations = _read(asset_path, dropped)
    parts = _replies(conversations, min_words, held_out, seed, dropped)
    kept = _keep_clients(parts, min_samples, dropped)
    examples = _clients(kept, conversations, context_turns, progress)
    source = "chitchat-dataset 0.9.0 (MIT), BYU Perception, Control and Cognition Lab"
    return write_dataset(
        folder, NAME, examples, fingerprint=fingerprint, source=source, options=options, dropped=dropped
    )


def _check(options: dict[str, Any], asset_path: Path) -> None:
    if not asset_path.is_file():
        raise DataError(f"{NAME}: {asset_path} is not a file", "name the dataset.json of the asset `chitchat`")
    for key in ("min_samples", "context_turns", "min_words"):
        if options[key] < 1:
            raise DataError(f"{NAME}: {key} is {options[key]}", "it must be at least 1")
    if not 0 < options["held_out"] < 1:
        raise DataError(f"{NAME}: held_out is {options['held_out']}", "it must be above 0 and below 1")


def _read(path: Path, dropped: Counter[str]) -> Conversations:
    """The conversations of two people, by id in sorted order, so that the order of the file does not matter."""
    try:
        raw = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(
            f"{path} is not JSON ({error})", "fetch it again: fedllm-bench assets fetch chitchat"
        ) from error
    if not isinstance(raw, dict):
        raise DataError(f"{path} is not the chitchat data: it holds a {type(raw).__name__}, not conversations by id")
    conversations: Conversations = {}
    for key in sorted(raw):
        try:
            messages = [(message["sender"], message["text"].strip()) for run in raw[key]["messages"] for message in run]
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: conversation {key} lacks messages with text and sender ({error!r})") from error
        turns = _turns(messages, dropped)
        if len({turn.sender for turn in turns}) == 2:
            conversations[key] = turns
        else:
            dropped["conversations without two speakers"] += 1
    return conversations


def _turns(messages: Iterable[tuple[str, str]], dropped: Counter[str]) -> tuple[Said, ...]:
    """Join the messages that one person sent in a row; blank ones do not count."""
    filled = []
    for message in messages:
        if message[1]:
            filled.append(message)
        else:
            dropped["blank messages"] += 1
    runs = ((sender, "\n".join(text for _, text in run)) for sender, run in groupby(filled, key=itemgetter(0)))
    return tuple(Said(sender, text, len(text.split())) for sender, text in runs)


def _replies(
    conversations: Conversations, min_words: int, held_out: float, seed: int, dropped: Counter[str]
) -> dict[str, Part]:
    """The replies of every person, trained on or held out.

    A conversation is held out as a whole, for both who speak in it: the reply of one is the context of the other, so
    anything less would train one client on what another is tested on.
    """
    parts: dict[str, Part] = defaultdict(Part)
    for key, turns in conversations.items():
        test = _is_held_out(key, held_out, seed)
        dropped["turns that open a conversation"] += 1
        for at in range(1, len(turns)):
            if turns[at].words < min_words:
                dropped[f"replies under {min_words} words"] += 1
            elif turns[at - 1].words < min_words:
                dropped[f"replies to a turn under {min_words} words"] += 1
            else:
                part = parts[turns[at].sender]
                (part.test if test else part.train).append(Reply(key, at))
    return parts


def _is_held_out(conversation: str, share: float, seed: int) -> bool:
    """Decided by the conversation's own hash, whatever other conversations there are."""
    return rng.integer(seed, "held-out", conversation) < share * 2**63


def _keep_clients(parts: dict[str, Part], min_samples: int, dropped: Counter[str]) -> dict[str, Part]:
    kept = {}
    for client in sorted(parts):
        reason = _lack(parts[client], min_samples)
        if reason is None:
            kept[client] = parts[client]
        else:
            dropped[f"clients {reason}"] += 1
            dropped[f"samples of clients {reason}"] += len(parts[client].train) + len(parts[client].test)
    return kept


def _lack(part: Part, min_samples: int) -> str | None:
    if not part.train:
        return "without training samples"
    if not part.test:
        return "without held-out samples"
    return f"under {min_samples} training samples" if len(part.train) < min_samples else None


def _clients(
    parts: dict[str, Part], conversations: Conversations, context_turns: int, progress: Progress
) -> Iterator[ClientData]:
    with progress.task(f"build {NAME}", len(parts), "clients") as task:
        for client, part in parts.items():
            train, test = (
                [_example(reply, conversations[reply.conversation], context_turns) for reply in replies]
                for replies in (part.train, part.test)
            )
            yield ClientData(client, train, test)
            task.advance()


def _example(reply: Reply, turns: tuple[Said, ...], context_turns: int) -> ChatExample:
    """The reply as the assistant's turn, after the turns before it; the first of them is the other person's."""
    first = max(0, reply.at - context_turns)
    # The two alternate, so the turns before the reply start with the other person when their number is odd.
    first += (reply.at - first + 1) % 2
    author = turns[reply.at].sender
    shown = tuple(
        Turn("assistant" if said.sender == author else "user", said.text) for said in turns[first : reply.at + 1]
    )
    meta = {"conversation": reply.conversation, "client": author}
    return ChatExample(f"{reply.conversation}:{reply.at}", shown, "last", meta)
