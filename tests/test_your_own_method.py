"""docs/your_own_method.md: its code is the example, and its commands do what it says."""

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from fedllm_bench import cli
from fedllm_bench.contract.checks import CHECKS
from fedllm_bench.federation import algorithm
from made_up import chitchat, take_as_chitchat

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your_own_method.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "examples" / "own_method.py").read_text(encoding="utf-8")
SMALLER = (
    *("data.min_samples=5", "data.clients=8", "model.lora.rank=4", "evaluate.clients=2", "evaluate.samples=1"),
    *("federation.rounds=2", "local.steps=1", "executor.threads=1"),
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    take_as_chitchat(folder, chitchat())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_run(
    command: str, cache: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(command, cache, tiny_model, tmp_path, monkeypatch) == 0


def main(command: str, cache: Path, model: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a command from the root of the repository; experiments on the tiny model, and shorter."""
    program, *words = shlex.split(command)
    if words[0] == "run":
        settings = (f"model.base={model}", *SMALLER)
        words += ["--runs", str(runs), *(word for setting in settings for word in ("--set", setting))]
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(cache))
    monkeypatch.setattr(sys, "argv", [program, *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_the_method_and_fedavg_stand_in_one_table(
    cache: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The steps of a test are so small that another bound is needed to change them.
    command = "fedllm-bench run examples/own_method.toml --json --set algorithm.norm-clipping.bound=1e-3"
    main(command, cache, tiny_model, tmp_path, monkeypatch)
    rows = json.loads(capsys.readouterr().out)["rows"]
    losses = {row["method"]: row["held_out_loss"]["mean"] for row in rows}
    assert losses.keys() == {"base", "fedavg", "norm-clipping"}
    assert len(set(losses.values())) == 3


@pytest.mark.slow
def test_a_broken_method_ends_the_check_with_one(
    cache: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(EXAMPLE.replace("min(1.0, self.bound /", "min(0.0, self.bound /"))
    command = f"fedllm-bench check-method norm-clipping --plugin {broken} --json"
    assert main(command, cache, tiny_model, tmp_path, monkeypatch) == 1
    outcomes = {row["check"]: row["outcome"] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert (outcomes["learns"], outcomes["resumes"]) == ("failed", "passed")


def test_the_code_on_the_page_is_the_example_and_is_as_short_as_it_says() -> None:
    (code,) = blocks("python")
    assert code.strip() in EXAMPLE
    said = re.sub(r'""".*?"""', "", code.split("\n\n\n", 1)[1], flags=re.DOTALL)
    assert len([line for line in said.splitlines() if line.strip()]) <= 20


def test_the_settings_on_the_page_are_those_of_the_example() -> None:
    shown = tomllib.loads(blocks("toml")[0])
    example = tomllib.loads((ROOT / "examples" / "own_method.toml").read_text(encoding="utf-8"))
    assert {key: example[key] for key in shown} == shown


def test_the_page_names_every_check_and_every_part_of_an_algorithm() -> None:
    assert [check.name for check in CHECKS if f"`{check.name}`" not in PAGE] == []
    parts = [name for name in algorithm.Algorithm.__dataclass_fields__ if f"`{name}`" not in PAGE]
    assert parts == []
