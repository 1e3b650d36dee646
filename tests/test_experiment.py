"""Experiments: what a file can say, what it expands to, and how mistakes in it are told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedllm_bench.errors import ExperimentError
from fedllm_bench.experiment import Experiment, load, resolve
from fedllm_bench.experiment.documents import Document, contains, expand, lookup, merge, nest, override

MINIMAL = """
name = "trial"
[federation]
rounds = 2
cohort = 3
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        file = tmp_path / "trial.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def refusal(file: Path, *overrides: str) -> ExperimentError:
    with pytest.raises(ExperimentError) as caught:
        load(file, overrides)
    return caught.value


# --- reading


def test_a_file_with_only_what_has_no_default_is_one_run(write: Any) -> None:
    (experiment,) = load(write(MINIMAL))
    assert (experiment.federation.rounds, experiment.federation.cohort) == (2, 3)
    assert (experiment.algorithm.name, experiment.data.name, experiment.model.base) == (
        "fedavg",
        "fed-chitchat",
        "smollm2-135m",
    )


def test_the_quickstart_expands_to_local_runs_and_one_of_fedavg() -> None:
    experiments = load(Path(__file__).parents[1] / "experiments" / "quickstart.toml")
    assert [experiment.algorithm.name for experiment in experiments] == ["local", "local", "fedavg"]
    assert {experiment.name for experiment in experiments} == {"quickstart"}


def test_a_resolved_experiment_survives_json(write: Any) -> None:
    text = (
        MINIMAL + '[algorithm]\nname = "fedprox"\nfedprox = { mu = 0.1 }\n[[channel]]\nname = "client-dp"\nclip = 1\n'
    )
    (experiment,) = load(write(text))
    again = Experiment.model_validate(json.loads(json.dumps(experiment.model_dump(mode="json"))))
    assert again == experiment
    assert again.run_id == experiment.run_id


def test_reading_experiments_loads_no_heavy_library() -> None:
    program = (
        "import fedllm_bench.experiment, sys; print([m for m in ('torch', 'transformers', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- run ids


def test_a_run_id_is_twelve_hex_digits_and_the_same_for_the_same_settings(write: Any) -> None:
    first, second = load(write(MINIMAL)), load(write(MINIMAL + "[local]\nsteps = 10\n"))
    assert first[0].run_id == second[0].run_id
    assert len(first[0].run_id) == 12
    int(first[0].run_id, 16)


def test_whole_numbers_and_their_floats_give_the_same_run_id(write: Any) -> None:
    ids = {load(write(MINIMAL), [f"model.lora.alpha={value}"])[0].run_id for value in ("32", "32.0")}
    assert len(ids) == 1


@pytest.mark.parametrize(
    "change", ["name=other", "checkpoint.keep=5", "checkpoint.every=3", "executor.deterministic=true"]
)
def test_what_changes_no_result_leaves_the_run_id_alone(write: Any, change: str) -> None:
    file = write(MINIMAL)
    assert load(file, [change])[0].run_id == load(file)[0].run_id


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "local.lr=1e-3",
        "federation.rounds=3",
        "data.fed-chitchat.context_turns=2",
        "executor.width=2",
        "executor.deterministic=false",
        "evaluate.samples=3",
        "model.lora.rank=4",
    ],
)
def test_what_changes_results_changes_the_run_id(write: Any, change: str) -> None:
    file = write(MINIMAL)
    assert load(file, [change])[0].run_id != load(file)[0].run_id


# --- expansion


def test_lists_expand_to_every_combination_with_seeds_outermost(write: Any) -> None:
    experiments = load(write("seed = [1, 2]\n" + MINIMAL + "[local]\nlr = [1e-4, 1e-3]\nsteps = [5, 10]\n"))
    found = [(experiment.seed, experiment.local.steps, experiment.local.lr) for experiment in experiments]
    assert found == [(seed, steps, lr) for seed in (1, 2) for steps in (5, 10) for lr in (1e-4, 1e-3)]


