"""A run's state and what clients keep, on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedllm_bench.federation.checkpoint import Checkpoints, DiskStates
from fedllm_bench.federation.messages import RunState
from fedllm_bench.federation.rounds import (
    first_state,
    run_round,
)
from stated import START, Stated, plan


def state_of(round: int) -> RunState:
    return RunState(
        round,
        {"a/b": torch.tensor([float(round)])},
        {"0/m": torch.ones(2)},
        {"c": torch.zeros(3)},
        {"layer": torch.ones(2, 2) * round},
        {"0/clip": torch.tensor(0.5)},
    )


def numbers(state: RunState | None) -> Mapping[str, Any] | None:
    if state is None:
        return None
    parts = {
        "adapter": state.adapter,
        "server": state.server,
        "shared": state.shared,
        "base": state.base,
        "channel": state.channel,
    }
    return {"round": state.round, **{k: {n: v.tolist() for n, v in part.items()} for k, part in parts.items()}}


def test_the_newest_checkpoint_comes_back_as_it_was_and_old_ones_go(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert checkpoints.newest() is None
    for round in range(1, 5):
        checkpoints.save(state_of(round))
    assert checkpoints.rounds() == [3, 4]
    assert numbers(checkpoints.newest()) == numbers(state_of(4))


@pytest.mark.parametrize("left", [0, 5, 60])
def test_damaged_checkpoints_are_passed_over(tmp_path: Path, left: int) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for round in (1, 2, 3):
        checkpoints.save(state_of(round))
    for round in (3, 2):
        path = tmp_path / f"round-{round:06}.safetensors"
        path.write_bytes(path.read_bytes()[:left])
    assert numbers(checkpoints.newest()) == numbers(state_of(1))


def test_a_client_finds_what_it_kept_before_the_round_and_nothing_later(tmp_path: Path) -> None:
    own = DiskStates(tmp_path, back=10)
    for round in (2, 5, 7):
        own.save(3, round, {"m": torch.tensor([float(round)])})
    assert own.load(3, before=2) == {}
    assert [float(own.load(3, before=round)["m"]) for round in (3, 5, 6, 7, 8)] == [2, 2, 5, 5, 7]
    assert own.load(4, before=8) == {}


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 5))
def test_a_resume_within_reach_finds_what_it_needs_and_little_more_stays(
    tmp_path_factory: pytest.TempPathFactory, rounds: set[int], back: int
) -> None:
    folder = tmp_path_factory.mktemp("own")
    own = DiskStates(folder, back)
    done: list[int] = []
    for round in sorted(rounds):
        own.save(0, round, {"m": torch.tensor([float(round)])})
        done.append(round)
        for start in range(max(0, round - back), round + 1):  # a resume from the state after round `start`
            kept = own.load(0, before=start + 1)
            earlier = [past for past in done if past <= start]
            assert (float(kept["m"]) if kept else None) == (earlier[-1] if earlier else None)
        assert len(list((folder / "0").iterdir())) <= back + 1


def test_clients_are_given_what_they_kept_in_their_last_round(tmp_path: Path) -> None:
    own, executor = DiskStates(tmp_path, back=2), Stated()
    state = first_state(plan(), START)
    for members in [(0, 1), (1, 2), (0, 1)]:
        state, _ = run_round(plan(members), state, executor, own)
    kept = [{client: kept.get("seen") for client, kept in job.own.items()} for job in executor.jobs]
    assert kept == [{0: None}, {1: None}, {1: 1.0}, {2: None}, {0: 1.0}, {1: 3.0}]
