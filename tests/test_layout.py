"""Rows are cut into micro-batches and laid out so that each is there once, whole, with its own targets."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedllm_bench.model.layout import Layout, lay_out, plan_micro_batches

lengths = st.lists(st.integers(1, 300), max_size=40)
PAD = 99


@given(lengths, st.integers(1, 400))
def test_every_row_is_in_one_micro_batch(rows: list[int], budget: int) -> None:
    plan = plan_micro_batches(rows, budget)
    assert sorted(row for batch in plan for row in batch) == list(range(len(rows)))
    assert all(batch == sorted(batch) != [] for batch in plan)


@given(lengths, st.integers(1, 400))
def test_a_micro_batch_keeps_to_the_budget_unless_it_is_one_long_row(rows: list[int], budget: int) -> None:
    for batch in plan_micro_batches(rows, budget):
        assert sum(rows[row] for row in batch) <= budget or len(batch) == 1


@given(lengths, st.integers(1, 400))
def test_few_micro_batches_are_used(rows: list[int], budget: int) -> None:
    """Two of them would not fit into one, so there are at most about twice as many as the tokens need."""
    plan = plan_micro_batches(rows, budget)
    assert len(plan) <= 2 * (sum(rows) // budget + 1) + sum(length > budget for length in rows)


def test_tokens_are_spread_evenly() -> None:
    rows = [100] * 8 + [50] * 8
    loads = [sum(rows[row] for row in batch) for batch in plan_micro_batches(rows, 1000)]
    assert loads == [600, 600]


examples = st.lists(st.lists(st.booleans(), min_size=1, max_size=8), min_size=1, max_size=5)


def layout_of(flags: list[list[bool]], packed: bool) -> tuple[Layout, list[NDArray[np.int32]]]:
    ids = [np.arange(10 * row, 10 * row + len(part), dtype=np.int32) for row, part in enumerate(flags)]
    scored = [np.array(part) for part in flags]
    owners = [row // 2 for row in range(len(flags))]
    cpu = torch.device("cpu")
    return lay_out(ids, scored, owners, range(len(flags)), packed=packed, pad_id=PAD, device=cpu), ids


@pytest.mark.parametrize("packed", [True, False])
@given(examples)
def test_every_scored_token_is_predicted_from_the_one_before_it_in_its_row(
    packed: bool, flags: list[list[bool]]
) -> None:
    layout, ids = layout_of(flags, packed)
    expected = [(row, ids[row][t]) for row, part in enumerate(flags) for t, flag in enumerate(part) if flag and t > 0]
    assert list(zip(layout.target_rows.tolist(), layout.targets.tolist(), strict=True)) == expected
    before = layout.input_ids.flatten()[layout.keep].tolist()
    assert before == [token - 1 for _, token in expected]
    assert layout.row_count == len(flags)


@pytest.mark.parametrize("packed", [True, False])
@given(examples)
def test_positions_start_anew_in_each_row(packed: bool, flags: list[list[bool]]) -> None:
    layout, ids = layout_of(flags, packed)
    flat, positions = layout.input_ids.flatten(), layout.position_ids.flatten()
    real = flat != PAD
    assert flat[real].tolist() == np.concatenate(ids).tolist()
    assert positions[real].tolist() == [t for part in flags for t in range(len(part))]


@given(examples)
def test_packed_rows_have_no_padding_and_padded_ones_say_where_it_is(flags: list[list[bool]]) -> None:
    packed, ids = layout_of(flags, packed=True)
    assert packed.segments == tuple(map(len, ids))
    assert packed.attention_mask is None
    assert packed.input_ids.shape == (1, sum(map(len, ids)))
    padded, _ = layout_of(flags, packed=False)
    assert padded.segments is None
    assert padded.attention_mask is not None
    assert padded.input_ids.shape == (len(ids), max(map(len, ids)))
    assert (padded.input_ids == PAD).tolist() == (padded.attention_mask == 0).tolist()
