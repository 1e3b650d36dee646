"""The paper's experiment files: what they plan without anything at hand, and all their runs in miniature."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench import records, rng
from fedllm_bench.experiment import load
from fedllm_bench.run import execute
from made_up import sentence

FILES = sorted((Path(__file__).parents[2] / "experiments" / "paper").glob("*.toml"))
LANGUAGES = (
    *("Standard Arabic", "English", "Spanish", "French", "Portuguese", "Russian", "Telugu", "Simplified Chinese"),
    *(
        "Urdu",
        "Iranian Persian",
        "Italian",
        "German",
        "Polish",
        "Ukrainian",
        "Traditional Chinese",
        "Japanese",
        "Korean",
    ),
)
MINIATURE = (
    "model.quantization=none",
    "model.dtype=float32",
    "model.lora.rank=2",
    "objective.max_length=640",
    "data.held_out=0.3",
    "local.steps=1",
    "local.batch_size=4",
    "federation.rounds=1",
    "federation.cohort=2",
    "evaluate.clients=2",
    "evaluate.samples=2",
    "executor.threads=1",
    "executor.gradient_checkpointing=false",
)


def official(record: Callable[[Any, str], dict[str, Any]], clients: int, samples: int = 6) -> dict[str, Any]:
    """A file in the official format: client to records."""
    file = {}
    for client in range(clients):
        language = LANGUAGES[client % len(LANGUAGES)]
        draw = rng.stream(0, "official", client)
        file[f"user-{client}"] = [record(draw, language) for _ in range(samples)]
    return file


def instruction(draw: Any, language: str) -> dict[str, Any]:
    return {"instruction": sentence(draw), "response": sentence(draw), "language": language}


def conversation(draw: Any, language: str) -> dict[str, Any]:
    said = ("human", "gpt") * 2
    return {"conversations": [{"from": who, "value": sentence(draw)} for who in said]}


def preference(draw: Any, language: str) -> dict[str, Any]:
    return {"prompt": sentence(draw), "chosen": sentence(draw), "rejected": sentence(draw)}


SETS = {
    "fed-aya": (instruction, 8),
    "fed-aya-wide": (instruction, 34),
    "fed-chatbotit": (instruction, 4),
    "fed-wildchat": (instruction, 4),
    "fed-wildchat-multi": (conversation, 4),
    "fed-chatbotpa": (preference, 4),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Official-format files of made-up clients, by dataset."""
    folder = tmp_path_factory.mktemp("official")
    for name, (record, clients) in SETS.items():
        (folder / f"{name}.json").write_text(json.dumps(official(record, clients)), encoding="utf-8")
    return {name: folder / f"{name}.json" for name in SETS}


def sets_of(file: Path) -> list[str]:
    """The datasets that a file's runs name."""
    return sorted({experiment.data.name for experiment in load(file)})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dry_run_needs_neither_model_nor_data(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("FEDLLM_BENCH_DATA", raising=False)
    done = Command(capsys, monkeypatch)("run", file, "--dry-run", "--runs", tmp_path / "runs")
    assert done.code == 0, done.err
    assert "unknown" in done.out
    assert "hint:" in done.out + done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_run_of_a_file_ends_in_miniature(
    file: Path, tiny_model: Path, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path / "cache"))
    data = [f"data.{name}.file={files[name]}" for name in sets_of(file)]
    experiments = load(file, [*MINIATURE, f"model.base={tiny_model}", *data])
    assert len(experiments) >= 5
    for experiment in experiments:
        folder = execute(experiment, tmp_path / "runs")
        assert (folder / "adapter" / "adapter_model.safetensors").exists()
        evaluated = [row for row in records.read(folder / "evaluations.jsonl") if row["round"] == 1]
        assert all(row["loss"] is not None for row in evaluated)


def test_runs_with_the_preset_say_where_they_depart_from_the_published_definitions(
    tiny_model: Path, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path / "cache"))
    (file,) = (file for file in FILES if file.stem == "table3")
    data = [f"data.fed-chatbotit.file={files['fed-chatbotit']}", f"model.base={tiny_model}"]
    found = {}
    for experiment in load(file, [*MINIATURE, *data, 'algorithm.name=["fedavgm", "fedavg"]']):
        folder = execute(experiment, tmp_path / "runs")
        listed = json.loads((folder / "environment.json").read_text())["deviations"]
        found[experiment.algorithm.name] = {row["setting"]: (row["published"], row["here"]) for row in listed}
    assert found["fedavgm"]["algorithm.fedavgm.beta"] == (0.9, 0.5)
    assert found["fedavgm"]["local.optimizer"] == ("adamw", "adamw_hf")
    assert found["fedavgm"]["federation.sampling"] == ("fixed", "paper")
    assert not any(setting.startswith("algorithm.fedavg.") for setting in found["fedavg"])


def test_table_7_prints_the_papers_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = Command(capsys, monkeypatch)("table", "7", "--json")
    rows = json.loads(done.out)["rows"]
    printed = [(row["local_epochs"], row["clients"], row["local_steps"], row["rounds"]) for row in rows]
    assert printed == [
        (5, "4/38", 10, 200),
        (10, "10/237", 5, 100),
        (5, "5/100", 10, 100),
        (20, "3/50", 10, 50),
        (10, "10/747", "dynamic", 200),
    ]
