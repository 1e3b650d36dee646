"""Methods from outside the package: plugin files, installed distributions, and what is said of methods."""

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import Command
from fedllm_bench import tables
from fedllm_bench.analysis.as_toml import as_toml
from fedllm_bench.check import check
from fedllm_bench.contract.bench import workplace
from fedllm_bench.docstrings import parse
from fedllm_bench.errors import ExperimentError, Meaningless, RunError
from fedllm_bench.experiment import Channel, Experiment, Federation, load, plugin_files, resolve
from fedllm_bench.federation.algorithms import ALGORITHMS
from fedllm_bench.federation.channel import Direct
from fedllm_bench.listing import method, methods
from fedllm_bench.tables import CHANNELS

GOOD = '''
from fedllm_bench.federation.algorithm import Algorithm, with_rate
def mine(rate: float = 1.0) -> Algorithm:
    """Mine: w <- w + rate D.

    Args:
        rate: of the server.
    """
    return Algorithm(server=with_rate(rate))
ALGORITHMS = {"mine": mine}
'''
EXPERIMENT = """
name = "own"
plugins = ["plugin.py"]
federation = { rounds = 1, cohort = 2 }
algorithm = { name = ["fedavg", "mine"] }
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return written(tmp_path / "plugin.py", GOOD)


@pytest.fixture
def experiment(tmp_path: Path, plugin: Path) -> Path:
    return written(tmp_path / "own.toml", EXPERIMENT)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def mine(*plugins: Path, **options: object) -> Experiment:
    document = {"name": "own", "federation": {"rounds": 1, "cohort": 2}}
    return resolve({**document, "algorithm": {"name": "mine", "mine": options}}, "test", plugins=plugins)[0]


# --- ways in


def test_a_method_of_a_plugin_is_built_with_its_options(plugin: Path) -> None:
    algorithm = check(mine(plugin, rate=0.5))
    assert algorithm.server.step({}, {}, 1) == ({}, {})
    with pytest.raises(ExperimentError, match=r"algorithm\.mine: unknown option 'speed'"):
        check(mine(plugin, speed=1))


def test_an_experiment_file_names_plugins_relative_to_itself(experiment: Path, plugin: Path) -> None:
    fedavg, own = load(experiment)
    assert [run.plugins[0].file for run in (fedavg, own)] == [str(plugin)] * 2
    check(own)


def test_a_plugin_of_the_file_and_one_given_besides_are_both_there(experiment: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other.py", GOOD.replace('"mine"', '"other"'))
    run = load(experiment, plugins=[other])[0]
    assert tables.algorithms(run.plugins).keys() == ALGORITHMS.keys() | {"mine", "other"}


def test_nothing_of_a_plugin_stays_for_experiments_without_it(plugin: Path) -> None:
    check(mine(plugin))
    with pytest.raises(ExperimentError, match="unknown name 'mine'"):
        check(mine())


def test_a_misspelt_method_of_a_plugin_is_told_apart(experiment: Path) -> None:
    run = load(experiment, ["algorithm.name=minee"])[0]
    with pytest.raises(ExperimentError) as refused:
        check(run)
    assert refused.value.hint == 'did you mean "mine"?'


def test_a_plugin_brings_channels(tmp_path: Path) -> None:
    source = """
from fedllm_bench.federation.channel import Direct
class Spec:
    denies = {}
    def bind(self, terms):
        return Direct()
def tube() -> Spec:
    return Spec()
