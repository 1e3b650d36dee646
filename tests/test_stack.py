"""The block of memory that holds a cohort's adapters goes when training is over."""

import gc
import weakref
from pathlib import Path

import torch

from fedllm_bench.federation.methods.paper import scaffold
from fedllm_bench.federation.stack import AdapterStack
from small_parts import language_model
from small_rounds import Federation


def test_a_stack_that_took_gradients_goes_with_its_last_user() -> None:
    stack = AdapterStack([{"w": torch.ones(3)}], torch.device("cpu"), lambda name: True)
    (stack.params["w"] ** 2).sum().backward()
    torch.testing.assert_close(stack.flat_grad, torch.full((1, 3), 2.0))
    kept = [weakref.ref(stack), weakref.ref(stack.flat), weakref.ref(stack.flat_grad)]
    del stack
    gc.collect()
    assert [ref() for ref in kept] == [None, None, None]


def test_no_clients_adapter_stays_in_memory_after_its_round(tiny_model: Path, tmp_path: Path) -> None:
    federation = Federation(language_model(tiny_model), tmp_path, scaffold())
    state = federation.rounds(3)
    gc.collect()
    assert not any(type(thing) is AdapterStack for thing in gc.get_objects())
    assert state.round == 3
