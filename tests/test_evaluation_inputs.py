"""What `eval` is told is read first: a typo costs no import, no model and no hour, and names the way out."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from command import Command
from fedllm_bench.benchmark_scores import BENCHMARKS
from fedllm_bench.commands.evaluation_inputs import ENGINES, limits_of, rubrics_of, suites_of
from fedllm_bench.errors import FedLLMError
from fedllm_bench.evaluate import harness_task
from run_folders import experiment, write_run


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return Command(capsys, monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that looks finished; no model of it could be loaded."""
    return write_run(tmp_path, experiment())


def test_benchmarks_are_named_in_capitals_or_not_and_all_are_meant_where_none_is() -> None:
    assert suites_of((), ()) == suites_of(("ALL",), ("piqa",)) == BENCHMARKS
    assert suites_of(("MMLU", "mt-bench"), ()) == ("mt-bench", "mmlu")
    assert suites_of((), ("piqa",)) == ()
    with pytest.raises(FedLLMError, match="--suite") as caught:
        suites_of(("mt_bench",), ())
    assert caught.value.hint == 'did you mean "mt-bench"?'


def test_the_names_of_evaluate_are_those_of_the_tables_that_are_imported_late() -> None:
    from fedllm_bench.evaluate.table import EVALUATIONS
    from fedllm_bench.suite import WRITERS

    assert tuple(EVALUATIONS) == BENCHMARKS
    assert tuple(WRITERS) == ENGINES


def test_a_limit_may_name_a_task_as_task_does() -> None:
    tasks = ("arc_easy", "mmlu")
    assert limits_of(("7", "arc_easy=5"), tasks) == {"": 7, "harness-arc_easy": 5}
    assert limits_of(("harness-arc_easy=5", "Vicuna=2"), tasks) == {"harness-arc_easy": 5, "vicuna": 2}
    assert limits_of(("mmlu=3",), tasks) == {"mmlu": 3, "harness-mmlu": 3}
    assert limits_of(("mmlu=3",), ()) == {"mmlu": 3}


@pytest.mark.parametrize("name", ["arc_esay", "harness-arc_esay", "harness-piqa"])
def test_a_limit_of_what_is_not_asked_is_told(name: str) -> None:
    with pytest.raises(FedLLMError, match=f"--limit: unknown name '{name}'") as caught:
        limits_of((f"{name}=5",), ("arc_easy",))
    assert "arc_easy" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["0", "x", "mmlu=", "mmlu=-1", "mmlu=²"])
def test_a_limit_is_a_number_above_0(text: str) -> None:
    with pytest.raises(click.BadParameter):
        limits_of((text,), ())


def test_the_author_of_a_rubric_is_told_in_one_line_what_is_doubtful(tmp_path: Path) -> None:
    path, said = tmp_path / "mine.toml", list[str]()
    path.write_text('name = "m"\nplain = "{answer}"')
    rubrics_of([f"mt-bench={path}"], said.append)
    (line,) = said
    assert line.startswith(f"{path}: plain without {{fence}}") and "{history}" in line and "\n" not in line


BAD = {
    "one price": (["--budget", "5", "--price-in", "2.5"], "--budget needs both --price-in and --price-out"),
    "no price": (["--budget", "5"], "--budget needs both"),
    "half the prices": (["--price-out", "2.5"], "a price needs both"),
    "a debt": (["--budget=-5", "--price-in", "1", "--price-out", "1"], "--budget"),
    "a reward": (["--budget", "5", "--price-in=-1", "--price-out", "1"], "--price-in"),
    "no number": (["--budget", "nan", "--price-in", "1", "--price-out", "1"], "not a finite number"),
    "a colder judge": (["--judge-temperature=-1"], "--judge-temperature"),
    "a script that is not there": (["--judge", "scripted:nope.jsonl"], "nope.jsonl holds no replies"),
    "a model alone": (["--judge", "gpt-4o"], "did you mean endpoint:gpt-4o?"),
    "a kind alone": (["--judge", "endpoint"], "--judge endpoint needs a name"),
    "an engine": (["--engine", "vlm"], "--engine"),
}


@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_meant_is_refused_before_anything_is_loaded(
    options: list[str], words: str, fedllm: Command, run: Path
) -> None:
    done = fedllm("eval", run, *options)
    assert done.code == 2 and words in done.err
    assert not (run / "scores").exists()


def test_a_part_of_a_run_is_answered_with_the_run(fedllm: Command, run: Path) -> None:
    for part in (run / "adapter", run / "adapter" / "adapter_config.json", run / "rounds.jsonl"):
        done = fedllm("eval", part)
        assert done.code == 2 and f"hint: the run is {run}" in done.err
    assert f"hint: the run is {run}" not in fedllm("eval", run / "nope").err


def test_a_typo_is_told_before_models_are_imported(run: Path) -> None:
    code = (
        "import sys; from fedllm_bench import cli\n"
        "try: cli.main()\n"
        "except SystemExit as ended: print(ended.code, 'torch' in sys.modules)"
    )
    for options in (["--judge", "gpt-4o"], ["--suite", "mlmu"], ["--limit", "mlmu=3"]):
        done = subprocess.run(
            [sys.executable, "-c", code, "eval", str(run), *options], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["2", "False"], done.stderr


def test_a_task_that_the_harness_does_not_know_is_told_before_a_model_is_loaded(
    fedllm: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = pytest.importorskip("lm_eval.tasks")
    (tmp_path / "own.yaml").write_text("task: made_choice\ndataset_path: json\n")
    own = tasks.TaskManager(include_path=str(tmp_path), include_defaults=False)
    monkeypatch.setattr(harness_task, "_all_tasks", lambda folders: own)  # the harness's own 14,000 take seconds
    done = fedllm("eval", run, "--task", "made_choise", "--task-folder", tmp_path)
    assert done.code == 2 and "has no task 'made_choise'" in done.err and "did you mean made_choice?" in done.err
    assert not (run / "scores").exists()