CHANNELS = {"tube": tube}
"""
    file = written(tmp_path / "tube.py", source)
    document = {"name": "own", "federation": {"rounds": 1, "cohort": 2}, "channel": [{"name": "tube"}]}
    run = resolve(document, "test", plugins=[file])[0]
    check(run)
    ((name, spec),) = tables.channel_specs(run)
    assert name == "tube"
    assert isinstance(spec.bind(None), Direct)  # type: ignore[arg-type]
    assert "tube" not in CHANNELS


def test_a_method_that_merges_in_its_own_way_is_refused_with_privacy_whatever_it_declares(tmp_path: Path) -> None:
    """Its aggregate is handed each update, and could pass what it likes beside the noise."""
    merging = "from fedllm_bench.federation.aggregate import WeightedMean\n"
    own = "return Algorithm(aggregate=lambda _: WeightedMean(), "
    file = written(tmp_path / "plugin.py", merging + GOOD.replace("return Algorithm(", own))
    private = mine(file).model_copy(update={"channel": (Channel(name="client-dp"),)})
    check(mine(file))
    with pytest.raises(Meaningless, match="mine needs individual updates"):
        check(private)


def test_a_method_with_models_beside_the_shared_one_cannot_keep_tensors_private_whatever_it_declares(
    tmp_path: Path,
) -> None:
    hook = "from fedllm_bench.federation.hooks import Plain\n"
    file = written(tmp_path / "plugin.py", hook + GOOD.replace("Algorithm(server", "Algorithm(beside=Plain(), server"))
    private = mine(file).model_copy(update={"federation": Federation(rounds=1, cohort=2, private=("*lora_B*",))})
    with pytest.raises(Meaningless, match="mine needs per-client models"):
        check(private)


def test_dataclasses_with_postponed_annotations_work_in_a_plugin(tmp_path: Path) -> None:
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + GOOD.lstrip()
    source += "@dataclass\nclass Pair:\n    a: int\n    b: list[int]\n"
    check(mine(written(tmp_path / "plugin.py", source)))


def test_loading_a_plugin_leaves_no_file_beside_it(plugin: Path) -> None:
    check(mine(plugin))
    assert [path.name for path in plugin.parent.iterdir()] == ["plugin.py"]


# --- the id of a run


def test_the_run_id_follows_the_content_of_a_plugin_and_not_its_path(plugin: Path, tmp_path: Path) -> None:
    moved = written(tmp_path / "elsewhere" / "moved.py", GOOD)
    edited = written(tmp_path / "edited.py", GOOD + "# a word more\n")
    assert mine(plugin).run_id == mine(moved).run_id != mine(edited).run_id


def test_runs_that_use_nothing_of_a_plugin_keep_their_id(experiment: Path, plugin: Path) -> None:
    fedavg, own = (run.run_id for run in load(experiment))
    without = resolve({"name": "own", "federation": {"rounds": 1, "cohort": 2}}, "test")[0].run_id
    written(plugin, GOOD + "# a word more\n")
    assert load(experiment)[0].run_id == fedavg == without
    assert load(experiment)[1].run_id != own


def test_a_table_that_is_computed_counts_for_every_run(experiment: Path, plugin: Path) -> None:
    before = load(experiment)[0].run_id
    written(plugin, GOOD + "ALGORITHMS = {f'{name}-too': made for name, made in ALGORITHMS.items()}\n")
    fedavg = load(experiment)[0]
    assert fedavg.run_id != before
    assert "mine-too" in tables.algorithms(fedavg.plugins)


def test_a_resolved_experiment_reads_back_from_its_record_and_from_toml(experiment: Path, tmp_path: Path) -> None:
    own = load(experiment)[1]
    recorded = own.model_dump(mode="json")
    assert Experiment.model_validate(recorded) == own
    again = load(written(tmp_path / "again" / "own.toml", as_toml({**recorded, "run_id": own.run_id})))
    assert again == [own]


def test_a_plugin_that_changes_before_it_is_used_is_refused(plugin: Path) -> None:
    written(plugin, GOOD + "# read, and not yet run\n")
    run = mine(plugin)
    written(plugin, GOOD + "# changed\n")
    with pytest.raises(ExperimentError, match="has changed since the experiment was loaded"):
        check(run)


# --- mistakes


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("ALGORITHMS = {\n  'mine': 1\n  'too': 2}\n", r"plugin.py:2: .*syntax"),
        ("methods = {}\n", "plugin.py: has neither of the tables ALGORITHMS and CHANNELS"),
        (GOOD.replace('"mine"', '"fedavg"'), "plugin.py: the name 'fedavg' is taken: built in"),
        ("import nothing_like_it\n" + GOOD, "plugin.py:1: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("\n\nALGORITHMS = {'mine': 1 / 0}\n", "plugin.py:3: ZeroDivisionError"),
        ("ALGORITHMS = {'mine': 7}\n", r"plugin.py: ALGORITHMS\['mine'\]: expected a function .* got 7"),
        ("ALGORITHMS = ['mine']\n", "plugin.py: ALGORITHMS is no dict"),
        ("def mine(rate): return rate\nALGORITHMS = {'mine': mine}\n", "the option rate has no default"),
        ("def mine(**rest): return rest\nALGORITHMS = {'mine': mine}\n", r"the option \*\*rest has no default"),
        ("def mine(): return 'me'\nALGORITHMS = {'mine': mine}\n", "its builder gave 'me', no Algorithm"),
        (GOOD.replace("(rate)", "(rate), needs={'sun'}"), "algorithm.mine: unknown need 'sun'"),
    ],
)
def test_a_plugin_with_a_mistake_is_refused_with_its_place(tmp_path: Path, source: str, told: str) -> None:
    with pytest.raises(ExperimentError, match=f"(?s){told}"):
        check(mine(written(tmp_path / "plugin.py", source)))


def test_a_missing_plugin_is_named_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"nowhere\.py: no such plugin file\nhint: "):
        mine(tmp_path / "nowhere.py")


def test_two_plugins_with_the_same_name_are_refused(plugin: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other.py", GOOD + "# the same name\n")
    with pytest.raises(ExperimentError, match=r"other\.py: the name 'mine' is taken: .*plugin\.py"):
        check(mine(plugin, other))


def test_plugins_that_are_no_list_of_files_are_refused() -> None:
    with pytest.raises(ExperimentError, match=r"plugins: expected a list of files in quotes, got 'mine\.py'"):
        resolve({"name": "own", "plugins": "mine.py"}, "test")


# --- distributions


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed distribution with a method `theirs`, and one that cannot be imported."""
    site = tmp_path / "site"
    written(site / "theirs.py", GOOD)
    written(site / "theirs-2.1.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: theirs\nVersion: 2.1\n")
    points = "[fedllm_bench.methods]\ntheirs = theirs:mine\nbroken = nothing_like_it:mine\n"
    written(site / "theirs-2.1.dist-info" / "entry_points.txt", points)
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("theirs", None)


