"""Segments become token ids and a mask; conversations that are too long are shortened by a stated policy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedllm_bench.errors import ModelError
from fedllm_bench.examples import ChatExample, PreferenceExample, Turn
from fedllm_bench.model.templates import Segment, template, words_only

__all__ = ["PAIR_TRUNCATIONS", "TRUNCATIONS", "Codec", "PairTokens", "Tokens", "Truncation", "Unusable"]

_NO_OPENING = ("native", "none")  # templates before which no start token is put


@dataclass(frozen=True, slots=True)
class Tokens:
    """A conversation as the model sees it.

    Args:
        ids: token ids, int32, (tokens,).
        trained: whether loss is taken on predicting that token, bool, (tokens,).
        note: what truncation did, or None.
    """

    ids: NDArray[np.int32]
    trained: NDArray[np.bool_]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class PairTokens:
    """Two answers to one prompt as the model sees them; both follow the same prompt tokens.

    Args:
        prompt: token ids, int32, (tokens,).
        chosen: token ids of the preferred answer, int32, (tokens,).
        rejected: token ids of the other one, int32, (tokens,).
        note: what truncation did, or None.
    """

    prompt: NDArray[np.int32]
    chosen: NDArray[np.int32]
    rejected: NDArray[np.int32]
    note: str | None = None

    @property
    def longest(self) -> int:
        """Tokens of the prompt with the longer answer."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why an example cannot be used; counted by reason, never dropped in silence."""

    reason: str


