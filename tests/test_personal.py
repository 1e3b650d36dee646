"""Tensors that stay with clients, tensors that nobody trains, and models made for one client."""

import json
from pathlib import Path

import pytest
import torch

from command import Command
from fedllm_bench import personalise
from fedllm_bench.errors import ExperimentError, RunError
from fedllm_bench.federation.checkpoint import DiskStates
from fedllm_bench.federation.keys import Keys, personal_model
from fedllm_bench.store import RunFolder
from made_up import chitchat, take_as_chitchat
from small_runs import last_state, rows, run


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "personal-cache"
    if not folder.exists():
        take_as_chitchat(folder, chitchat())
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(folder))
    return folder


def kept(folder: RunFolder) -> dict[int, dict[str, torch.Tensor]]:
    """Client to the tensors of its own that it kept."""
    own = DiskStates(folder.own, 2)
    return {int(path.name): personal_model(own.load(int(path.name), 99)) for path in folder.own.iterdir()}


def sent(folder: RunFolder) -> int:
    return sum(row["bytes_up"] for row in rows(folder.rounds))


# ------------------------------------------------------------------------------------------- patterns


def test_tensors_are_frozen_private_or_leave() -> None:
    keys = Keys(frozen=("*lora_A*",), private=("*v_proj*",))
    names = [f"{site}.lora_{part}.weight" for site in ("q_proj", "v_proj") for part in "AB"]
    assert [name for name in names if keys.leaves(name)] == ["q_proj.lora_B.weight"]
    assert [name for name in names if keys.is_private(name)] == ["v_proj.lora_B.weight"]


def test_patterns_that_match_nothing_or_everything_are_refused() -> None:
    with pytest.raises(ExperimentError, match="'\\*lora_C\\*' matches no tensor"):
        Keys(private=("*lora_C*",)).require_sense(["q.lora_A.weight"])
    with pytest.raises(ExperimentError, match="'\\*lora_A\\*' matches no tensor that trains"):
        Keys(frozen=("*lora_A*",), private=("*lora_A*",)).require_sense(["q.lora_A.weight", "q.lora_B.weight"])
    with pytest.raises(ExperimentError, match="nothing would leave a client"):
        Keys(frozen=("*lora_A*",), private=("*lora_B*",)).require_sense(["q.lora_A.weight", "q.lora_B.weight"])


# -------------------------------------------------------------------------------------------- methods


def test_ffa_lora_trains_and_sends_b_alone(tiny_model: Path, tmp_path: Path) -> None:
    plain, half = (run(tiny_model, tmp_path, f"algorithm.name={name}") for name in ("fedavg", "ffa-lora"))
    start, end = last_state(plain), last_state(half)
    moved = {name: not torch.equal(value, start.adapter[name]) for name, value in end.adapter.items()}
    assert all(value.any() for name, value in end.adapter.items() if name.endswith("lora_B.weight"))
    assert any(moved.values())
    first = run(tiny_model, tmp_path, "algorithm.name=ffa-lora", "federation.rounds=1")
    for name, value in last_state(first).adapter.items():
        if name.endswith("lora_A.weight"):
            torch.testing.assert_close(end.adapter[name], value, rtol=0, atol=0)
    assert 0.3 < sent(half) / sent(plain) < 0.7
    assert not half.own.exists()


def test_fedsa_lora_shares_a_and_keeps_b_with_each_client(tiny_model: Path, tmp_path: Path) -> None:
    folder = run(tiny_model, tmp_path, "algorithm.name=fedsa-lora")
    state, own = last_state(folder), kept(folder)
    assert not any(value.any() for name, value in state.adapter.items() if name.endswith("lora_B.weight"))
    assert own
    for mine in own.values():
        assert all(name.endswith("lora_B.weight") and value.any() for name, value in mine.items())
    personal = [row for row in rows(folder.evaluations) if "personal" in row]
    assert personal
    assert all(row["personal"]["loss"] != row["loss"] for row in personal)


def test_private_tensors_are_where_a_client_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    """All clients in each round: what one kept after round one is where it starts round two."""
    everyone = ("federation.cohort=100", "data.clients=3", "evaluate.clients=3")
    private = 'federation.private=["*v_proj*lora_B*"]'
    one = run(tiny_model, tmp_path, private, *everyone, "federation.rounds=1", "local.schedule=constant")
    two = run(tiny_model, tmp_path, private, *everyone, "federation.rounds=2", "local.schedule=constant")
    before, after = (
        {client: DiskStates(folder.own, 9).load(client, 2) for client in kept(folder)} for folder in (one, two)
    )
    assert before.keys() == after.keys()
    for client, own in before.items():
        for name, value in own.items():
            torch.testing.assert_close(after[client][name], value, rtol=0, atol=0)
            assert not torch.equal(kept(two)[client][name.removeprefix("personal/")], value)


# ---------------------------------------------------------------------------------------- fine-tuning


def test_fine_tuning_scores_mixtures_on_each_evaluated_client(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(tiny_model, tmp_path)
    found = personalise.personalise(folder.path, 3, 1e-2, [0.5, 1.0])
    last = {row["client"]: row["loss"] for row in rows(folder.evaluations) if row["round"] == 2}
    assert {row["client"] for row in found} == last.keys()
    for row in found:
        assert (row["loss"] == pytest.approx(last[row["client"]], rel=1e-6)) == (row["weight"] == 0)
    # What is there is not done again, and a new weight is done beside it.
    again = personalise.personalise(folder.path, 3, 1e-2, [0.5, 1.0])
    assert sorted(map(str, again)) == sorted(map(str, found))
    assert len(rows(folder.path / "personal.jsonl")) == 3 * len(last)
    done = Command(capsys, monkeypatch)("personalise", folder.path, "--steps", "3", "--lr", "0.01", "--weight", "0.25")
    assert done.code == 0, done.err
    assert len(rows(folder.path / "personal.jsonl")) == 4 * len(last)
    assert [line.split()[0] for line in done.out.splitlines() if line[:6].strip() in ("0", "0.25")] == ["0", "0.25"]


def test_fine_tuning_goes_on_after_a_kill_in_the_middle_of_a_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = run(tiny_model, tmp_path)
    found = personalise.personalise(folder.path, 1, 1e-2, [1.0])
    torn = folder.path / "personal.jsonl"
    torn.write_bytes(torn.read_bytes()[:-9])
    assert personalise.personalise(folder.path, 1, 1e-2, [1.0]) == found
    assert rows(torn) == found


def test_fine_tuning_refuses_other_data_than_the_runs(tiny_model: Path, tmp_path: Path) -> None:
    folder = run(tiny_model, tmp_path)
    ran_with = json.loads(folder.environment.read_text(encoding="utf-8"))
    folder.environment.write_text(json.dumps({**ran_with, "data_fingerprint": "other"}), encoding="utf-8")
    with pytest.raises(RunError, match="another data fingerprint"):
        personalise.personalise(folder.path, 1, 1e-2, [1.0])


def test_fine_tuning_needs_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        personalise.personalise(tmp_path, 1, None, [1.0])


def test_input_that_is_refused_while_a_run_is_built_leaves_no_folder(tiny_model: Path, tmp_path: Path) -> None:
    channel = 'channel=[{name="client-dp", clip=1.0, delta=0.9}]'
    with pytest.raises(ExperimentError, match=r"channel.client-dp: delta = 0.9 is above 1 / clients"):
        run(tiny_model, tmp_path / "runs", channel)
    assert not (tmp_path / "runs" / "small").exists()
