"""Server optimizers are pure functions of tensors, and step as torch's optimizers do where these mean the same."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from fedllm_bench import rng
from fedllm_bench.federation.algorithms import ALGORITHMS
from fedllm_bench.federation.methods.paper import fedavg, fedavgm
from fedllm_bench.federation.server import ServerOptimizer, apply_update, chain
from fedllm_bench.tensors import Tensors

# Each with the options that have states and branches of their own.
SERVERS: dict[str, ServerOptimizer] = {
    "fedavg": fedavg(server_lr=0.5).server,
    "fedavgm": fedavgm().server,
    "fedavgm damped": fedavgm(damping=True, warm_start=True, server_lr=0.5).server,
    **{
        f"{name} {label}": ALGORITHMS[name](**options).server
        for name in ("fedadagrad", "fedyogi", "fedadam")
        for label, options in (("published", {}), ("of the momentum", {"moment_of": "momentum", "warm_start": True}))
    },
    "fedadam corrected": ALGORITHMS["fedadam"](bias_correction=True).server,
    "fedyogi then fedavgm": chain(ALGORITHMS["fedyogi"]().server, fedavgm().server),
}


def same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


numbers = st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4)


def tensors(values: Sequence[float]) -> dict[str, Tensor]:
    return {"a": torch.tensor(values[:1]), "b/c": torch.tensor(values[1:]).view(3, 1)}


def copied(some: Tensors) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in some.items()}


@pytest.mark.parametrize("name", SERVERS)
@settings(max_examples=20, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=4))
def test_server_optimizers_are_functions_of_tensors(name: str, updates: list[list[float]]) -> None:
    """Same input, same output; nothing given is changed; the state goes through a file."""
    server, adapter = SERVERS[name], tensors([0.5, -1.0, 2.0, 0.0])
    state: Tensors = server.init(adapter)
    for round, values in enumerate(updates, start=1):
        update = tensors(values)
        before = [copied(part) for part in (adapter, update, state)]
        moved, after = apply_update(server, adapter, update, state, round)
        again, after_again = apply_update(server, adapter, update, state, round)
        assert same(moved, again)
        assert same(after, after_again)
        assert all(same(part, kept) for part, kept in zip((adapter, update, state), before, strict=True))
        assert after.keys() == state.keys()
        reread, after_reread = apply_update(server, adapter, update, load(save(dict(state))), round)
        assert same(moved, reread)
        assert same(after, after_reread)
        assert all(bool(torch.isfinite(value).all()) for value in moved.values())
        adapter, state = dict(moved), after


@pytest.mark.parametrize("name", SERVERS)
@settings(max_examples=10, deadline=None)
@given(numbers, numbers)
def test_server_optimizers_treat_each_element_alone(name: str, first: list[float], second: list[float]) -> None:
    """What happens to one element does not depend on the others, nor on the tensor it is in."""
    server = SERVERS[name]
    whole, state = tensors([0.0] * 4), server.init(tensors([0.0] * 4))
    alone, state_alone = {"x": torch.zeros(1)}, server.init({"x": torch.zeros(1)})
    for round, values in enumerate((first, second), start=1):
        whole, state = apply_update(server, whole, tensors(values), state, round)  # type: ignore[assignment]
        alone, state_alone = apply_update(  # type: ignore[assignment]
            server, alone, {"x": torch.tensor(values[2:3])}, state_alone, round
        )
    torch.testing.assert_close(whole["b/c"][1], alone["x"])


PEERS: dict[str, tuple[ServerOptimizer, Callable[[list[Tensor]], torch.optim.Optimizer]]] = {
    "fedavgm": (fedavgm(beta=0.9, server_lr=0.1).server, lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.9)),
    "fedadagrad": (
        ALGORITHMS["fedadagrad"](server_lr=0.1).server,
        lambda w: torch.optim.Adagrad(w, lr=0.1, eps=1e-3),
    ),
    "fedadam corrected": (
        ALGORITHMS["fedadam"](server_lr=0.1, bias_correction=True).server,
        lambda w: torch.optim.Adam(w, lr=0.1, betas=(0.9, 0.99), eps=1e-3),
    ),
}


@pytest.mark.parametrize("name", PEERS)
def test_server_optimizers_step_as_torch_does_along_the_negative_update(name: str) -> None:
    """Torch's second moments start at zero; the papers' start at tau^2."""
    server, make = PEERS[name]
    weights = torch.from_numpy(rng.stream(0, "weights").normal(size=50)).float()
    leaf = weights.clone().requires_grad_()
    peer = make([leaf])
    state: Tensors = server.init({"w": weights})
    state = {key: torch.zeros_like(value) if key.startswith("v/") else value for key, value in state.items()}
    adapter: Tensors = {"w": weights}
    for round in range(1, 7):
        update = torch.from_numpy(rng.stream(0, "update", round).normal(0, 0.01, 50)).float()
        adapter, state = apply_update(server, adapter, {"w": update}, state, round)
        leaf.grad = -update
        peer.step()
        torch.testing.assert_close(adapter["w"], leaf.detach(), rtol=1e-5, atol=1e-6)
