"""Settings that reach deep into a run, set from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import start

from fedllm_bench import records
from fedllm_bench.model.peft_format import load_adapter
from fedllm_bench.store import RunFolder
from made_up import chitchat, take_as_chitchat

EXPERIMENT = """
name = "small"
[data]
min_samples = 5
[model]
base = "{base}"
dtype = "float32"
lora = {{ rank = 4, alpha = 8 }}
[local]
steps = 2
batch_size = 2
lr = 1e-3
[federation]
rounds = 2
cohort = 2
[evaluate]
clients = 2
samples = 2
[executor]
threads = 1
"""


@pytest.fixture(scope="module")
def place(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment and a cache with data."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "small.toml").write_text(EXPERIMENT.format(base=tiny_model))
    take_as_chitchat(folder / "cache", chitchat())
    return folder


def run(place: Path, runs: Path, *settings: str) -> RunFolder:
    words = [word for setting in settings for word in ("--set", setting)]
    runs.mkdir(parents=True, exist_ok=True)
    command = start(runs / "said.txt", place / "cache", "run", str(place / "small.toml"), "--runs", str(runs), *words)
    assert command.code() == 0, command.text
    (path,) = (path for path in (runs / "small").iterdir() if path.is_dir())
    return RunFolder(path)


def environment(folder: RunFolder) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(folder.environment.read_text())
    return facts


def losses(folder: RunFolder) -> list[float]:
    return [row["loss"] for row in records.read(folder.evaluations) if row["round"] == 0]


@pytest.fixture(scope="module")
def plain(place: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(place, tmp_path_factory.mktemp("plain"))


@pytest.mark.slow
@pytest.mark.parametrize(("quantization", "tolerance"), [("int8", 0.05), ("nf4", 0.5)])
def test_a_run_on_a_quantized_base_ends_with_an_adapter_and_says_how_the_base_was_stored(
    place: Path, tmp_path: Path, plain: RunFolder, quantization: str, tolerance: float
) -> None:
    pytest.importorskip("bitsandbytes")
    folder = run(place, tmp_path, f"model.quantization={quantization}")
    usual, facts = environment(plain), environment(folder)
    assert facts["base_fingerprint"] == f"{usual['base_fingerprint']} {quantization}"
    assert facts["parameters"] == usual["parameters"]
    assert losses(folder) == pytest.approx(losses(plain), rel=tolerance)
    assert losses(folder) != losses(plain)
    tensors, _ = load_adapter(folder.adapter)
    assert any(value.abs().max() > 0 for name, value in tensors.items() if "lora_B" in name)  # type: ignore[attr-defined]


def test_each_local_optimizer_trains_an_adapter_of_its_own(place: Path, tmp_path: Path, plain: RunFolder) -> None:
    settings = (("adamw_hf", 0.0), ("sgd", 0.0), ("sgd", 0.9))
    wanted = [(f"local.optimizer={name}", f"local.momentum={momentum}") for name, momentum in settings]
    folders = [plain, *(run(place, tmp_path / str(number), *words) for number, words in enumerate(wanted))]
    assert len({(folder.adapter / "adapter_model.safetensors").read_bytes() for folder in folders}) == 4
