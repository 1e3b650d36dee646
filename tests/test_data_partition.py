"""Views choose clients, keep their order, and load nothing."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedllm_bench.data import draw, drawn, only, with_samples
from fedllm_bench.errors import DataError
from fedllm_bench.examples import ChatExample, ClientData, FederatedDataset, Turn


@dataclass
class Listed:
    """A dataset of clients with given numbers of samples, which notes what is loaded."""

    sizes: list[int]
    name: str = "listed"
    fingerprint: str = "f"
    loaded: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sizes)

    def client_id(self, index: int) -> str:
        return f"client-{index}"

    def size(self, index: int) -> int:
        return self.sizes[index]

    def load(self, index: int) -> ClientData:
        self.loaded.append(index)
        example = ChatExample("x", (Turn("assistant", "y"),))
        return ClientData(self.client_id(index), (example,) * self.sizes[index], ())


SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=40)


def positions(view: FederatedDataset) -> list[int]:
    return [int(view.client_id(index).removeprefix("client-")) for index in range(len(view))]


@given(sizes=SIZES, minimum=st.integers(0, 30), maximum=st.none() | st.integers(0, 30))
def test_with_samples_keeps_exactly_the_clients_within_the_bounds(
    sizes: list[int], minimum: int, maximum: int | None
) -> None:
    wanted = [n for n, size in enumerate(sizes) if minimum <= size <= (size if maximum is None else maximum)]
    if wanted:
        assert positions(with_samples(Listed(sizes), minimum, maximum)) == wanted
    else:
        with pytest.raises(DataError, match="no client has at least"):
            with_samples(Listed(sizes), minimum, maximum)


@given(sizes=SIZES, seed=st.integers(0, 9), data=st.data())
def test_a_draw_keeps_the_order_and_holds_every_smaller_draw(sizes: list[int], seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(sizes)))
    dataset = Listed(sizes)
    chosen = positions(draw(dataset, count, seed))
    assert len(chosen) == count
    assert all(a < b for a, b in pairwise(chosen))
    smaller = data.draw(st.integers(1, count))
    assert set(positions(draw(dataset, smaller, seed))) <= set(chosen)


@given(sizes=SIZES, seed=st.integers(0, 9), data=st.data())
def test_the_drawn_clients_one_by_one_are_the_draw(sizes: list[int], seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(sizes)))
    dataset = Listed(sizes)
    one_by_one = [positions(drawn(dataset, index, count, seed))[0] for index in range(count)]
    assert sorted(one_by_one) == positions(draw(dataset, count, seed))


def test_another_seed_draws_others() -> None:
    dataset = Listed([1] * 100)
    assert positions(draw(dataset, 10, seed=0)) != positions(draw(dataset, 10, seed=1))


@given(sizes=SIZES, data=st.data())
def test_only_finds_its_client(sizes: list[int], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(sizes) - 1))
    view = only(Listed(sizes), f"client-{index}")
    assert positions(view) == [index]
    assert view.size(0) == sizes[index]


def test_views_of_views_compose() -> None:
    dataset = Listed([5, 0, 7, 9, 1, 8])
    view = only(draw(with_samples(dataset, 5), 4, seed=0), "client-3")
    assert positions(view) == [3]
    assert len(view.load(0).train) == view.size(0) == 9


def test_nothing_is_loaded_until_it_is_asked_for() -> None:
    dataset = Listed([5, 6, 7, 8])
    view = draw(with_samples(dataset, 6), 2, seed=0)
    assert dataset.loaded == []
    view.load(1)
    assert dataset.loaded == positions(view)[1:]


def test_the_fingerprint_tells_views_apart_and_equal_views_together() -> None:
    dataset = Listed([5, 6, 7, 8])

    def views() -> list[FederatedDataset]:
        return [
            *(with_samples(dataset, 6), with_samples(dataset, 6, 7), only(dataset, "client-1")),
            *(draw(dataset, 2, seed=0), draw(dataset, 2, seed=1), drawn(dataset, 0, 2, seed=0)),
        ]

    first, second = ([view.fingerprint for view in views()] for _ in range(2))
    assert first == second
    assert len({*first, dataset.fingerprint}) == 7
    assert {view.name for view in views()} == {"listed"}


def test_an_unknown_client_is_told_with_an_example_of_an_id() -> None:
    with pytest.raises(DataError, match="no client has the id 'nobody'") as caught:
        only(Listed([1, 2]), "nobody")
    assert caught.value.hint == "it has 2 clients, such as 'client-0'"


def test_bounds_that_nobody_meets_are_told_with_the_sizes_there_are() -> None:
    with pytest.raises(DataError, match="no client has at least 50 and at most 60 training samples") as caught:
        with_samples(Listed([3, 40]), 50, 60)
    assert "3 to 40" in str(caught.value.hint)


@pytest.mark.parametrize("count", [0, 3])
def test_a_draw_of_more_clients_than_there_are_is_refused(count: int) -> None:
    with pytest.raises(DataError, match=f"{count} clients cannot be drawn"):
        draw(Listed([1, 1]), count, seed=0)


@pytest.mark.parametrize("index", [-1, 2])
def test_a_drawn_client_beyond_the_draw_is_refused(index: int) -> None:
    with pytest.raises(DataError, match=f"client {index} of 2"):
        drawn(Listed([1, 1]), index, 2, seed=0)