def test_an_installed_method_is_there_without_a_plugin(distribution: Path) -> None:
    run = resolve({"name": "own", "federation": {"rounds": 1, "cohort": 2}, "algorithm": {"name": "theirs"}}, "test")[0]
    check(run)
    assert (method("theirs")["from"], method("theirs")["summary"]) == ("theirs 2.1", "Mine: w <- w + rate D.")


def test_an_installed_method_that_cannot_be_imported_harms_no_other(distribution: Path) -> None:
    check(resolve({"name": "own", "federation": {"rounds": 1, "cohort": 2}}, "test")[0])
    with pytest.raises(ExperimentError, match=r"theirs 2\.1: nothing_like_it:mine cannot be imported"):
        method("broken")


def test_an_installed_method_with_a_name_that_is_taken_is_refused(distribution: Path) -> None:
    points = "[fedllm_bench.methods]\nfedavg = theirs:mine\n"
    written(distribution / "theirs-2.1.dist-info" / "entry_points.txt", points)
    with pytest.raises(ExperimentError, match=r"theirs 2\.1: the name 'fedavg' is taken: built in"):
        methods()


def test_a_run_records_the_distribution_of_its_method_and_goes_on_with_no_other(
    distribution: Path, tmp_path: Path
) -> None:
    with workplace(tmp_path / "bench", "theirs") as bench:
        folder = bench.run(bench.experiment())
        assert json.loads(folder.environment.read_text())["method_package"] == "theirs 2.1"
        (folder.adapter / "adapter_config.json").unlink()  # as if it had not ended
        metadata = distribution / "theirs-2.1.dist-info"
        written(metadata / "METADATA", "Metadata-Version: 2.1\nName: theirs\nVersion: 2.2\n")
        with pytest.raises(RunError, match="was started with another method package"):
            bench.run(bench.experiment())


# --- what is said of methods


def test_a_docstring_comes_apart() -> None:
    doc = parse(
        """FedFoo: w <- w + D.

        Why it is so,
        and more.

        Source: Foo 2020,
        section 1.

        Args:
            mu: pull; 0 is
                FedAvg.
            tau: time.

        Raises:
            ValueError: never.
        """
    )
    assert (doc.summary, doc.about) == ("FedFoo: w <- w + D.", "Why it is so, and more.")
    assert doc.source == "Foo 2020, section 1"
    assert doc.args == {"mu": "pull; 0 is FedAvg.", "tau": "time."}


def test_without_a_docstring_nothing_is_said() -> None:
    doc = parse(None)
    assert (doc.summary, doc.source, doc.args) == ("", "", {})


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_builder_says_what_it_does_where_it_is_from_and_what_its_options_are(name: str) -> None:
    row = method(name)
    assert row["summary"].endswith(".")
    assert ": " in row["summary"]
    assert any(character.isdigit() for character in row["paper"])  # a year
    assert [option["name"] for option in row["options"] if not option["about"]] == []
    assert parse(inspect.getdoc(ALGORITHMS[name])).args.keys() == {option["name"] for option in row["options"]}


def test_methods_of_a_plugin_are_listed_with_their_file(plugin: Path) -> None:
    (row,) = [row for row in methods(plugin_files([plugin])) if row["name"] == "mine"]
    assert row == {
        "name": "mine",
        "summary": "Mine: w <- w + rate D.",
        "about": "",
        "paper": "",
        "options": [{"name": "rate", "type": "number", "default": 1.0, "about": "of the server."}],
        "needs": [],
        "from": str(plugin),
    }


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


def test_the_list_of_methods_fits_eighty_columns_and_names_all(fedllm: Command) -> None:
    words = fedllm("methods").out
    assert max(map(len, words.splitlines())) <= 80
    assert [name for name in ALGORITHMS if f"\n{name} " not in words] == []
    rows = json.loads(fedllm("methods", "--json").out)["rows"]
    assert [row["name"] for row in rows] == list(ALGORITHMS)


def test_one_method_is_told_in_full(fedllm: Command) -> None:
    words = fedllm("methods", "krum").out
    assert max(map(len, words.splitlines())) <= 80
    row = method("krum")
    told = " ".join(words.split())
    assert all(" ".join(row[part].split()) in told for part in ("summary", "about", "paper"))
    assert json.loads(fedllm("methods", "krum", "--json").out)["rows"] == [row]


def test_a_method_that_nobody_knows_is_bad_input(fedllm: Command, plugin: Path) -> None:
    for verb in ("methods", "check-method"):
        done = fedllm(verb, "mime", "--plugin", plugin)
        assert (done.code, done.out) == (2, "")
        assert "unknown name 'mime'\nhint: did you mean \"mine\"?" in done.err
