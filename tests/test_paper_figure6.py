"""Figure 6 from run folders: epsilon against a metric."""

from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench import records
from fedllm_bench.analysis.frames import read_runs
from fedllm_bench.analysis.paper_figure6 import LOSS, points
from run_folders import experiment, write_run
from scored_runs import SETTINGS, write_scored


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    above = tmp_path / "mine"
    for epsilon in (1e-3, 1e-2, 0.1, 1.0):
        channel = [{"name": "paper-noise", "options": {"epsilon": epsilon, "delta": 1e-4}}]
        write_scored(above, experiment(channel=channel), -1 + epsilon, ["mt-bench"])
    write_scored(above, experiment(), 0.2, ["mt-bench"])
    write_scored(above, experiment(algorithm={"name": "local"}, data={"client_samples": 813}), -1.0, ["mt-bench"])
    return above


def with_noise(above: Path, skill: float, epsilon: float = 1.0, **more: Any) -> Path:
    options = {"epsilon": epsilon, "delta": 1e-4}
    settings = more.pop("settings", SETTINGS)
    run = experiment(channel=[{"name": "paper-noise", "options": options}], **more)
    return write_scored(above, run, skill, ["mt-bench"], settings=settings)


def spent(run: Path, **privacy: Any) -> None:
    """Write what the last round says of privacy."""
    rounds = list(records.read(run / "rounds.jsonl"))
    (run / "rounds.jsonl").unlink()
    records.append(run / "rounds.jsonl", *({**record, "privacy": privacy} for record in rounds))


def test_points_are_by_epsilon_and_lines_have_none(noisy: Path) -> None:
    found = points(read_runs([noisy]), "mt-bench-1")
    assert [point.epsilon for point in found] == [1e-3, 1e-2, 0.1, 1.0, None, None]
    assert not any(point.guaranteed for point in found)
    assert {point.name for point in found if point.epsilon is None} == {"FedAvg without noise", "local training"}


def test_a_guaranteed_epsilon_is_told_from_a_claimed_one(noisy: Path) -> None:
    channel = [{"name": "client-dp", "options": {"clip": 0.1, "noise": 1.0}}]
    run = write_scored(noisy, experiment(channel=channel), 0.0, ["mt-bench"])
    spent(run, epsilon=8.0, claimed_epsilon=None)
    found = points(read_runs([noisy]), "mt-bench-1")
    assert [point.epsilon for point in found if point.guaranteed] == [8.0]


def test_the_figure_is_written_twice_with_equal_bytes(fedllm: Command, noisy: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures"
    done = fedllm("figure", "6", noisy, "--out", out)
    assert done.code == 0 and done.out.split() == [str(out / "figure6.svg"), str(out / "figure6.png")]
    first = (out / "figure6.svg").read_bytes()
    fedllm("figure", "6", noisy, "--out", out)
    assert (out / "figure6.svg").read_bytes() == first and (out / "figure6.png").stat().st_size > 5000


def test_held_out_loss_is_drawn_where_asked_for(noisy: Path, fedllm: Command, tmp_path: Path) -> None:
    assert all(point.value.mean < 4 for point in points(read_runs([noisy]), LOSS))
    assert fedllm("figure", "6", noisy, "--metric", "loss", "--out", tmp_path / "f").code == 0


@pytest.mark.parametrize(("metric", "said"), [("beauty", "no metric"), ("mmlu", "no run with an epsilon has mmlu")])
def test_what_cannot_be_drawn_is_bad_input(
    fedllm: Command, noisy: Path, tmp_path: Path, metric: str, said: str
) -> None:
    done = fedllm("figure", "6", noisy, "--metric", metric, "--out", tmp_path / "none")
    assert done.code == 2 and said in done.err and "hint:" in done.err
    assert not (tmp_path / "none").exists()


def test_settings_besides_noise_are_points_of_their_own(tmp_path: Path) -> None:
    with_noise(tmp_path, -1.0)
    with_noise(tmp_path, 3.0, local={"lr": 1e-3})
    found = points(read_runs([tmp_path]), "mt-bench-1")
    assert [(point.epsilon, point.name) for point in found] == [(1.0, "FedAvg lr=0.0002"), (1.0, "FedAvg lr=0.001")]
    assert found[1].value.mean > found[0].value.mean + 2


def test_seeds_of_one_noise_are_one_point(tmp_path: Path) -> None:
    for seed in (0, 1):
        with_noise(tmp_path, 0.0, seed=seed)
    assert len(points(read_runs([tmp_path]), "mt-bench-1")) == 1


@pytest.mark.parametrize(("other", "said"), [({"judge": "endpoint:b"}, "different judges"), ({"limit": 5}, "(limit)")])
def test_points_that_do_not_go_together_are_refused(
    fedllm: Command, tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    run = with_noise(tmp_path, 0.0, 0.1)
    with_noise(tmp_path, 0.0, 1.0, settings={**SETTINGS, **other})
    done = fedllm("figure", "6", tmp_path, "--out", tmp_path / "none")
    assert done.code == 2 and said in done.err
    assert f"hint: fedllm-bench eval {run}" in done.err and "--suite mt-bench --judge endpoint:MODEL" in done.err
    assert fedllm("figure", "6", tmp_path, "--metric", "loss", "--out", tmp_path / "loss").code == 0


def test_held_out_loss_is_drawn_where_runs_with_noise_have_no_scores(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0, ["mt-bench"])
    channel = [{"name": "paper-noise", "options": {"epsilon": 1.0, "delta": 1e-4}}]
    write_run(tmp_path, experiment(channel=channel), clients=4)
    assert fedllm("figure", "6", tmp_path, "--out", tmp_path / "figures").code == 0
    asked = fedllm("figure", "6", tmp_path, "--metric", "mt-bench-1", "--out", tmp_path / "none")
    assert asked.code == 2 and "--metric loss" in asked.err