def test_a_key_that_takes_a_list_is_not_expanded(write: Any) -> None:
    (experiment,) = load(write(MINIMAL + '[local]\nbetas = [0.8, 0.9]\n[model.lora]\ntargets = ["q_proj", "o_proj"]\n'))
    assert experiment.local.betas == (0.8, 0.9)
    assert experiment.model.lora.targets == ("q_proj", "o_proj")


def test_a_key_that_takes_text_or_a_number_expands_over_both(write: Any) -> None:
    experiments = load(write(MINIMAL + '[executor]\nwidth = ["auto", 4]\n'))
    assert [experiment.executor.width for experiment in experiments] == ["auto", 4]


def test_a_list_in_a_builders_options_stays_a_list(write: Any) -> None:
    (experiment,) = load(write(MINIMAL + "[data.fed-chitchat]\nwords = [1, 2]\n"))
    assert experiment.data.options == {"words": [1, 2]}


def test_variants_change_several_keys_together(write: Any) -> None:
    text = (
        MINIMAL + '[[variant]]\n"local.lr" = 1e-3\nseed = 1\n[[variant]]\nlocal = { steps = 3 }\nmodel.lora.rank = 8\n'
    )
    first, second = load(write(text))
    assert (first.local.lr, first.seed, first.local.steps) == (1e-3, 1, 10)
    assert (second.local.lr, second.local.steps, second.model.lora.rank, second.model.lora.alpha) == (2e-4, 3, 8, 32)


def test_lists_inside_variants_expand_too(write: Any) -> None:
    experiments = load(write(MINIMAL + "[[variant]]\nseed = [1, 2]\n[[variant]]\nseed = 3\n"))
    assert [experiment.seed for experiment in experiments] == [1, 2, 3]


def test_a_run_that_several_combinations_ask_for_runs_once(write: Any) -> None:
    # Training alone has a cohort of one whatever the cohort of the others.
    text = 'name = "t"\n[federation]\nrounds = 1\ncohort = [2, 4]\n[algorithm]\nname = ["local", "fedavg"]\n'
    experiments = load(write(text))
    assert [(e.algorithm.name, e.federation.cohort) for e in experiments] == [
        ("local", 1),
        ("local", 1),
        ("fedavg", 2),
        ("fedavg", 4),
    ]


def test_each_method_gets_the_options_of_its_own_table(write: Any) -> None:
    text = MINIMAL + '[algorithm]\nname = ["fedavg", "fedprox"]\nfedprox = { mu = 0.1 }\n'
    fedavg, fedprox = load(write(text))
    assert (fedavg.algorithm.options, fedprox.algorithm.options) == ({}, {"mu": 0.1})


def test_every_key_of_a_channel_beside_its_name_is_an_option(write: Any) -> None:
    (experiment,) = load(write(MINIMAL + '[[channel]]\nname = "client-dp"\nclip = 0.1\nnoise = 1.0\n'))
    assert [(channel.name, channel.options) for channel in experiment.channel] == [
        ("client-dp", {"clip": 0.1, "noise": 1.0})
    ]


# --- training alone


def test_local_expands_to_a_federation_of_one_for_each_client_drawn(write: Any) -> None:
    text = MINIMAL + '[algorithm]\nname = "local"\nlocal = { clients = 3 }\n'
    experiments = load(write(text))
    places = [experiment.data.drawn for experiment in experiments]
    assert [(place.index, place.of) for place in places if place is not None] == [(0, 3), (1, 3), (2, 3)]
    assert {experiment.federation.cohort for experiment in experiments} == {1}
    assert len({experiment.run_id for experiment in experiments}) == 3


def test_local_draws_two_clients_unless_told_otherwise(write: Any) -> None:
    assert len(load(write(MINIMAL), ["algorithm.name=local"])) == 2


