"""Flat dicts of tensors obey the laws of vectors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedllm_bench.tensors import (
    add,
    all_finite,
    axpy,
    nbytes,
    norm,
    prefixed,
    require_same_names,
    scale,
    subtract,
    unprefixed,
    zeros_like,
    zip_map,
)

NAMES = ("a.weight", "b/c")
numbers = st.floats(-100, 100, width=32)
vectors = st.fixed_dictionaries({name: st.lists(numbers, min_size=2, max_size=2).map(torch.tensor) for name in NAMES})
Vector = dict[str, Tensor]


def close(a: Vector, b: Vector) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], atol=1e-2) for name in a)


@given(vectors, vectors, st.floats(-10, 10))
def test_sums_differences_and_multiples_fit_together(a: Vector, b: Vector, factor: float) -> None:
    assert close(add(a, b), add(b, a))
    assert close(subtract(add(a, b), b), a)
    assert close(axpy(factor, a, b), add(b, scale(a, factor)))
    assert close(add(a, zeros_like(a)), a)
    assert close(zip_map(lambda x, y: x - y, a, b), subtract(a, b))


@given(vectors, vectors, st.floats(-10, 10))
def test_the_norm_is_the_length_of_all_elements_together(a: Vector, b: Vector, factor: float) -> None:
    assert norm(a) == pytest.approx(float(torch.cat(list(a.values())).double().norm()))
    assert norm(scale(a, factor)) == pytest.approx(abs(factor) * norm(a), rel=1e-4, abs=1e-4)
    assert norm(add(a, b)) <= norm(a) + norm(b) + 1e-3


def test_the_norm_does_not_overflow_where_an_element_does_not() -> None:
    assert norm({"a": torch.full((4,), 1e30)}) == pytest.approx(2e30)


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_one_bad_element_makes_a_dict_not_finite(bad: float) -> None:
    assert all_finite({"a": torch.ones(3), "b": torch.zeros(0)})
    assert not all_finite({"a": torch.ones(3), "b": torch.tensor([0.0, bad])})


def test_other_names_are_refused_and_named() -> None:
    with pytest.raises(KeyError, match="'b'"):
        require_same_names({"a": torch.ones(1)}, {"a": torch.ones(1), "b": torch.ones(1)})
    with pytest.raises(KeyError):
        add({"a": torch.ones(1)}, {"b": torch.ones(1)})


def test_bytes_are_those_of_the_elements() -> None:
    assert nbytes({"a": torch.zeros(3), "b": torch.zeros(2, dtype=torch.bfloat16), "c": torch.zeros(0)}) == 16


@given(vectors, vectors)
def test_dicts_put_behind_prefixes_come_back_apart(a: Vector, b: Vector) -> None:
    together = {**prefixed("one", a), **prefixed("one/two", b)}
    assert unprefixed("one/two", together) == b
    assert unprefixed("three", together) == {}
    assert close(unprefixed("one", prefixed("one", a)), a)


@given(vectors)
def test_nothing_is_changed_in_place(a: Vector) -> None:
    before = {name: value.clone() for name, value in a.items()}
    add(a, a), subtract(a, a), scale(a, 2), axpy(2, a, a), zeros_like(a), prefixed("x", a)
    assert all(torch.equal(value, before[name]) for name, value in a.items())
