"""vLLM writes what the project's own generation writes, for a base and its adapters in one call."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import small_runs
from benchmark_files import take_as_assets
from command import Command
from fedllm_bench import records
from fedllm_bench.benchmark_scores import base_folder
from fedllm_bench.model.tiny import write_tiny_model
from made_up import chitchat, take_as_chitchat

OTHER = Path(os.environ.get("FEDLLM_BENCH_VLLM", Path(sys.prefix) / "vllm")) / "bin" / "fedllm-bench"
OPTIONS = ("--suite", "mt-bench", "--max-new-tokens", "24")
GREEDY = ("reasoning", "math")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OTHER.exists(), reason="vLLM is not installed: make vllm, or set FEDLLM_BENCH_VLLM"),
]


@pytest.fixture
def fedllm(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    take_as_assets(tmp_path, monkeypatch)
    added = tmp_path / "cache" / "assets" / "added.json"
    questions = json.loads(added.read_text())
    take_as_chitchat(tmp_path / "cache", chitchat())
    added.write_text(json.dumps(questions | json.loads(added.read_text())))
    return Command(capsys, monkeypatch)


def answers(folder: Path, engine: str) -> dict[str, list[str]]:
    """Question to greedy answers, of the file that an engine wrote."""
    for path in (folder / "generations").glob("*.jsonl"):
        head, *rows = records.read(path)
        if head["settings"]["engine"].startswith(engine):
            return {row["question"]: row["turns"] for row in rows if row["category"] in GREEDY}
    return {}


def test_greedy_answers_are_the_same_and_kept_apart(fedllm: Command, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model", hidden=256)  # heads of 64: vLLM knows no narrow ones
    runs = [small_runs.run(model, tmp_path / "runs", "local.lr=0.05", f"seed={seed}").path for seed in (1, 2)]
    assert fedllm("eval", *runs, *OPTIONS).code == 0
    done = subprocess.run(
        [OTHER, "eval", *map(str, runs), *OPTIONS, "--engine", "vllm"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    base = base_folder(runs[0], json.loads((runs[0] / "experiment.json").read_text()))
    found = [answers(folder, "vllm") for folder in (base, *runs)]
    assert found == [answers(folder, "fedllm-bench") for folder in (base, *runs)]
    assert all(len(own) == 2 for own in found) and found[0] != found[1] != found[2]


def test_a_base_in_8_bits_is_refused_before_anything_starts(fedllm: Command, tmp_path: Path, tiny_model: Path) -> None:
    run = small_runs.run(tiny_model, tmp_path / "runs", "model.quantization=int8").path
    done = subprocess.run(
        [OTHER, "eval", str(run), *OPTIONS, "--engine", "vllm"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2 and "--engine vllm takes no base in int8" in done.stderr
    assert not (run / "generations").exists()
