"""Compression: what is encoded is decoded, counted, unbiased where it says so, and nothing is lost for good."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.channel import Channel, Pipeline, Terms, arriving
from fedllm_bench.federation.compression import Blocks, Codec, Largest, Quantize, TopK
from fedllm_bench.tensors import Tensors, add, norm, subtract, zeros_like

TERMS = Terms(clients=100, samples=1000, cohort=5, rounds=20, sampling="fixed", lr=1e-4)
COMPRESSORS = {
    "int8": Quantize(8),
    "int8 nearest": Quantize(8, rounding="nearest"),
    "int4": Quantize(4, block=32),
    "top-k": TopK(0.1),
}

numbers = arrays(np.float32, st.integers(1, 700), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def update(seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        "delta/a": torch.randn(16, 33, generator=draw) * 1e-3,
        "delta/b": torch.randn(7, generator=draw),
        "extra/a": torch.randn((), generator=draw),
    }


def rounds_of(channel: Channel, count: int) -> tuple[Tensors, Tensors, Tensors]:
    """What one client wanted to send over so many rounds, what arrived, and what it still keeps."""
    wanted, arrived, memory = zeros_like(update(0)), zeros_like(update(0)), {}
    for round in range(count):
        sent = arriving(update(round))
        after = channel.up(type(sent)(sent.tensors, sent.bytes, memory), {}, generator(round))
        wanted, arrived, memory = add(wanted, sent.tensors), add(arrived, after.tensors), after.memory
    return wanted, arrived, memory


@settings(max_examples=60, deadline=None)
@given(values=numbers, bits=st.sampled_from([4, 8]), block=st.integers(1, 300), stochastic=st.booleans())
def test_a_rounded_number_is_less_than_a_step_away(values: np.ndarray, bits: int, block: int, stochastic: bool) -> None:
    codec = Blocks(bits, block, stochastic)
    found = codec.decode(codec.encode(values, generator()), values.size)
    for at in range(0, values.size, block):
        here = values[at : at + block].astype(np.float64)
        step = np.abs(here).max() / codec.levels
        allowed = (step if stochastic else step / 2) * (1 + 1e-4)
        assert np.abs(here - found[at : at + block]).max() <= allowed + 1e-30


@pytest.mark.parametrize(
    ("codec", "count", "expected"),
    [
        (Blocks(8, 256, True), 1000, 1000 + 4 * 4),
        (Blocks(4, 256, True), 1000, 500 + 4 * 4),
        (Blocks(4, 256, True), 1001, 501 + 4 * 4),
        (Blocks(8, 256, True), 3, 3 + 4),
        (Largest(0.01), 1000, 10 * (2 + 4)),
        (Largest(0.01), 100_000, 1000 * (4 + 4)),
        (Largest(0.01), 5, 1 + 4),
    ],
)
def test_a_message_is_as_long_as_its_parts(codec: Codec, count: int, expected: int) -> None:
    values = generator().standard_normal(count).astype(np.float32)
    message = codec.encode(values, generator())
    assert len(message) == expected
    assert codec.decode(message, count).shape == (count,)


def test_the_channel_counts_what_it_encodes() -> None:
    sent = Quantize(8, block=256).bind(TERMS).up(arriving(update(0)), {}, generator())
    assert sent.bytes == (16 * 33 + 3 * 4) + (7 + 4) + (1 + 4)


@pytest.mark.parametrize("bits", [4, 8])
def test_stochastic_rounding_is_right_in_the_mean(bits: int) -> None:
    values = generator().standard_normal(64).astype(np.float32)
    codec, draw, times = Blocks(bits, 64, True), generator(1), 4000
    mean = sum(codec.decode(codec.encode(values, draw), 64).astype(np.float64) for _ in range(times)) / times
    step = np.abs(values).max() / codec.levels
    # A number lies between two steps, so one draw spreads by half a step at most.
    assert np.abs(mean - values).max() < 5 * step / 2 / math.sqrt(times)


def test_rounding_to_the_nearest_is_not() -> None:
    values = np.full(64, 0.4, np.float32)
    values[0] = 127.0
    assert Blocks(8, 64, False).decode(Blocks(8, 64, False).encode(values, generator()), 64)[1] == 0


@given(values=numbers, share=st.floats(0.01, 1))
def test_the_largest_numbers_arrive_as_they_are(values: np.ndarray, share: float) -> None:
    codec = Largest(share)
    found = codec.decode(codec.encode(values, generator()), values.size)
    kept = max(1, math.ceil(share * values.size))
    threshold = np.sort(np.abs(values))[-kept]
    assert ((found == values) | (found == 0)).all()
    assert (found == values)[np.abs(values) > threshold].all()
    assert np.count_nonzero(found) <= kept


@pytest.mark.parametrize("spec", COMPRESSORS.values(), ids=COMPRESSORS)
def test_what_arrived_and_what_is_kept_are_all_that_was_sent(spec: Quantize | TopK) -> None:
    wanted, arrived, memory = rounds_of(spec.bind(TERMS), 12)
    assert norm(subtract(add(arrived, memory), wanted)) < 1e-5 * norm(wanted)


@pytest.mark.parametrize("spec", COMPRESSORS.values(), ids=COMPRESSORS)
def test_with_error_feedback_the_mean_error_of_a_round_falls(spec: Quantize | TopK) -> None:
    apart = []
    for count in (2, 60):
        wanted, arrived, _ = rounds_of(spec.bind(TERMS), count)
        apart.append(norm(subtract(arrived, wanted)) / count)
    assert apart[1] < apart[0] / 3


def test_without_error_feedback_nothing_is_kept() -> None:
    _, _, memory = rounds_of(TopK(0.1, error_feedback=False).bind(TERMS), 2)
    assert memory == {}


def test_the_same_draw_gives_the_same_message() -> None:
    values = generator().standard_normal(100).astype(np.float32)
    codec = Blocks(4, 32, True)
    assert codec.encode(values, generator(3)) == codec.encode(values, generator(3))
    assert codec.encode(values, generator(3)) != codec.encode(values, generator(4))


def test_zeros_and_nothing_survive() -> None:
    nothing = {"delta/a": torch.zeros(5, 3), "delta/none": torch.zeros(0, 4)}
    for spec in COMPRESSORS.values():
        sent = spec.bind(TERMS).up(arriving(nothing), {}, generator())
        assert {name: value.shape for name, value in sent.tensors.items()} == {
            name: value.shape for name, value in nothing.items()
        }
        assert norm(sent.tensors) == 0


def test_two_compressors_keep_their_memories_apart() -> None:
    both = Pipeline([TopK(0.5).bind(TERMS), Quantize(4).bind(TERMS)])
    wanted, arrived, memory = rounds_of(both, 5)
    left = subtract(wanted, arrived)
    kept = add(
        {name.removeprefix("0/"): value for name, value in memory.items() if name.startswith("0/")},
        {name.removeprefix("1/"): value for name, value in memory.items() if name.startswith("1/")},
    )
    assert norm(subtract(left, kept)) < 1e-5 * norm(wanted)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Quantize(bits=3),
        lambda: Quantize(block=0),
        lambda: Quantize(rounding="up"),
        lambda: TopK(share=0.0),
        lambda: TopK(share=1.5),
    ],
)
def test_options_without_sense_are_refused(make: object) -> None:
    with pytest.raises(ExperimentError, match="channel") as caught:
        make()  # type: ignore[operator]
    assert caught.value.hint