def test_local_with_a_client_named_is_one_run(write: Any) -> None:
    (experiment,) = load(write(MINIMAL), ["algorithm.name=local", "data.client=ann"])
    assert (experiment.data.client, experiment.data.drawn) == ("ann", None)


@pytest.mark.parametrize("clients", ["0", "-1", "true", "1.5", "two"])
def test_local_refuses_a_number_of_clients_that_is_none(write: Any, clients: str) -> None:
    error = refusal(write(MINIMAL), "algorithm.name=local", f"algorithm.local.clients={clients}")
    assert "algorithm.local.clients: expected an integer of at least 1" in error.message


# --- overrides


def test_overrides_win_over_the_file_and_its_variants(write: Any) -> None:
    file = write(MINIMAL + "[[variant]]\nlocal.lr = 1e-3\n[[variant]]\nlocal.lr = 1e-2\n")
    assert {experiment.local.lr for experiment in load(file, ["local.lr=5e-4"])} == {5e-4}


def test_the_last_of_two_overrides_of_a_key_wins(write: Any) -> None:
    assert load(write(MINIMAL), ["seed=1", "seed=2"])[0].seed == 2


def test_an_override_may_be_a_list(write: Any) -> None:
    assert [experiment.seed for experiment in load(write(MINIMAL), ["seed=[4, 5]"])] == [4, 5]


def test_seeds_replace_those_of_the_file(write: Any) -> None:
    assert [experiment.seed for experiment in load(write("seed = [1, 2]\n" + MINIMAL), seeds=[7])] == [7]


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("a.b=1", ("a", "b"), 1),
        ("a=1e-3", ("a",), 1e-3),
        ("a=true", ("a",), True),
        ("a=fedavg", ("a",), "fedavg"),
        ('a="3"', ("a",), "3"),
        ("a=x=y", ("a",), "x=y"),
        ("a=1\nb = 2", ("a",), "1\nb = 2"),
        ("a=", ("a",), ""),
        ("a={b = 1}", ("a",), {"b": 1}),
    ],
)
def test_an_override_is_toml_where_it_can_be_and_text_otherwise(text: str, path: tuple[str, ...], value: Any) -> None:
    assert override(text) == (path, value)


@pytest.mark.parametrize("text", ["rounds", "=3", "a..b=3", ""])
def test_an_override_without_key_and_value_is_refused(write: Any, text: str) -> None:
    error = refusal(write(MINIMAL), text)
    assert error.message == f"--set {text}: expected key=value"
    assert error.hint is not None


# --- mistakes


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml").message == f"{tmp_path / 'none.toml'}: no such experiment file"


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path)
    assert error.message == f"{tmp_path} is a folder"
    assert error.hint is not None and ".toml" in error.hint


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "binary.toml"
    file.write_bytes(b"name = '\xff'")
    assert "cannot be read" in refusal(file).message


def test_a_toml_error_names_the_file_and_the_line(write: Any) -> None:
    error = refusal(write('name = "trial"\n\nrounds = = 3\n'))
    assert "trial.toml: not TOML" in error.message
    assert "line 3" in error.message


def test_an_unknown_key_is_named_with_the_one_probably_meant(write: Any) -> None:
    error = refusal(write(MINIMAL + "[local]\nlearning_rat = 1\nlr_mn = 1e-3\n"))
    assert "local.lr_mn: unknown key; did you mean local.lr_min?" in error.message


def test_an_unknown_table_is_named_with_the_one_probably_meant(write: Any) -> None:
    error = refusal(write(MINIMAL + "[objectiv]\ntemplate = 'native'\n"))
    assert error.message.endswith("trial.toml: objectiv: unknown key")
    assert error.hint == "did you mean objective?"


def test_a_misplaced_key_is_told_its_place(write: Any) -> None:
    assert refusal(write("rounds = 3\n" + MINIMAL)).hint == "did you mean federation.rounds?"


