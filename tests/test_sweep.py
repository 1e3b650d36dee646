"""Lists in builders' options: one run for each element."""

import pytest

from fedllm_bench.errors import ExperimentError
from fedllm_bench.experiment import Experiment
from fedllm_bench.sweep import swept
from run_folders import experiment


def options(runs: list[Experiment]) -> list[dict[str, object]]:
    return [run.algorithm.options for run in runs]


def test_a_list_in_an_option_is_a_run_for_each_element() -> None:
    found = swept([experiment(algorithm={"name": "fedprox", "options": {"mu": [0.1, 1.0], "weighting": "uniform"}})])
    assert options(found) == [{"mu": 0.1, "weighting": "uniform"}, {"mu": 1.0, "weighting": "uniform"}]


def test_a_run_of_a_sweep_is_the_run_that_asks_for_that_value_alone() -> None:
    (first, _) = swept([experiment(algorithm={"name": "fedprox", "options": {"mu": [0.1, 1.0]}})])
    assert first.run_id == experiment(algorithm={"name": "fedprox", "options": {"mu": 0.1}}).run_id


def test_an_option_that_takes_a_list_keeps_it() -> None:
    whole = experiment(algorithm={"name": "hetlora", "options": {"ranks": [0.5, 1.0]}})
    assert swept([whole]) == [whole]


def test_channels_objectives_and_data_sweep_too_in_every_combination() -> None:
    found = swept(
        [
            experiment(
                channel=[{"name": "client-dp", "options": {"clip": [0.1, 0.3]}}, {"name": "top-k"}],
                objective={"name": "dpo", "options": {"beta": [0.1, 0.5]}},
                data={"options": {"context_turns": [1, 3]}},
            )
        ]
    )
    assert len({run.run_id for run in found}) == 8
    assert {run.channel[1].name for run in found} == {"top-k"}
    assert [run.channel[0].options["clip"] for run in found[:2]] == [0.1, 0.3]


def test_equal_elements_are_one_run() -> None:
    assert len(swept([experiment(algorithm={"name": "fedprox", "options": {"mu": [0.1, 0.1]}})])) == 1


def test_what_a_builder_does_not_know_is_left_for_the_check() -> None:
    unknown = experiment(algorithm={"name": "fedprox", "options": {"mue": [0.1, 1.0]}})
    assert options(swept([unknown])) == [{"mue": [0.1, 1.0]}]


def test_an_unknown_method_is_refused_by_name() -> None:
    with pytest.raises(ExperimentError, match="unknown name 'fedproxx'"):
        swept([experiment(algorithm={"name": "fedproxx", "options": {"mu": [0.1]}})])
