"""Where and how a run computes."""

from collections.abc import Iterator

import pytest
import torch

from fedllm_bench.errors import ModelError
from fedllm_bench.model.compute import telling_of_order


@pytest.fixture
def in_one_order() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.usefixtures("in_one_order")
def test_an_operation_without_an_order_is_told_with_the_setting_that_allows_it() -> None:
    with pytest.raises(ModelError, match="any order: put_ does not have") as caught, telling_of_order():
        torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2))
    assert "executor.deterministic = false" in str(caught.value.hint)


def test_other_failures_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="size"), telling_of_order():
        torch.zeros(2) + torch.zeros(3)
