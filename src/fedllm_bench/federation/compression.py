"""Updates in fewer bytes: really encoded, counted and decoded, with what got lost sent later.

Counted are the bytes of numbers: codes, scales, places and values. Names, shapes and options are known to both sides.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.channel import Direct, Sent, Terms

__all__ = ["Blocks", "Codec", "Compressed", "Largest", "Quantize", "TopK"]

_SCALE = np.dtype("<f4")
_KEPT_BACK = {
    "new factors": "what a client could not send would be added to an update of others (unless error_feedback = false)"
}


class Codec(Protocol):
    """Numbers to bytes and back, with a loss."""

    def encode(self, values: np.ndarray, rng: np.random.Generator) -> bytes:
        """The message for fp32 numbers, (count,)."""
        ...

    def decode(self, message: bytes, count: int) -> np.ndarray:
        """The fp32 numbers that a message stands for, (count,)."""
        ...


@dataclass(frozen=True)
class Blocks:
    """x = scale * code, code in -L ... L, one scale = max |x| / L for each block; first all scales, then all codes.

    Args:
        bits: of a code, 8 or 4; L is 127 or 7, and two codes of 4 bits share a byte.
        block: numbers that share a scale.
        stochastic: round up with the probability of the fraction, so that the mean is right; otherwise to the nearest.
    """

    bits: int
    block: int
    stochastic: bool

    @property
    def levels(self) -> int:
        return (1 << (self.bits - 1)) - 1

    def encode(self, values: np.ndarray, rng: np.random.Generator) -> bytes:
        width = min(self.block, values.size)
        rows = np.zeros((math.ceil(values.size / width), width))
        rows.reshape(-1)[: values.size] = values
        scales = (np.abs(rows).max(axis=1) / self.levels).astype(_SCALE)  # (blocks,)
        wide = scales.astype(np.float64)[:, None]
        steps = np.divide(rows, wide, out=np.zeros_like(rows), where=wide > 0)
        rounded = np.floor(steps + rng.random(steps.shape)) if self.stochastic else np.rint(steps)
        codes = rounded.clip(-self.levels, self.levels).astype(np.int8).reshape(-1)[: values.size]
        body: bytes = _nibbles(codes) if self.bits == 4 else codes.tobytes()
        return bytes(scales.tobytes()) + body

    def decode(self, message: bytes, count: int) -> np.ndarray:
        width = min(self.block, count)
        scales = np.frombuffer(message, _SCALE, math.ceil(count / width))
        body = message[scales.nbytes :]
        codes = _from_nibbles(body, count) if self.bits == 4 else np.frombuffer(body, np.int8)
        return np.repeat(scales, width)[:count] * codes.astype(np.float32)


@dataclass(frozen=True)
class Largest:
    """The largest numbers by magnitude and where they stand; the others are zero. First all places, then all values.

    Args:
        share: of the numbers of a tensor that are sent, at least one.
    """

    share: float

    def encode(self, values: np.ndarray, rng: np.random.Generator) -> bytes:
        kept = max(1, math.ceil(self.share * values.size))
        places = np.sort(np.argpartition(np.abs(values), values.size - kept)[values.size - kept :])
        return places.astype(_place_type(values.size)).tobytes() + values[places].astype("<f4").tobytes()

    def decode(self, message: bytes, count: int) -> np.ndarray:
        kind = _place_type(count)
        kept = len(message) // (kind.itemsize + 4)
        values = np.zeros(count, np.float32)
        values[np.frombuffer(message, kind, kept)] = np.frombuffer(message, "<f4", kept, kept * kind.itemsize)
        return values


@dataclass(frozen=True)
class Compressed(Direct):
    """Encodes each tensor; with error feedback a client adds to its update what it could not send before.

    y = decode(encode(x + e)), e' = x + e - y, so that after any number of rounds sum y + e = sum x
    (Seide et al. 2014; Stich et al. 2018; Karimireddy et al. 2019).
    """

    codec: Codec
    error_feedback: bool

    def up(self, sent: Sent, state: Mapping[str, Tensor], rng: np.random.Generator) -> Sent:
        arrived, memory, size = {}, {}, 0
        for name, update in sorted(sent.tensors.items()):
            wanted = update + sent.memory[name] if name in sent.memory else update
            flat = wanted.detach().cpu().float().reshape(-1).numpy()
            message = self.codec.encode(flat, rng) if flat.size else b""
            decoded = self.codec.decode(message, flat.size) if flat.size else flat
            arrived[name] = torch.from_numpy(decoded).reshape(update.shape).to(update.dtype)
            memory[name] = wanted - arrived[name]
            size += len(message)
        return Sent(arrived, size, memory if self.error_feedback else {})


@dataclass(frozen=True)
class Quantize:
    """Numbers in 8 or 4 bits with one fp32 scale a block (QSGD's rounding, Alistarh et al. 2017, on a uniform grid).

    Args:
        bits: 8 or 4.
        block: numbers that share a scale.
        rounding: "stochastic", right in the mean, or "nearest".
        error_feedback: a client adds to its update what rounding took before.

    Raises:
        ExperimentError: other bits, no block, or another rounding.
    """

    bits: int = 8
    block: int = 256
    rounding: str = "stochastic"
    error_feedback: bool = True

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ExperimentError(f"channel quantize: bits = {self.bits} cannot be packed", "use 8 or 4")
        if self.block < 1:
            raise ExperimentError(f"channel quantize: block = {self.block} holds no number", "256 is usual")
        if self.rounding not in ("stochastic", "nearest"):
            raise ExperimentError(
                f"channel quantize: rounding = {self.rounding!r} is not known", 'use "stochastic" or "nearest"'
            )

    @property
    def denies(self) -> Mapping[str, str]:
        return _KEPT_BACK if self.error_feedback else {}

    def bind(self, terms: Terms) -> Compressed:
        return Compressed(Blocks(self.bits, self.block, self.rounding == "stochastic"), self.error_feedback)


@dataclass(frozen=True)
class TopK:
    """The largest numbers of each tensor only (Aji and Heafield 2017).

    Args:
        share: of them that is sent.
        error_feedback: a client adds to its update what it left out before.

    Raises:
        ExperimentError: the share is not above 0 and at most 1.
    """

    share: float = 0.01
    error_feedback: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ExperimentError(f"channel top-k: share = {self.share} is not above 0 and at most 1", "0.01 sends 1%")

    @property
    def denies(self) -> Mapping[str, str]:
        return _KEPT_BACK if self.error_feedback else {}

    def bind(self, terms: Terms) -> Compressed:
        return Compressed(Largest(self.share), self.error_feedback)


def _nibbles(codes: np.ndarray) -> bytes:
    """Codes of -7 ... 7 two in a byte, the first in the low half; an odd one out gets a zero beside it."""
    halves = np.zeros(codes.size + codes.size % 2, np.uint8)
    halves[: codes.size] = codes + 8
    return (halves[0::2] | halves[1::2] << 4).astype(np.uint8).tobytes()


def _from_nibbles(body: bytes, count: int) -> np.ndarray:
    pairs = np.frombuffer(body, np.uint8)
    return np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[:count].astype(np.int8) - 8


def _place_type(count: int) -> np.dtype:
    """The smallest type that can name a place among so many."""
    return np.dtype(np.min_scalar_type(count - 1)).newbyteorder("<")