@pytest.mark.parametrize(
    ("change", "meant"),
    [
        ("federation.round=3", "federation.rounds"),
        ("fedration.rounds=3", "federation"),
        ("model.lora.rnk=3", "model.lora.rank"),
    ],
)
def test_a_misspelt_override_is_blamed_on_the_command_line(write: Any, change: str, meant: str) -> None:
    error = refusal(write(MINIMAL), change)
    assert f"--set {change.split('=', maxsplit=1)[0]}".startswith(error.message.split(": ")[1])
    assert error.hint == f"did you mean {meant}?"


def test_a_mistake_in_a_variant_names_the_variant(write: Any) -> None:
    error = refusal(write(MINIMAL + "[[variant]]\nseed = 1\n[[variant]]\nlocal.lrr = 1\n"))
    assert error.message.endswith("[[variant]] 2: local.lrr: unknown key")


def test_a_missing_key_is_named(write: Any) -> None:
    assert refusal(write('name = "t"\n[federation]\nrounds = 1\n')).message.endswith("federation.cohort: missing")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("federation.rounds=two", 'expected an integer, got "two"'),
        ("federation.rounds=true", "expected an integer, got true"),
        ("federation.rounds=1.5", "expected an integer, got 1.5"),
        ("federation.rounds=0", "expected at least 1, got 0"),
        ("local.lr=fast", 'expected a number, got "fast"'),
        ("local.lr=nan", "expected a finite number, got NaN"),
        ("local.lr=-1", "expected at least 0, got -1"),
        ("local.keep_optimizer=1", "expected true or false, got 1"),
        ("local.schedule=cosin", 'expected "cosine" or "constant", got "cosin"'),
        ("local.betas=0.9", "expected a list, got 0.9"),
        ("model.base=3", "expected text in quotes, got 3"),
        ("model.lora=3", "expected a table, got 3"),
        ("model.lora.targets=[]", "expected at least 1 in the list, got []"),
        ("executor.width=wide", 'expected "auto" or an integer, got "wide"'),
        ("evaluate.clients=some", 'expected "all" or an integer, got "some"'),
        ("data.held_out=1", "expected a number below 1, got 1"),
        ("seed=[]", "expected an integer, got []"),
        ("seed=1979-05-27", 'expected an integer, got "1979-05-27"'),
        ("name=../up", 'expected letters, digits, dots, dashes and underscores, got "../up"'),
    ],
)
def test_a_wrong_value_is_told_with_the_key_what_was_expected_and_what_was_found(
    write: Any, change: str, told: str
) -> None:
    key = change.split("=", maxsplit=1)[0]
    assert refusal(write(MINIMAL), change).message.endswith(f"--set {key}: {told}")


def test_a_wrong_element_of_a_list_is_told_by_its_place(write: Any) -> None:
    error = refusal(write(MINIMAL + '[model.lora]\ntargets = ["q_proj", 3]\n'))
    assert error.message.endswith("model.lora.targets.1: expected text in quotes, got 3")


def test_options_for_a_method_that_no_run_names_are_refused(write: Any) -> None:
    error = refusal(write(MINIMAL + '[algorithm]\nname = ["fedavg", "fedprox"]\nfedporx = { mu = 1 }\n'))
    assert 'algorithm.fedporx: no run has algorithm.name = "fedporx"' in error.message
    assert error.hint == "did you mean algorithm.fedprox?"


def test_options_for_a_method_of_the_file_stay_allowed_when_an_override_chooses_another(write: Any) -> None:
    file = write(MINIMAL + '[algorithm]\nname = "fedprox"\nfedprox = { mu = 0.1 }\n')
    assert load(file, ["algorithm.name=fedavg"])[0].algorithm.options == {}


@pytest.mark.parametrize("options", ["3", "{ mu = 1 }"])
def test_options_cannot_be_given_but_under_the_name_of_their_builder(write: Any, options: str) -> None:
    assert "algorithm.options" in refusal(write(MINIMAL + f"[algorithm]\noptions = {options}\n")).message


