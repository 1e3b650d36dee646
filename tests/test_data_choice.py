"""What an experiment says about clients: groups, caps, the pool, and the one client that trains."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench.analysis.as_toml import as_toml
from fedllm_bench.check import check
from fedllm_bench.clients import build_data, evaluated_clients, trained_clients
from fedllm_bench.errors import DataError, ExperimentError
from fedllm_bench.examples import FederatedDataset
from fedllm_bench.experiment import Experiment, resolve
from fedllm_bench.records import read
from fedllm_bench.sweep import swept

LANGUAGES = ("French", "Portuguese", "French", "Telugu", "Portuguese", "French")
SIZES = (6, 7, 8, 9, 10, 11)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FEDLLM_BENCH_DATA", raising=False)


@pytest.fixture
def aya(tmp_path: Path) -> Path:
    """An official file of six clients in three languages."""
    path = tmp_path / "aya.json"
    clients = {
        f"c{client}": [
            {"instruction": f"ask {client} {n}", "response": f"say {n}", "language": language} for n in range(size)
        ]
        for client, (language, size) in enumerate(zip(LANGUAGES, SIZES, strict=True))
    }
    path.write_text(json.dumps(clients))
    return path


@pytest.fixture
def runs(aya: Path) -> Any:
    """The runs that `[data]` and `[algorithm]` keys expand to."""

    def expand(algorithm: str = "fedavg", *overrides: str, **data: Any) -> list[Experiment]:
        document = {
            "name": "choice",
            "data": {"name": "fed-aya", "min_samples": 1, "held_out": 0.2, "fed-aya": {"file": str(aya)}, **data},
            "federation": {"rounds": 1, "cohort": 2},
            "algorithm": {"name": algorithm},
        }
        return resolve(document, "test", overrides)

    return expand


def ids(dataset: FederatedDataset, chosen: Any = None) -> list[str]:
    return [dataset.client_id(index) for index in (range(len(dataset)) if chosen is None else chosen)]


def trained(run: Experiment) -> list[str]:
    dataset = build_data(run)
    return ids(dataset, trained_clients(run, dataset))


def test_a_list_of_groups_makes_one_run_for_each(runs: Any) -> None:
    made = runs(group_by="language", group=["French", "Telugu"])
    assert [(run.data.group, ids(build_data(run))) for run in made] == [
        ("French", ["c0", "c2", "c5"]),
        ("Telugu", ["c3"]),
    ]


def test_a_named_group_stands_for_its_values_and_is_not_swept(runs: Any) -> None:
    groups = {"romance": ["French", "Portuguese"], "dravidian": ["Telugu"]}
    made = runs(group_by="language", groups=groups, group=["romance", "dravidian", "French"])
    assert [len(build_data(run)) for run in made] == [5, 1, 3]
    assert made[0].data.groups == {"romance": ("French", "Portuguese"), "dravidian": ("Telugu",)}
    assert [len(build_data(run)) for run in runs("fedavg", group_by="language", groups=groups)] == [6]


def test_local_training_in_a_group_draws_clients_of_the_group(runs: Any) -> None:
    made = runs("local", "algorithm.local.clients=1", group_by="language", group=["French", "Portuguese", "Telugu"])
    assert len(made) == 3
    for run, members in zip(made, [{"c0", "c2", "c5"}, {"c1", "c4"}, {"c3"}], strict=True):
        assert len(trained(run)) == 1 and set(trained(run)) <= members
        dataset = build_data(run)
        assert set(ids(dataset, evaluated_clients(run, dataset))) == members


def test_a_group_that_nobody_is_in_is_told_with_the_groups_there_are(runs: Any) -> None:
    (run,) = runs(group_by="language", group="romence", groups={"romance": ["French"]})
    with pytest.raises(DataError, match=r"data\.group: fed-aya: no client has the language 'romence'") as caught:
        build_data(run)
    assert caught.value.hint == "there are: French (3), Portuguese (2), Telugu (1); data.groups has romance"
    with pytest.raises(ExperimentError, match="`group` needs `group_by`"):
        runs(group="French")


@pytest.mark.parametrize("algorithm", ["local", "fedavg"])
def test_the_client_with_the_nearest_number_of_samples_trains(algorithm: str, runs: Any) -> None:
    made = runs(algorithm, client_samples=[1, 7, 100])  # training samples are 5, 6, 6, 7, 8, 9
    assert [trained(run) for run in made] == [["c0"], ["c3"], ["c5"]]


def test_clients_are_grouped_then_filtered_then_capped_then_drawn(runs: Any) -> None:
    (run,) = runs(group_by="language", group="French", min_samples=6, cap=3, clients=2)
    dataset = build_data(run)
    assert ids(dataset) == ["c2", "c5"]
    assert [dataset.size(index) for index in range(2)] == [3, 3]
    with pytest.raises(DataError, match="3 clients cannot be drawn"):
        build_data(run.model_copy(update={"data": run.data.model_copy(update={"clients": 3})}))


def held(run: Experiment) -> tuple[list[str], list[str]]:
    """Training and held-out samples of all clients of a run."""
    dataset = build_data(run)
    clients = [dataset.load(index) for index in range(len(dataset))]
    return sorted(e.id for c in clients for e in c.train), sorted(e.id for c in clients for e in c.test)


def test_samples_are_chosen_by_language_before_clients_are_by_size(runs: Any) -> None:
    (run,) = runs(languages=["fr", "Telugu"], min_samples=6)
    assert (run.data.languages, ids(build_data(run))) == (("fr", "Telugu"), ["c2", "c3", "c5"])
    (run,) = runs(languages=["fr", "Telugu"], group_by="language", group="Telugu")
    assert ids(build_data(run)) == ["c3"]


def test_what_is_dealt_anew_is_what_would_be_trained_on_without(runs: Any) -> None:
    chosen = {"group_by": "language", "group": "French", "min_samples": 6, "cap": 5, "clients": 2}
    (natural,) = runs(**chosen)
    for partition in ({"name": "iid"}, {"name": "dirichlet", "label": "language", "clients": 3, "alpha": 10}):
        (dealt,) = runs(**chosen, partition=partition)
        assert held(dealt) == held(natural)
        assert {name.partition("-")[0] for name in ids(build_data(dealt))} == {"client"}
    (pooled,) = runs(**chosen, partition={"name": "iid"}, pool=True)
    assert trained(pooled) == ["all"]
    assert build_data(pooled).size(2) == 10


def test_the_seed_of_the_run_deals(runs: Any) -> None:
    first, second = runs("fedavg", "seed=[0, 1]", partition={"name": "iid"})
    assert build_data(first).fingerprint == build_data(first).fingerprint != build_data(second).fingerprint
    assert held(first) == held(second)


def test_ways_to_deal_are_swept_by_lists_and_by_variants(runs: Any) -> None:
    iid, few = {"name": "iid"}, {"name": "dirichlet", "label": "language", "alpha": [0.1, 1]}
    made = swept(runs(partition=[iid, few]))
    assert [(run.data.partition.name, run.data.partition.options.get("alpha")) for run in made] == [
        *(("iid", None), ("dirichlet", 0.1), ("dirichlet", 1)),
    ]
    document = {"name": "x", "federation": {"rounds": 1, "cohort": 2}}
    variants = [{}, {"data.partition": iid}, {"data": {"partition": iid}}, {"data.languages": ["fr"]}]
    natural, dealt, french = resolve({**document, "variant": variants}, "test")
    assert (natural.data.partition, french.data.languages) == (None, ("fr",))
    assert dealt.data.partition.options == {}
    again = resolve(tomllib.loads(as_toml(dealt.model_dump(mode="json"))), "test")
    assert again == [dealt]


def test_keys_that_are_not_set_leave_the_id_of_a_run_as_it_was() -> None:
    document = {"name": "x", "federation": {"rounds": 1, "cohort": 2}}
    (run,) = resolve(document, "test")
    content = run.model_dump(mode="json", exclude={"name", "preset", "checkpoint", "plugins"})
    assert content["data"].pop("languages") is content["data"].pop("partition") is None
    assert content["executor"].pop("deterministic") is True
    assert run.run_id == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    others = [
        resolve(document, "test", [change])[0].run_id for change in ("data.languages=['fr']", "data.partition.name=iid")
    ]
    assert len({run.run_id, *others}) == 3


@pytest.mark.parametrize(
    ("partition", "message", "hint"),
    [
        ({"name": "dirichle"}, "data.partition.name: unknown name 'dirichle'", 'did you mean "dirichlet"?'),
        ({"name": "dirichlet", "alpah": 1}, "data.partition: unknown option 'alpah'", "did you mean alpha?"),
        ({"name": "dirichlet"}, "data.partition: label is missing", 'such as label = "language"'),
        ({"name": "iid", "clients": "3"}, 'data.partition.clients: expected a whole number, got "3"', None),
        ({"name": "iid", "clients": 3}, "data.partition: 3 clients cannot have the natural sizes", "leave clients out"),
    ],
    ids=["name", "option", "label", "type", "sizes"],
)
def test_a_wrong_partition_is_refused_before_any_data_are_read(
    partition: dict[str, Any], message: str, hint: str | None, runs: Any
) -> None:
    (run,) = runs(partition=partition)
    with pytest.raises(ExperimentError) as caught:
        check(run)
    assert caught.value.message.startswith(message)
    assert hint is None or hint in str(caught.value.hint)


def test_a_misspelt_or_nameless_partition_is_refused_when_the_file_is_read(runs: Any) -> None:
    with pytest.raises(ExperimentError, match=r"data\.partition\.name: missing"):
        runs(partition={"alpha": 1})
    with pytest.raises(ExperimentError, match="expected at least 1 in the list"):
        runs(languages=[])
    with pytest.raises(ExperimentError) as caught:
        runs(partiton={"name": "iid"})
    assert caught.value.hint == "did you mean data.partition?"


@pytest.mark.parametrize("algorithm", ["local", "fedavg"])
def test_pooled_training_is_one_run_of_one_client_scored_on_the_same_clients(algorithm: str, runs: Any) -> None:
    (pooled,) = runs(algorithm, "evaluate.clients=3", pool=True)
    (apart,) = runs("fedavg", "evaluate.clients=3")
    dataset = build_data(pooled)
    assert trained(pooled) == ["all"]
    assert dataset.size(6) == sum(build_data(apart).size(index) for index in range(6))
    assert evaluated_clients(pooled, dataset) == evaluated_clients(apart, build_data(apart))
    (everybody,) = runs(algorithm, pool=True)
    assert evaluated_clients(everybody, dataset) == list(range(6))


@pytest.mark.parametrize("other", [{"client": "c1"}, {"client_samples": 3}])
def test_only_one_key_chooses_the_client_that_trains(other: dict[str, Any], runs: Any) -> None:
    with pytest.raises(ExperimentError, match="both choose the client that trains"):
        runs(pool=True, **other)


def test_runs_on_an_official_file_train_and_are_scored(
    runs: Any, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (shown,) = runs()
    file = tmp_path / "pooled.toml"
    file.write_text(f"""