@dataclass(frozen=True)
class Codec:
    """Turns conversations into tokens with one tokenizer, template and truncation policy.

    Args:
        tokenizer: a Hugging Face fast tokenizer.
        template: a name from `TEMPLATES`.
        max_length: most tokens a row may have.
        truncation: a name from `TRUNCATIONS`, or from `PAIR_TRUNCATIONS` for pairs of answers.
        max_prompt_length: tokens that `paper-dpo` keeps of the prompt of a pair that is too long.
    """

    tokenizer: Any
    template: str
    max_length: int
    truncation: str = "left-context"
    max_prompt_length: int = 128

    def __post_init__(self) -> None:
        template(self.template)
        if self.truncation not in TRUNCATIONS and self.truncation not in PAIR_TRUNCATIONS:
            raise ModelError(f"unknown truncation {self.truncation!r}", f"choose one of {', '.join(TRUNCATIONS)}")
        if not getattr(self.tokenizer, "is_fast", False):
            raise ModelError(
                "the tokenizer cannot tell which characters a token came from",
                "use a model with a tokenizer.json (a fast tokenizer)",
            )

    def encode(self, example: ChatExample) -> Tokens | Unusable:
        """Tokens of a conversation, shortened if need be, or why there are none."""
        if not example.turns or example.turns[-1].role != "assistant":
            return Unusable("no answer at the end")
        if not example.turns[-1].content.strip():
            return Unusable("empty response")
        return TRUNCATIONS[self.truncation](self, example)

    def encode_pair(self, example: PreferenceExample) -> PairTokens | Unusable:
        """Tokens of a prompt and its two answers, shortened if need be, or why there are none."""
        if not any(turn.content for turn in example.prompt):
            return Unusable("empty prompt")
        if not example.chosen.strip() or not example.rejected.strip():
            return Unusable("empty response")
        return PAIR_TRUNCATIONS[self.truncation](self, example)

    def pair(self, prompt: Sequence[Turn], chosen: str, rejected: str) -> PairTokens:
        """Tokens of a prompt and its two answers at full length, both after the same prompt tokens."""
        rendered = [
            template(self.template)(self.tokenizer, [*prompt, Turn("assistant", answer)], "last")
            for answer in (chosen, rejected)
        ]
        (before, first), (other, second) = (_parted(self._tokenise(segments)) for segments in rendered)
        if not np.array_equal(before, other):
            # The end of the prompt is cut up otherwise before one answer than before the other: as a model that
            # generates after the prompt sees it, the prompt stands for itself.
            at = [segment.trained for segment in rendered[0]].index(True)
            before = self._tokenise(rendered[0][:at]).ids
            first, second = (ids[trained] for ids, trained in (self._pieces(segments[at:]) for segments in rendered))
        return PairTokens(before, first, second)

    def tokens(self, turns: Sequence[Turn], trained: Literal["last", "all"]) -> Tokens:
        """Tokens of a conversation at full length: rendered once, tokenised whole, the mask read off the segments."""
        return self._tokenise(template(self.template)(self.tokenizer, turns, trained))

    def answers(self, turns: Sequence[Turn], trained: Literal["last", "all"]) -> Tokens:
        """Like `tokens`, with the answers' own words alone marked, not what the template ends them with."""
        learnt = [turn.content for turn in turns if turn.role == "assistant"]
        segments = template(self.template)(self.tokenizer, turns, trained)
        return self._tokenise(list(words_only(segments, learnt if trained == "all" else learnt[-1:])))

    def prompt(self, turns: Sequence[Turn]) -> NDArray[np.int32]:
        """Tokens of a conversation up to where the model's answer begins, as training has them."""
        return self._tokenise(self._until_answer(turns)[0]).ids

    def ending(self) -> int | None:
        """The token that ends an answer in this template; None where it takes several."""
        _, rest = self._until_answer([Turn("user", "Hello")])
        said = next(words_only(rest, ["Hello"])).text
        ids = self.tokenizer(rest[0].text.removeprefix(said), add_special_tokens=False)["input_ids"]
        return int(ids[0]) if len(ids) == 1 else None

    def _until_answer(self, turns: Sequence[Turn]) -> tuple[list[Segment], list[Segment]]:
        """What stands before the next answer, and an answer with what ends it."""
        segments = template(self.template)(self.tokenizer, [*turns, Turn("assistant", "Hello")], "last")
        at = [segment.trained for segment in segments].index(True)
        return list(segments[:at]), list(segments[at:])

    def _tokenise(self, segments: Sequence[Segment]) -> Tokens:
        ids, trained = self._pieces(segments)
        opening = self._opening()
        ids = np.concatenate([opening, ids])
        return Tokens(ids, np.concatenate([np.zeros(len(opening), dtype=np.bool_), trained]))

    def _pieces(self, segments: Sequence[Segment]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        text = "".join(segment.text for segment in segments)
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = np.asarray(encoding["input_ids"], dtype=np.int32)
        starts, stops = np.asarray(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2).T
        ends = np.cumsum([len(segment.text) for segment in segments])
        flags = np.asarray([segment.trained for segment in segments])
        for answer in (np.flatnonzero(flags[1:] & ~flags[:-1]) + 1).tolist():
            opens = ends[answer - 1]
            if ((starts < opens) & (opens < stops)).any():
                # A token that spans the end of a prompt and the start of its answer never comes up when the model
                # generates after that prompt: the two are tokenised apart, as they are then.
                parts = self._pieces(segments[:answer]), self._pieces(segments[answer:])
                return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        # A token belongs to the segment that its first character lies in.
        owner = np.minimum(np.searchsorted(ends, starts, side="right"), len(flags) - 1)
        return ids, flags[owner] if len(ids) else np.zeros(0, dtype=np.bool_)

    def _opening(self) -> NDArray[np.int32]:
        """The token that the tokenizer itself puts before a text; a native template writes its own."""
        if self.template in _NO_OPENING or self.tokenizer.bos_token_id is None:
            return np.zeros(0, dtype=np.int32)
        first = self.tokenizer("a")["input_ids"][:1]
        return np.asarray([token for token in first if token == self.tokenizer.bos_token_id], dtype=np.int32)


def _parted(tokens: Tokens) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """What comes before the answer, and the answer; what the template writes after it is never scored."""
    places = np.flatnonzero(tokens.trained)
    return tokens.ids[: places[0]], tokens.ids[places[0] : places[-1] + 1]


def _left_context(codec: Codec, example: ChatExample) -> Tokens | Unusable:
    """Drop the oldest exchanges until the rest fits; if the last one alone is too long, cut the end of its answer."""
    note = None
    turns = example.turns
    while True:
        tokens = codec.tokens(turns, example.trained)
        if len(tokens.ids) <= codec.max_length:
            return Tokens(tokens.ids, tokens.trained, note)
        shorter = _without_oldest_exchange(turns)
        if shorter is None:
            break
        turns, note = shorter, "context shortened"
    ids, trained = tokens.ids[: codec.max_length], tokens.trained[: codec.max_length]
    return Tokens(ids, trained, "response cut") if trained.any() else Unusable("prompt longer than max_length")


def _without_oldest_exchange(turns: tuple[Turn, ...]) -> tuple[Turn, ...] | None:
    """The conversation without its first user message and all up to the next one; None when only one is left."""
    system = turns[:1] if turns[0].role == "system" else ()
    rest = turns[len(system) :]
    later = [position for position, turn in enumerate(rest) if turn.role == "user" and position > 0]
    return system + rest[later[0] :] if later else None


def _skip(codec: Codec, example: ChatExample) -> Tokens | Unusable:
    """Leave out what does not fit."""
    tokens = codec.tokens(example.turns, example.trained)
    return tokens if len(tokens.ids) <= codec.max_length else Unusable("longer than max_length")


Truncation = Callable[[Codec, ChatExample], Tokens | Unusable]
TRUNCATIONS: dict[str, Truncation] = {"left-context": _left_context, "skip": _skip}


def _pair_left_context(codec: Codec, example: PreferenceExample) -> PairTokens | Unusable:
    """Drop the oldest exchanges until the longer answer fits; if one alone is left, cut the ends of both answers."""
    note = None
    prompt = example.prompt
    while True:
        pair = codec.pair(prompt, example.chosen, example.rejected)
        if pair.longest <= codec.max_length:
            return replace(pair, note=note)
        shorter = _without_oldest_exchange(prompt)
        if shorter is None:
            return _answers_cut(pair, codec.max_length - len(pair.prompt))
        prompt, note = shorter, "context shortened"


def _pair_skip(codec: Codec, example: PreferenceExample) -> PairTokens | Unusable:
    """Leave out what does not fit."""
    pair = codec.pair(example.prompt, example.chosen, example.rejected)
    return pair if pair.longest <= codec.max_length else Unusable("longer than max_length")


def _pair_of_the_paper(codec: Codec, example: PreferenceExample) -> PairTokens | Unusable:
    """Where the longer answer does not fit, keep the last `max_prompt_length` tokens of the prompt; where it still
    does not, cut the answers to what that leaves (the paper's scripts).
    """
    pair = codec.pair(example.prompt, example.chosen, example.rejected)
    if pair.longest <= codec.max_length:
        return pair
    pair = replace(pair, prompt=pair.prompt[-codec.max_prompt_length :], note="context shortened")
    if pair.longest <= codec.max_length:
        return pair
    return _answers_cut(pair, codec.max_length - codec.max_prompt_length)


def _answers_cut(pair: PairTokens, room: int) -> PairTokens | Unusable:
    if room < 1:
        return Unusable("prompt longer than max_length")
    return replace(pair, chosen=pair.chosen[:room], rejected=pair.rejected[:room], note="response cut")


PairTruncation = Callable[[Codec, PreferenceExample], PairTokens | Unusable]
PAIR_TRUNCATIONS: dict[str, PairTruncation] = {
    "left-context": _pair_left_context,
    "skip": _pair_skip,
    "paper-dpo": _pair_of_the_paper,
}
