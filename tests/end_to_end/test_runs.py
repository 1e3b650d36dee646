"""Runs from the command line: repeated, killed, interrupted, out of disk, and continued."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import Command, start

from fedllm_bench import records
from fedllm_bench.store import RunFolder
from made_up import chitchat, take_as_chitchat

ROUNDS = 5
EXPERIMENT = """
name = "small"
[data]
min_samples = 5
[model]
base = "{base}"
lora = {{ rank = 4, alpha = 8, dropout = 0.1 }}
[local]
steps = 2
batch_size = 2
lr = 1e-3
keep_optimizer = true
[federation]
rounds = {rounds}
cohort = 3
[evaluate]
every = 2
clients = 4
samples = 2
[executor]
threads = 1
"""


@dataclass(frozen=True)
class Bench:
    """A cache, an experiment file and a folder for runs."""

    cache: Path
    experiment: Path
    runs: Path

    def start(self, *words: str, die_at: int | None = None) -> Command:
        self.runs.mkdir(parents=True, exist_ok=True)
        command = ("run", str(self.experiment), "--runs", str(self.runs), *words)
        return start(self.runs / "said.txt", self.cache, *command, die_at=die_at)

    def run(self, *words: str) -> RunFolder:
        command = self.start(*words)
        assert command.code() == 0, command.text
        return self.folder()

    def folder(self) -> RunFolder:
        """The only run there is."""
        (path,) = (path for path in (self.runs / "small").iterdir() if path.is_dir())
        return RunFolder(path)

    def has(self, round: int) -> Callable[[], bool]:
        """Whether the checkpoint of a round is there."""
        return lambda: any((self.runs / "small").glob(f"*/checkpoints/round-{round:06}.safetensors"))

    def killed_after(self, round: int) -> RunFolder:
        """A run that was killed when it had the checkpoint of that round."""
        command = self.start()
        command.wait_for(self.has(round))
        command.send(signal.SIGKILL)
        assert command.code() == -signal.SIGKILL, command.text
        return self.folder()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Bench:
    """What all runs here share: the model, the conversations, the cache of their tokens."""
    above = tmp_path_factory.mktemp("world")
    take_as_chitchat(above / "cache", chitchat())
    experiment = above / "small.toml"
    experiment.write_text(EXPERIMENT.format(base=tiny_model, rounds=ROUNDS))
    return Bench(above / "cache", experiment, above / "runs")


@pytest.fixture(scope="module")
def whole(world: Bench) -> dict[str, Any]:
    """The files of an uninterrupted run."""
    return contents(world.run())


@pytest.fixture
def bench(world: Bench, tmp_path: Path) -> Bench:
    return Bench(world.cache, world.experiment, tmp_path / "runs")


def contents(folder: RunFolder) -> dict[str, Any]:
    """Every file of a run: bytes, and records without the fields that tell of time."""
    files: dict[str, Any] = {}
    for path in sorted(folder.path.rglob("*")):
        name = str(path.relative_to(folder.path))
        if path.is_dir() or name == ".lock":
            continue
        if path.suffix == ".jsonl":
            files[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in records.read(path)]
        elif path.name == "environment.json":
            files[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "started"}
        else:
            files[name] = path.read_bytes()
    return files


def assert_same(folder: RunFolder, whole: dict[str, Any]) -> None:
    found = contents(folder)
    assert found.keys() == whole.keys()
    assert [name for name in whole if found[name] != whole[name]] == []


# ------------------------------------------------------------------------------------- the same again


def test_a_run_leaves_its_records_and_an_adapter(whole: dict[str, Any]) -> None:
    assert [row["round"] for row in whole["rounds.jsonl"]] == [1, 2, 3, 4, 5]
    assert [len(row["cohort"]) for row in whole["rounds.jsonl"]] == [3] * ROUNDS
    assert len(whole["clients.jsonl"]) == 3 * ROUNDS
    assert sorted({row["round"] for row in whole["evaluations.jsonl"]}) == [0, 2, 4, 5]
    checkpoints = [name for name in whole if name.startswith("checkpoints/")]
    assert checkpoints == ["checkpoints/round-000004.safetensors", "checkpoints/round-000005.safetensors"]
    assert {"adapter/adapter_model.safetensors", "adapter/adapter_config.json"} <= whole.keys()


def test_the_same_seed_gives_the_same_bytes(bench: Bench, whole: dict[str, Any]) -> None:
    assert_same(bench.run(), whole)


@pytest.mark.slow
def test_another_seed_gives_other_bytes(bench: Bench, whole: dict[str, Any]) -> None:
    found = contents(bench.run("--seed", "1"))
    assert found["adapter/adapter_model.safetensors"] != whole["adapter/adapter_model.safetensors"]
    assert [row["cohort"] for row in found["rounds.jsonl"]] != [row["cohort"] for row in whole["rounds.jsonl"]]


def test_a_complete_run_is_left_alone(bench: Bench) -> None:
    folder = bench.run()
    times = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path.name != ".lock"}
    assert bench.run().path == folder.path
    assert {path: path.stat().st_mtime_ns for path in times} == times


# ------------------------------------------------------------------------------------ kill and resume


@pytest.mark.parametrize("round", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_a_run_killed_after_a_round_ends_with_the_same_bytes(bench: Bench, whole: dict[str, Any], round: int) -> None:
    bench.killed_after(round)
    assert_same(bench.run(), whole)


@pytest.mark.slow
def test_a_run_killed_at_every_other_write_ends_with_the_same_bytes(bench: Bench, whole: dict[str, Any]) -> None:
    # Each sitting comes a few writes further than the one before; together they stop at writes of every kind.
    for sitting in range(3, 40, 4):
        command = bench.start(die_at=sitting)
        if command.code() == 0:
            break
        assert command.process.exitcode == -signal.SIGKILL, command.text
    else:
        pytest.fail("the run never ends")
    assert sitting > 8
    assert_same(bench.folder(), whole)


@pytest.mark.slow
@pytest.mark.parametrize("write", range(1, 60))
def test_a_run_killed_at_any_write_ends_with_the_same_bytes(bench: Bench, whole: dict[str, Any], write: int) -> None:
    if bench.start(die_at=write).code() == 0:
        pytest.skip("the run has fewer writes")
    assert_same(bench.run(), whole)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(bench: Bench, whole: dict[str, Any]) -> None:
    draw = random.Random(5)
    for _ in range(4):
        command = bench.start()
        command.process.join(draw.uniform(0.1, 1.2))
        command.send(signal.SIGKILL)
        if command.code() == 0:
            break
    assert_same(bench.run(), whole)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(bench: Bench, whole: dict[str, Any]) -> None:
    folder = bench.killed_after(3)
    newest = sorted(folder.checkpoints.glob("round-*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert_same(bench.run(), whole)


@pytest.mark.slow
def test_what_clients_keep_survives_where_checkpoints_are_rare(bench: Bench) -> None:
    # The killed run goes back several rounds, in which clients have trained and kept something since.
    rare = ("--set", "checkpoint.every=3", "--set", "checkpoint.keep=1")
    command = bench.start(*rare)
    command.wait_for(lambda: _rounds_done(bench) >= 5)
    command.send(signal.SIGKILL)
    command.code()
    killed = contents(bench.run(*rare))
    shutil.rmtree(bench.runs)
    assert contents(bench.run(*rare)) == killed


def _rounds_done(bench: Bench) -> int:
    return sum(len(path.read_text().splitlines()) for path in bench.runs.glob("small/*/rounds.jsonl"))


# ------------------------------------------------------------------------------------------ interrupt


def test_ctrl_c_stops_with_code_1_and_the_run_goes_on_later(bench: Bench, whole: dict[str, Any]) -> None:
    command = bench.start()
    command.wait_for(bench.has(2))
    command.send(signal.SIGINT)
    assert command.code() == 1
    assert "run again to continue" in command.text
    assert "Traceback" not in command.text
    assert_same(bench.run(), whole)


@pytest.mark.slow
def test_a_process_of_its_own_does_all_that(bench: Bench, whole: dict[str, Any]) -> None:
    words = ("-m", "fedllm_bench", "run", str(bench.experiment), "--runs", str(bench.runs), "--json")
    environment = {**os.environ, "FEDLLM_BENCH_CACHE": str(bench.cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {row["method"] for row in json.loads(done.stdout)["rows"]} == {"base", "fedavg"}
    assert_same(bench.folder(), whole)


# ---------------------------------------------------------------------------------------- refused runs


def test_a_folder_of_another_run_is_refused(bench: Bench) -> None:
    folder = bench.killed_after(1)
    experiment = json.loads(folder.experiment.read_text())
    folder.experiment.write_text(json.dumps({**experiment, "run_id": "0123456789ab"}))
    before = contents(folder)
    command = bench.start()
    assert command.code() == 2
    assert "holds run 0123456789ab" in command.text
    assert contents(folder) == before


def test_a_run_goes_on_with_the_data_it_was_started_with_or_not_at_all(bench: Bench) -> None:
    bench.killed_after(1)
    elsewhere = Bench(bench.runs / "cache", bench.experiment, bench.runs)
    take_as_chitchat(elsewhere.cache, chitchat(conversations=9))
    command = elsewhere.start()
    assert command.code() == 2
    assert "another data fingerprint" in command.text


def test_a_run_goes_on_with_the_base_it_was_started_with_or_not_at_all(bench: Bench, tiny_model: Path) -> None:
    base = bench.runs / "base"
    shutil.copytree(tiny_model, base)
    bench = Bench(bench.cache, bench.runs / "small.toml", bench.runs)
    bench.experiment.write_text(EXPERIMENT.format(base=base, rounds=ROUNDS))
    bench.killed_after(1)
    weights = bytearray((base / "model.safetensors").read_bytes())
    weights[-100:] = bytes(100)
    (base / "model.safetensors").write_bytes(weights)
    command = bench.start()
    assert command.code() == 2
    assert "another base fingerprint" in command.text


# ------------------------------------------------------------------------------------------- full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        refused = subprocess.run(mount, capture_output=True, text=True, check=False).returncode
    except FileNotFoundError:
        refused = 1
    if refused:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("free_kib", [68, 120])
def test_a_full_disk_ends_the_run_and_it_goes_on_when_there_is_space(
    bench: Bench, small_disk: Path, whole: dict[str, Any], free_kib: int
) -> None:
    full = Bench(bench.cache, bench.experiment, small_disk / "runs")
    said = bench.runs / "said.txt"
    bench.runs.mkdir()
    words = ("run", str(full.experiment), "--runs", str(full.runs))
    filler = small_disk / "filler"
    with open(filler, "wb") as file:
        file.write(bytes(1024 * (1024 - free_kib)))
    command = start(said, full.cache, *words)
    assert command.code() == 2, command.text
    assert "no space left on the disk" in command.text
    assert "hint:" in command.text
    filler.unlink()
    command = start(said, full.cache, *words)
    assert command.code() == 0, command.text
    assert_same(full.folder(), whole)
