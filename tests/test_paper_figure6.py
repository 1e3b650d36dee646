"""Figure 6 from run folders: epsilon against a metric."""

from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench import records
from fedllm_bench.analysis.frames import read_runs
from fedllm_bench.analysis.paper_figure6 import _ticks, figure6
from fedllm_bench.analysis.privacy_points import LOSS, Point, points
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


def epsilons(found: list[Point]) -> list[float | None]:
    return [point.spent.epsilon if point.spent else None for point in found]


def test_points_are_by_epsilon_and_lines_have_none(noisy: Path) -> None:
    found = points(read_runs([noisy]), "mt-bench-1")
    assert epsilons(found) == [1e-3, 1e-2, 0.1, 1.0, None, None]
    assert not any(point.spent.guaranteed for point in found if point.spent)
    assert {(point.n, point.runs) for point in found} == {(80, 1)}
    assert {point.name for point in found if point.spent is None} == {"FedAvg without noise", "local training"}


def test_a_guaranteed_epsilon_is_told_from_a_claimed_one(noisy: Path) -> None:
    channel = [{"name": "client-dp", "options": {"clip": 0.1, "noise": 1.0}}]
    run = write_scored(noisy, experiment(channel=channel), 0.0, ["mt-bench"])
    spent(run, epsilon=8.0, claimed_epsilon=None)
    found = points(read_runs([noisy]), "mt-bench-1")
    assert [point.spent.epsilon for point in found if point.spent and point.spent.guaranteed] == [8.0]


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
    assert epsilons(found) == [1.0, 1.0]
    assert [point.name for point in found] == ["FedAvg lr=0.0002", "FedAvg lr=0.001"]
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
    assert "hint: fedllm-bench eval" in done.err and str(run) in done.err and "--suite mt-bench" in done.err
    assert fedllm("figure", "6", tmp_path, "--metric", "loss", "--out", tmp_path / "loss").code == 0


def test_held_out_loss_is_drawn_where_runs_with_noise_have_no_scores(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(), 0.0, ["mt-bench"])
    channel = [{"name": "paper-noise", "options": {"epsilon": 1.0, "delta": 1e-4}}]
    write_run(tmp_path, experiment(channel=channel), clients=4)
    assert fedllm("figure", "6", tmp_path, "--out", tmp_path / "figures").code == 0
    asked = fedllm("figure", "6", tmp_path, "--metric", "mt-bench-1", "--out", tmp_path / "none")
    assert asked.code == 2 and "--metric loss" in asked.err


# --- what the figure says


def test_ticks_are_the_points_and_delta_judge_and_counts_are_told(tmp_path: Path) -> None:
    for epsilon in (8.0, 16.0):
        channel = [{"name": "client-dp", "options": {"clip": 0.1, "noise": epsilon}}]
        spent(write_scored(tmp_path, experiment(channel=channel), 0.0, ["mt-bench"]), epsilon=epsilon, delta=1e-5)
    axes = figure6(read_runs([tmp_path])).figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "16"]
    label = " ".join(axes.get_xlabel().split())
    assert "epsilon at delta = 1e-05" in label and "Judged by scripted:made-up." in label
    assert "Of each point 80 questions, runs: 1" in label


def test_ticks_do_not_write_over_one_another() -> None:
    assert _ticks([1.0, 1.01, 1.02, 8.0, 100.0]) == [1.0, 8.0, 100.0]
    assert _ticks([8.0]) == [8.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["6", "{}", "--metric", "los"], 'did you mean "loss"?'),
        (["6", "{}", "--metric", "mt_bench"], 'did you mean "mt-bench"?'),
        (["{}"], "figure 6 "),
        (["6"], "figure 6 runs/mine"),
        (["7", "{}"], "figure 6 runs/mine"),
    ],
)
def test_what_was_meant_is_told(fedllm: Command, noisy: Path, arguments: list[str], said: str) -> None:
    done = fedllm("figure", *(each.format(noisy) for each in arguments))
    assert done.code == 2 and said in done.err


def test_noise_of_a_fixed_sigma_belongs_in_table_8(fedllm: Command, tmp_path: Path) -> None:
    write_scored(tmp_path, experiment(channel=[{"name": "paper-noise", "options": {"sigma": 0.1}}]), 0.0, ["mt-bench"])
    done = fedllm("figure", "6", tmp_path, "--out", tmp_path / "none")
    assert done.code == 2 and "a sigma and no epsilon" in done.err and "table 8" in done.err
