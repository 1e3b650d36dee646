"""Presets: settings that lie under an experiment file, and where runs with them depart from what is published."""

from typing import Any

import pytest

from fedllm_bench.deviations import deviations
from fedllm_bench.errors import ExperimentError
from fedllm_bench.experiment import Experiment, resolve
from fedllm_bench.experiment.presets import PRESETS

MINIMAL: dict[str, Any] = {"name": "one", "federation": {"rounds": 2, "cohort": 3}}


def one(document: dict[str, Any], **options: Any) -> Experiment:
    (experiment,) = resolve({**MINIMAL, **document}, "here", **options)
    return experiment


def test_a_preset_lies_under_the_file_and_the_file_wins() -> None:
    found = one({"preset": "paper", "algorithm": {"name": "fedavgm", "fedavgm": {"beta": 0.7}}})
    assert found.local.optimizer == "adamw_hf"
    assert (found.federation.sampling, found.federation.rounds) == ("paper", 2)
    assert found.algorithm.options == {"beta": 0.7, "damping": True, "warm_start": True}
    assert one({"preset": "paper", "local": {"optimizer": "sgd"}}).local.optimizer == "sgd"


def test_a_preset_can_be_asked_for_beside_the_file() -> None:
    assert one({}, preset="paper") == one({"preset": "paper"})
    assert one({}).local.optimizer == "adamw"


def test_a_preset_of_a_variant_or_an_override_has_its_settings_too() -> None:
    published, papers = resolve({**MINIMAL, "variant": [{}, {"preset": "paper"}]}, "here")
    assert published == one({})
    assert papers == one({"preset": "paper"}) == one({}, overrides=["preset=paper"])
    # The command line's preset stands in place of the file's, whichever part of the file names one.
    assert one({"variant": [{"preset": "papre"}]}, preset="paper") == papers
    with pytest.raises(ExperimentError, match="unknown preset"):
        one({"variant": [{"preset": "papre"}]})


def test_equal_settings_are_the_same_run_with_or_without_a_presets_name() -> None:
    named = one({"preset": "paper"})
    document = {"local": PRESETS["paper"]["local"], "federation": {"sampling": "paper", "rounds": 2, "cohort": 3}}
    spelled = one(document)
    assert (named.preset, spelled.preset) == ("paper", None)
    assert named.run_id == spelled.run_id


@pytest.mark.parametrize("name", ["papre", 3, ["paper"]])
def test_an_unknown_preset_is_refused(name: Any) -> None:
    with pytest.raises(ExperimentError, match="unknown preset") as caught:
        one({"preset": name})
    assert caught.value.hint == "known: paper"


def test_published_settings_depart_from_nothing() -> None:
    for name in ("fedavg", "fedprox", "scaffold", "fedavgm", "fedadagrad", "fedyogi", "fedadam"):
        assert deviations(one({"algorithm": {"name": name}})) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fedavg", set()),
        ("fedprox", set()),
        ("scaffold", {"option", "correction", "weighting"}),
        ("fedavgm", {"beta", "damping", "warm_start"}),
        ("fedadagrad", set()),
        ("fedyogi", {"beta1", "moment_of", "warm_start"}),
        ("fedadam", {"beta1", "moment_of", "warm_start"}),
    ],
)
def test_the_papers_variants_of_methods_are_told(name: str, expected: set[str]) -> None:
    rows = deviations(one({"preset": "paper", "algorithm": {"name": name}}))
    found = {row["setting"] for row in rows}
    assert {setting for setting in found if setting.startswith("algorithm.")} == {
        f"algorithm.{name}.{option}" for option in expected
    }
    assert {"local.optimizer", "federation.sampling", "local.draw"} <= found
    assert all(row["published"] != row["here"] and row["why"] for row in rows)


def test_poisson_cohorts_are_told_with_what_they_do() -> None:
    (row,) = deviations(one({"federation": {"rounds": 2, "cohort": 3, "sampling": "poisson"}}))
    assert (row["setting"], row["here"]) == ("federation.sampling", "poisson")
    assert "vary in size (poisson)" in row["why"]


def test_a_list_with_the_published_values_departs_from_nothing() -> None:
    assert deviations(one({"algorithm": {"name": "hetlora", "hetlora": {"ranks": [0.25, 0.5, 1.0]}}})) == []


def test_steps_that_depend_on_the_client_are_told() -> None:
    rows = deviations(one({"local": {"steps": "dynamic"}}))
    assert [(row["setting"], row["here"]) for row in rows] == [("local.steps", "dynamic")]
