"""Local optimizers step every client of a stack as their published forms step one model."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fedllm_bench.federation.optimizer import SGD, AdamW, AdamWHF, LocalOptimizer
from fedllm_bench.federation.stack import AdapterStack
from fedllm_bench.tensors import Tensors

SHAPE = (3, 4)
STEPS = (5, 3, 1)  # of each client; those with most come first
OPTIMIZERS = [
    AdamW((0.8, 0.9), weight_decay=0.1),
    AdamWHF((0.8, 0.9), weight_decay=0.1),
    SGD(momentum=0.9, weight_decay=0.1),
    SGD(),
]
rates = st.floats(1e-5, 1e-1)
decays = st.sampled_from([0.0, 0.1])
seeds = st.integers(0, 1000)


def stack_of(weights: Sequence[Tensor]) -> AdapterStack:
    return AdapterStack([{"w": weight} for weight in weights], torch.device("cpu"), lambda _: True)


def starts(clients: int) -> list[Tensor]:
    return [torch.linspace(-1, 1, 12).view(SHAPE) * (1 + client) for client in range(clients)]


def gradients(seed: int, steps: int = max(STEPS), clients: int = len(STEPS)) -> Tensor:
    """Random ones, of sizes that differ between clients: (steps, clients, ...)."""
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([1.0, 100.0, 0.01])[:clients]
    return torch.randn(steps, clients, *SHAPE, generator=draw) * sizes[:, None, None]


def stepped(
    optimizer: LocalOptimizer, grads: Tensor, lr: float, steps: Sequence[int] = STEPS, own: Sequence[Tensors] = ()
) -> tuple[Tensor, list[Tensors]]:
    """Every client's weights after its steps, and what it keeps."""
    stack = stack_of(starts(len(steps)))
    memory = optimizer.start(stack, own or [{}] * len(steps))
    for step in range(max(steps)):
        stack.grads["w"].copy_(grads[step])
        optimizer.step(stack, memory, sum(step < wanted for wanted in steps), lr)
    return stack.params["w"].detach(), [optimizer.state(memory, client) for client in range(len(steps))]


def by_torch(make: Callable[[list[Tensor]], torch.optim.Optimizer], grads: Tensor) -> Tensor:
    weights = [start.clone().requires_grad_() for start in starts(len(STEPS))]
    for client, weight in enumerate(weights):
        optimizer = make([weight])
        for step in range(STEPS[client]):
            weight.grad = grads[step, client].clone()
            optimizer.step()
    return torch.stack(weights).detach()


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(lr=rates, momentum=st.sampled_from([0.0, 0.5, 0.9]), decay=decays, seed=seeds)
def test_sgd_steps_every_client_as_torch_does(lr: float, momentum: float, decay: float, seed: int) -> None:
    grads = gradients(seed)
    ours, _ = stepped(SGD(momentum, decay), grads, lr)
    close(ours, by_torch(lambda weight: torch.optim.SGD(weight, lr, momentum, weight_decay=decay), grads))


@settings(deadline=None, max_examples=30)
@given(lr=rates, b1=st.sampled_from([0.0, 0.9]), b2=st.sampled_from([0.9, 0.999]), decay=decays, seed=seeds)
def test_adamw_steps_every_client_as_torch_does(lr: float, b1: float, b2: float, decay: float, seed: int) -> None:
    grads = gradients(seed)
    ours, _ = stepped(AdamW((b1, b2), weight_decay=decay), grads, lr)
    close(ours, by_torch(lambda weight: torch.optim.AdamW(weight, lr, (b1, b2), 1e-8, decay), grads))


def as_in_hugging_face(
    weight: NDArray[Any], grads: NDArray[Any], lr: float, betas: tuple[float, float], eps: float, decay: float
) -> NDArray[Any]:
    """One model in fp64: eps beside the root as it is, then the weights shrink."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    for t, grad in enumerate(grads, 1):
        m = betas[0] * m + (1 - betas[0]) * grad
        v = betas[1] * v + (1 - betas[1]) * grad**2
        size = lr * np.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
        weight = weight - size * m / (np.sqrt(v) + eps)
        weight = weight - lr * decay * weight
    return weight


@settings(deadline=None, max_examples=30)
@given(lr=rates, b1=st.sampled_from([0.0, 0.9]), b2=st.sampled_from([0.9, 0.999]), decay=decays, seed=seeds)
def test_adamw_hf_steps_every_client_by_its_formula(lr: float, b1: float, b2: float, decay: float, seed: int) -> None:
    grads = gradients(seed)
    ours, _ = stepped(AdamWHF((b1, b2), weight_decay=decay), grads, lr)
    for client, start in enumerate(starts(len(STEPS))):
        own = grads[: STEPS[client], client].double().numpy()
        expected = as_in_hugging_face(start.double().numpy(), own, lr, (b1, b2), 1e-8, decay)
        close(ours[client], torch.from_numpy(expected).float())


def test_the_two_kinds_of_adamw_differ_where_gradients_are_as_small_as_eps() -> None:
    grads = torch.full((1, 1, *SHAPE), 1e-8)
    start = starts(1)[0]
    new, old = (stepped(kind(), grads, 1.0, (1,))[0][0] - start for kind in (AdamW, AdamWHF))
    # After one step m = 1e-9 and v = 1e-19; eps is 1e-8 in both.
    close(new, torch.full(SHAPE, -1 / 2))
    close(old, torch.full(SHAPE, -(0.001**0.5) / 0.1 * 1e-9 / (1e-19**0.5 + 1e-8)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_a_client_is_stepped_as_if_it_were_alone(optimizer: LocalOptimizer) -> None:
    grads = gradients(1)
    together, kept = stepped(optimizer, grads, 0.01)
    for client, start in enumerate(starts(len(STEPS))):
        stack = stack_of([start])
        memory = optimizer.start(stack, [{}])
        for step in range(STEPS[client]):
            stack.grads["w"].copy_(grads[step, client : client + 1])
            optimizer.step(stack, memory, 1, 0.01)
        assert torch.equal(stack.params["w"][0].detach(), together[client])
        alone = optimizer.state(memory, 0)
        assert alone.keys() == kept[client].keys()
        assert all(torch.equal(value, kept[client][name]) for name, value in alone.items())


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_kept_memory_goes_on_where_it_stopped(optimizer: LocalOptimizer) -> None:
    grads = gradients(2, steps=6)
    at_once, _ = stepped(optimizer, grads, 0.01, (6, 6, 6))
    stack = stack_of(starts(3))
    own: list[Tensors] = [{}, {}, {}]
    for part in (grads[:2], grads[2:]):
        memory = optimizer.start(stack, own)
        for grad in part:
            stack.grads["w"].copy_(grad)
            optimizer.step(stack, memory, 3, 0.01)
        own = [optimizer.state(memory, client) for client in range(3)]
    assert torch.equal(stack.params["w"].detach(), at_once)


def test_only_a_client_that_kept_something_goes_on_from_it() -> None:
    optimizer = AdamW()
    _, kept = stepped(optimizer, gradients(3), 0.01)
    both, _ = stepped(optimizer, gradients(4)[:, :2], 0.01, (2, 2), [kept[0], {}])
    fresh, _ = stepped(optimizer, gradients(4)[:, :2], 0.01, (2, 2))
    assert not torch.equal(both[0], fresh[0])
    assert torch.equal(both[1], fresh[1])


def test_sgd_without_momentum_keeps_nothing_as_large_as_the_adapter() -> None:
    _, kept = stepped(SGD(), gradients(0), 0.01)
    assert all(value.numel() == 1 for own in kept for value in own.values())