def test_two_ways_to_choose_the_client_are_refused(write: Any) -> None:
    error = refusal(write(MINIMAL + '[data]\nclient = "ann"\ndrawn = { index = 0, of = 2 }\n'))
    assert "data: `client` and `drawn` both choose" in error.message


def test_a_place_beyond_the_clients_drawn_is_refused(write: Any) -> None:
    assert (
        "data.drawn: index 2 is not below of = 2" in refusal(write(MINIMAL), "data.drawn={index = 2, of = 2}").message
    )


@pytest.mark.parametrize("variant", ["variant = 3", "variant = [1, 2]"])
def test_variants_that_are_no_tables_are_refused(write: Any, variant: str) -> None:
    assert "variant: expected [[variant]] tables" in refusal(write(f"{variant}\n{MINIMAL}")).message


def test_all_mistakes_are_listed_at_once_and_each_once(write: Any) -> None:
    federation, local = '[federation]\nrounds = "x"\n', '[local]\nstps = 3\nlr = [1e-3, "y"]\n'
    lines = refusal(
        write(f'name = "t"\nseed = [1, 2]\n{federation}{local}[fedration]\nrounds = 3\n')
    ).message.splitlines()
    assert lines[0].endswith("trial.toml: 5 problems")
    assert sorted(line.split(":")[0].strip() for line in lines[1:]) == [
        "federation.cohort",
        "federation.rounds",
        "fedration",
        "local.lr",
        "local.stps",
    ]


def test_a_document_without_a_file_is_named_by_its_source() -> None:
    with pytest.raises(ExperimentError, match="data books: federation: missing"):
        resolve({"name": "t"}, "data books")


def test_resolving_leaves_the_document_as_it_was() -> None:
    document: Document = {"name": "t", "federation": {"rounds": 1, "cohort": 1}, "variant": [{"seed": 1}]}
    before = json.dumps(document)
    resolve(document, "t", ["local.lr=1"])
    assert json.dumps(document) == before


# --- laws of documents

KEYS = st.sampled_from(["a", "b", "c"])
DOCUMENTS = st.recursive(
    st.integers(0, 9), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
).filter(lambda value: isinstance(value, dict))
PATHS = st.lists(KEYS, min_size=1, max_size=3).map(tuple)


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_laying_over_one_after_another_or_both_at_once_is_the_same(a: Document, b: Document, c: Document) -> None:
    # A value replaced by a table and back is where this can fail: the middle layer must not let go of keys.
    if not _clash(b, c):
        assert merge(merge(a, b), c) == merge(a, merge(b, c))


def _clash(b: Any, c: Any) -> bool:
    """A value in `b` under which `c` has a table: merged first, the table alone survives."""
    return any(
        (not isinstance(b[key], dict) and isinstance(c[key], dict))
        or (isinstance(b[key], dict) and isinstance(c[key], dict) and _clash(b[key], c[key]))
        for key in b.keys() & c.keys()
    )


@given(DOCUMENTS)
def test_a_document_laid_over_itself_or_nothing_is_unchanged(document: Document) -> None:
    assert merge(document, document) == document == merge({}, document) == merge(document, {})


@given(DOCUMENTS, PATHS, st.integers())
def test_a_value_laid_over_is_found_at_its_path(document: Document, path: tuple[str, ...], value: int) -> None:
    merged = merge(document, nest(path, value))
    assert lookup(merged, path) == value
    assert contains(merged, path)


@given(st.lists(st.integers(), min_size=1, max_size=4), st.lists(st.integers(), min_size=1, max_size=4))
def test_expansion_is_the_product_of_the_lists(first: list[int], second: list[int]) -> None:
    document: Document = {"x": first, "y": {"z": second}, "kept": [1]}
    singles = list(expand(document, [("x",), ("y", "z"), ("absent",)]))
    assert [(single["x"], single["y"]["z"]) for single in singles] == [(a, b) for a in first for b in second]
    assert all(single["kept"] == [1] for single in singles)
