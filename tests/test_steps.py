"""Steps that follow from a client's size make so many passes over its data in the whole run."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedllm_bench.build import local_steps
from fedllm_bench.experiment import Experiment
from fedllm_bench.federation.messages import Job
from fedllm_bench.federation.steps import dynamic_steps, fixed_steps
from fedllm_bench.federation.worker import Worker
from fedllm_bench.objectives.encoded import EncodedClients
from made_up import people
from small_parts import language_model, sft, trainer

PREFERENCE_RUNS = {"rounds": 200, "cohort": 10, "clients": 747, "batch_size": 8}


@pytest.mark.parametrize(("samples", "steps"), [(5, 1), (13, 2), (50, 8), (100, 15)])
def test_steps_are_those_of_the_papers_preference_runs(samples: int, steps: int) -> None:
    assert dynamic_steps(samples, **PREFERENCE_RUNS) == steps


def test_a_whole_quotient_is_not_rounded_up() -> None:
    # 0.1 passes over 100 samples in 10 expected rounds are one sample a round, in floats a little more.
    assert dynamic_steps(300, rounds=3, cohort=1, clients=1, batch_size=1, passes=0.1) == 10


sizes = st.integers(1, 500)


@given(sizes, sizes, st.integers(1, 50), sizes, st.integers(1, 32), st.integers(1, 10))
def test_the_steps_of_all_expected_rounds_make_the_passes(
    samples: int, rounds: int, cohort: int, clients: int, batch: int, passes: int
) -> None:
    cohort = min(cohort, clients)
    steps = dynamic_steps(
        samples, rounds=rounds, cohort=cohort, clients=clients, batch_size=batch, passes=float(passes)
    )
    seen = steps * batch * rounds * cohort / clients  # samples that all rounds together are expected to take
    one_step = batch * rounds * cohort / clients
    assert passes * samples <= seen * (1 + 1e-9)
    assert seen < passes * samples * (1 + 1e-9) + one_step


def experiment(**local: object) -> Experiment:
    tables = {"name": "x", "federation": {"rounds": 200, "cohort": 10}, "local": {"batch_size": 8, **local}}
    return Experiment.model_validate(tables)


def test_an_experiment_says_which_steps_clients_take() -> None:
    assert [local_steps(experiment(steps="dynamic"), 747)(size) for size in (5, 100)] == [1, 15]
    assert local_steps(experiment(steps="dynamic", passes=6.0), 747)(100) == 29
    assert [local_steps(experiment(steps=4), 747)(size) for size in (5, 100)] == [4, 4]
    assert local_steps(experiment(steps="dynamic"), 5)(100) == 1  # a cohort of all five: 200 rounds each
    assert fixed_steps(7, steps=3) == 3


def test_clients_of_a_cohort_take_the_steps_of_their_usable_samples(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    crowd = people(2, 7, 4)
    objective = sft(model, max_length=120, truncation="skip")  # leaves some samples out
    encoded = EncodedClients(crowd, objective, tmp_path)
    usable = [len(encoded.part(client, "train")) for client in range(3)]
    assert usable != [2, 7, 4]
    worker = Worker(trainer(model, objective), encoded, lambda samples: samples)
    result = worker.run(Job(1, [0, 1, 2], model.lora.initial(0), {}, {}, 1e-3))
    assert [update.report.steps for update in result.updates] == usable