name = "pooled"
[data]
name = "fed-aya"
min_samples = 1
[data.fed-aya]
file = "{shown.data.options["file"]}"
[model]
base = "{tiny_model}"
[local]
steps = 1
batch_size = 2
[federation]
rounds = 1
cohort = 2
[[variant]]
data = {{ pool = true }}
[[variant]]
data = {{ held_out = 0, group_by = "language", group = "French" }}
""")
    done = Command(capsys, monkeypatch)("run", file, "--runs", tmp_path / "runs")
    assert done.code == 0, done.err
    cohorts, scored = {}, {}
    for folder in (path for path in (tmp_path / "runs" / "pooled").iterdir() if path.is_dir()):
        (record,) = read(folder / "rounds.jsonl")
        cohorts[len(record["cohort"])] = set(record["cohort"])
        scored[len(record["cohort"])] = [row for row in read(folder / "evaluations.jsonl") if row["loss"] is not None]
    assert cohorts[1] == {"all"} and cohorts[2] <= {"c0", "c2", "c5"}
    assert {row["client"] for row in scored[1]} == {f"c{n}" for n in range(6)}
    assert scored[2] == []


# --- what can be told without the data


def test_a_dry_run_without_data_and_model_says_how_to_bring_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "later.toml"
    file.write_text("""
