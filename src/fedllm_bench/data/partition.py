"""Views of a federated dataset that hold some of its clients, in the order they had; nothing is loaded or copied."""

import hashlib
from typing import Any

import numpy as np

from fedllm_bench import rng
from fedllm_bench.errors import DataError
from fedllm_bench.examples import ClientData, FederatedDataset

__all__ = ["draw", "draw_positions", "drawn", "only", "with_samples"]


class _View:
    """Some clients of a dataset.

    Args:
        base: the dataset.
        positions: of the clients in it.
        how: names the choice, for the fingerprint.
    """

    def __init__(self, base: FederatedDataset, positions: np.ndarray[Any, Any], how: str) -> None:
        self._base = base
        self._positions = positions
        self.name = base.name
        self.fingerprint = hashlib.sha256(f"{base.fingerprint}\n{how}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._positions)

    def client_id(self, index: int) -> str:
        return self._base.client_id(int(self._positions[index]))

    def size(self, index: int) -> int:
        return self._base.size(int(self._positions[index]))

    def load(self, index: int) -> ClientData:
        return self._base.load(int(self._positions[index]))


def with_samples(dataset: FederatedDataset, minimum: int = 1, maximum: int | None = None) -> FederatedDataset:
    """The clients that have at least `minimum` and at most `maximum` training samples.

    Raises:
        DataError: no client has.
    """
    sizes = _sizes(dataset)
    fits = sizes >= minimum if maximum is None else (sizes >= minimum) & (sizes <= maximum)
    if not fits.any():
        wanted = f"at least {minimum}" + ("" if maximum is None else f" and at most {maximum}")
        raise DataError(
            f"{dataset.name}: no client has {wanted} training samples",
            f"its clients have {sizes.min()} to {sizes.max()}: change data.min_samples or data.max_samples",
        )
    return _View(dataset, np.flatnonzero(fits), f"with_samples {minimum} {maximum}")


def only(dataset: FederatedDataset, client_id: str) -> FederatedDataset:
    """The one client with this id.

    Raises:
        DataError: there is none.
    """
    for index in range(len(dataset)):
        if dataset.client_id(index) == client_id:
            return _View(dataset, np.array([index]), f"only {client_id}")
    raise DataError(
        f"{dataset.name}: no client has the id {client_id!r}",
        f"it has {len(dataset):,} clients, such as {dataset.client_id(0)!r}",
    )


def draw(dataset: FederatedDataset, count: int, seed: int) -> FederatedDataset:
    """`count` clients drawn by seed; a larger draw by the same seed holds every smaller one.

    Raises:
        DataError: there are not so many clients.
    """
    return _View(dataset, np.sort(draw_positions(dataset, count, seed)), f"draw {count} {seed}")


def drawn(dataset: FederatedDataset, index: int, of: int, seed: int) -> FederatedDataset:
    """The `index`-th, from 0, of the `of` clients that `draw` gives for this seed, in the order they are drawn.

    Raises:
        DataError: there are not so many clients, or `index` is not below `of`.
    """
    if not 0 <= index < of:
        raise DataError(f"client {index} of {of} drawn clients does not exist", f"they are numbered from 0 to {of - 1}")
    position = draw_positions(dataset, of, seed)[index]
    return _View(dataset, np.array([position]), f"draw {of} {seed}, number {index}")


def draw_positions(dataset: FederatedDataset, count: int, seed: int) -> np.ndarray[Any, Any]:
    """Positions of the clients that `draw` gives, in the order they are drawn; a smaller draw is the start of a larger.

    Raises:
        DataError: there are not so many clients.
    """
    if not 1 <= count <= len(dataset):
        raise DataError(
            f"{dataset.name}: {count} clients cannot be drawn", f"it has {len(dataset):,} clients to choose from"
        )
    return rng.stream(seed, "draw-clients").permutation(len(dataset))[:count]


def _sizes(dataset: FederatedDataset) -> np.ndarray[Any, Any]:
    return np.fromiter((dataset.size(index) for index in range(len(dataset))), np.int64, count=len(dataset))
