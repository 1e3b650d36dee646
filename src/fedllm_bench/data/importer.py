"""Rows of the user's own files as a federated dataset, by the rules of a mapping file."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Any

from fedllm_bench.assets.sources import sha256_of
from fedllm_bench.data import split
from fedllm_bench.data.mapping import Map, Mapped, Turns, template_parts
from fedllm_bench.data.raw import Row, in_words, rows
from fedllm_bench.data.stored import StoredDataset, content_fingerprint, write_dataset
from fedllm_bench.errors import DataError
from fedllm_bench.examples import ChatExample, ClientData, Example, PreferenceExample, Turn
from fedllm_bench.progress import SILENT, Progress

__all__ = ["build_import", "import_files"]

RECIPE = 1  # raise it when the rules below change


@dataclass(frozen=True, slots=True)
class Sample:
    """An example of a client, and the key by which it is held out."""

    client: str
    example: Example
    key: str


class _Skip(Exception):
    """A row that makes no example; the text is the reason it is counted under."""


def import_files(mapped: Mapped) -> list[Path]:
    """All files that a mapping names.

    Raises:
        MissingData: one is not here.
    """
    names = (*mapped.rules.files, *(join.file for join in mapped.rules.join.values()))
    return [mapped.locate(name) for name in dict.fromkeys(names)]


def build_import(
    mapped: Mapped, cache: Path, *, held_out: float = 0.2, seed: int = 0, progress: Progress = SILENT
) -> StoredDataset:
    """Build a dataset from the files of a mapping, or open it where it was built before.

    Clients are sorted by id, samples keep the order of the files. With a share held out, clients without held-out
    samples are dropped.

    Args:
        mapped: the mapping.
        cache: the cache folder; the dataset goes to `data/` in it.
        held_out: share of the samples that is held out, of each client or of the keys that the mapping names, below 1.
        seed: decides which samples are held out.
        progress: shows the rows as they are read.

    Raises:
        MissingData: a file is not here.
        DataError: a row does not fit the mapping; told with file, line and field.
    """
    rules = mapped.rules
    name = f"import-{rules.name}"
    split.check_share(name, held_out)
    hashes = [sha256_of(path) for path in import_files(mapped)]
    options = {"held_out": held_out, "seed": seed, "mapping": rules.model_dump(mode="json")}
    together = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    fingerprint = content_fingerprint("import", RECIPE, together, options)
    folder = cache / "data" / f"{name}-{fingerprint[:12]}"
    if folder.exists():
        return StoredDataset(folder)
    dropped: Counter[str] = Counter()
    samples: dict[str, list[Sample]] = defaultdict(list)
    with progress.task(f"import {rules.name}", unit="rows") as task:
        for sample in _samples(mapped, dropped, task.advance):
            samples[sample.client].append(sample)
    clients = (_client(client, samples[client], rules, held_out, seed) for client in sorted(samples))
    return write_dataset(
        folder,
        name,
        _kept(clients, rules.min_samples, held_out > 0, dropped),
        fingerprint=fingerprint,
        source=rules.source or ", ".join(rules.files),
        options=options,
        dropped=dropped,
    )


def _client(client: str, samples: Sequence[Sample], rules: Map, held_out: float, seed: int) -> ClientData:
    if rules.held_out_by is None:
        train, test = split.by_share([sample.example for sample in samples], held_out, seed, client)
    else:
        train, test = split.by_key([(sample.key, sample.example) for sample in samples], held_out, seed)
    values = {field: Counter(s.example.meta[field] for s in samples if field in s.example.meta) for field in rules.meta}
    return ClientData(client, train, test, {field: c.most_common(1)[0][0] for field, c in values.items() if c})


def _kept(
    clients: Iterator[ClientData], min_samples: int, needs_test: bool, dropped: Counter[str]
) -> Iterator[ClientData]:
    for client in clients:
        lack = None
        if len(client.train) < min_samples:
            lack = f"under {min_samples} training samples" if client.train else "without training samples"
        elif needs_test and not client.test:
            lack = "without held-out samples"
        if lack is None:
            yield client
        else:
            dropped[f"clients {lack}"] += 1
            dropped[f"samples of clients {lack}"] += len(client.train) + len(client.test)


# --- from rows to samples


def _samples(mapped: Mapped, dropped: Counter[str], advance: Callable[[int], object]) -> Iterator[Sample]:
    rules = mapped.rules
    partners = {name: _partners(mapped.locate(join.file), join.on) for name, join in rules.join.items()}
    make = next(maker for key, maker in MAKERS.items() if getattr(rules, key) is not None)
    numbers: Counter[str] = Counter()
    for file in rules.files:
        for place, row in rows(mapped.locate(file)):
            advance(1)
            try:
                joined = _joined(row, rules, partners, place)
                _filter(joined, rules, place)
                client = _text(joined, rules.client, place)
                meta = {
                    field: text for field in rules.meta if (text := _text_or_none(joined, field, place)) is not None
                }
                key = "" if rules.held_out_by is None else _text(joined, rules.held_out_by, place)
                example = make(rules, joined, place, f"{client}/{numbers[client] + 1}", client, meta)
            except _Skip as skip:
                dropped[str(skip)] += 1
                continue
            numbers[client] += 1
            yield Sample(client, example, key)


def _partners(path: Path, on: str) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for place, row in rows(path):
        key = _text_or_none(row, on, place)
        if key in found:
            raise DataError(
                f"{place}: {on} {key!r} stands on an earlier line, too", "the rows to join must differ in it"
            )
        if key is not None:
            found[key] = row
    return found


def _joined(row: Row, rules: Map, partners: Mapping[str, Mapping[str, Row]], place: str) -> Row:
    joined = dict(row)
    for name, join in rules.join.items():
        if name in row:
            raise DataError(f"{place}: has a field {name!r} already", f"give [join.{name}] another name")
        partner = partners[name].get(_text(row, join.key, place))
        if partner is None:
            raise _Skip(f"rows whose {join.key} is not in {join.file}")
        joined[name] = partner
    return joined


def _filter(row: Row, rules: Map, place: str) -> None:
    for field, wanted in rules.filters.items():
        values = wanted if isinstance(wanted, tuple) else (wanted,)
        if _text_or_none(row, field, place) not in [str(value) for value in values]:
            raise _Skip(f"rows filtered by {field}")


def _text(row: Row, field: str, place: str) -> str:
    """The text of a field; a row without one is skipped."""
    text = _text_or_none(row, field, place)
    if text is None:
        raise _Skip(f"rows without {field}")
    return text


def _text_or_none(row: Row, field: str, place: str) -> str | None:
    """The text of a field, numbers as digits; None where it is null or blank."""
    value = _value(row, field, place)
    if isinstance(value, dict | list):
        raise DataError(f"{place}: {field}: expected a text, found {in_words(value)}")
    return None if value is None or not str(value).strip() else str(value)


def _value(row: Row, field: str, place: str) -> Any:
    """The value at a field; `a.b` is the field b of the object in a."""
    node: Any = row
    for part in [field] if field in row else field.split("."):
        if not isinstance(node, dict) or part not in node:
            near = get_close_matches(field, _fields(row), n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(_fields(row))}"
            raise DataError(f"{place}: has no field {field!r}", hint)
        node = node[part]
    return node


def _fields(row: Row) -> list[str]:
    inner = ([f"{name}.{key}" for key in value] if isinstance(value, dict) else [name] for name, value in row.items())
    return [field for fields in inner for field in fields]


def _fill(template: str, row: Row, place: str) -> str:
    parts = template_parts(template)
    return "".join(literal + (_text(row, field, place) if field else "") for literal, field in parts)


# --- the kinds of examples


def _prompt(rules: Map, row: Row, place: str) -> tuple[Turn, ...]:
    system = () if rules.system is None else (Turn("system", _fill(rules.system, row, place)),)
    return system if rules.prompt is None else (*system, Turn("user", _fill(rules.prompt, row, place)))


def _reply(rules: Map, row: Row, place: str, name: str, client: str, meta: Mapping[str, str]) -> Example:
    reply = Turn("assistant", _fill(rules.response or "", row, place))
    return ChatExample(name, (*_prompt(rules, row, place), reply), "last", meta)


def _talk(rules: Map, row: Row, place: str, name: str, client: str, meta: Mapping[str, str]) -> Example:
    assert rules.turns is not None
    said = _said(rules.turns, row, place, client)
    if rules.response is not None:
        said.append(Turn("assistant", _fill(rules.response, row, place)))
    turns = [
        Turn(role, "\n".join(turn.content for turn in run)) for role, run in groupby(said, key=lambda turn: turn.role)
    ]
    if turns and turns[-1].role == "user":
        turns.pop()
    if not turns:
        raise _Skip("rows where the client says nothing")
    first = max(0, len(turns) - 1 - rules.turns.keep) if rules.turns.keep else 0
    # The turns alternate and end with the assistant: the first one is the user's where their number is even.
    first += (len(turns) - first) % 2
    if first >= len(turns):
        raise _Skip("rows where nobody speaks before the reply")
    return ChatExample(name, (*_prompt(rules, row, place), *turns[first:]), "last", meta)


def _said(turns: Turns, row: Row, place: str, client: str) -> list[Turn]:
    """What is said in a row, blank turns left out."""
    listed = _value(row, turns.field, place)
    if not isinstance(listed, list):
        raise DataError(f"{place}: {turns.field}: expected a list of turns, found {in_words(listed)}")
    said = []
    for number, turn in enumerate(listed, start=1):
        where = f"{place}: {turns.field}, turn {number}"
        if not isinstance(turn, dict):
            raise DataError(f"{where}: expected an object, found {in_words(turn)}")
        speaker, text = (_text_or_none(turn, field, where) for field in (turns.speaker, turns.text))
        if text is not None:
            said.append(Turn("assistant" if speaker == client else "user", text))
    return said


def _preference(rules: Map, row: Row, place: str, name: str, client: str, meta: Mapping[str, str]) -> Example:
    return _preferred(rules, row, place, name, meta, rules.chosen or "", rules.rejected or "")


def _vote(rules: Map, row: Row, place: str, name: str, client: str, meta: Mapping[str, str]) -> Example:
    assert rules.choice is not None
    value, options = _text(row, rules.choice.field, place), rules.choice.options
    if value not in options:
        raise _Skip(f"rows whose {rules.choice.field} is neither {' nor '.join(options)}")
    other = next(option for option in options if option != value)
    return _preferred(rules, row, place, name, meta, options[value], options[other])


def _preferred(
    rules: Map, row: Row, place: str, name: str, meta: Mapping[str, str], chosen: str, rejected: str
) -> Example:
    texts = [_fill(template, row, place) for template in (chosen, rejected)]
    if texts[0] == texts[1]:
        raise _Skip("rows with two equal answers")
    return PreferenceExample(name, _prompt(rules, row, place), texts[0], texts[1], meta)


# The first key that a mapping has says how its examples are made.
MAKERS: Mapping[str, Callable[[Map, Row, str, str, str, Mapping[str, str]], Example]] = {
    "turns": _talk,
    "choice": _vote,
    "chosen": _preference,
    "response": _reply,
}