name = "later"
[data]
name = ["fed-aya", "import"]
[data.import]
mapping = "nowhere.toml"
[model]
base = "meta-llama/Llama-2-7b-hf"
[federation]
rounds = 1
cohort = 2
""")
    command = Command(capsys, monkeypatch)
    done = command("run", file, "--dry-run")
    assert done.code == 0
    assert "unknown" in done.out
    assert "--set data.fed-aya.file=aya_38c_25k.json" in done.err
    assert "there is no nowhere.toml" in done.err
    assert "there is no meta-llama/Llama-2-7b-hf on this disk" in done.err
    rows = json.loads(command("run", file, "--dry-run", "--json").out)["rows"]
    assert [(row["clients"], row["tokens"], len(row["missing"])) for row in rows] == [(None, None, 2)] * 2
    run = command("run", file, "--set", "data.name=import", "--runs", tmp_path / "runs")
    assert (run.code, "there is no nowhere.toml" in run.err) == (2, True)


def test_a_dry_run_with_data_and_model_counts_the_tokens(
    runs: Any,
    aya: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "now.toml"
    file.write_text('name = "now"\n[data]\nname = "fed-aya"\nmin_samples = 1\n[federation]\nrounds = 1\ncohort = 2\n')
    settings = ("--set", f"data.fed-aya.file={aya}", "--set", f"model.base={tiny_model}")
    (row,) = json.loads(Command(capsys, monkeypatch)("run", file, "--dry-run", "--json", *settings).out)["rows"]
    assert (row["clients"], row["missing"]) == (6, [])
    assert row["tokens"] > 0
