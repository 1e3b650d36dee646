"""A dataset on disk: whole or not there, opened without reading it, and broken lines are named."""

import json
import pickle
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedllm_bench.data import StoredDataset, content_fingerprint, write_dataset
from fedllm_bench.errors import DataError
from fedllm_bench.examples import ChatExample, ClientData, Turn


def example(key: str, response: str = "an answer") -> ChatExample:
    return ChatExample(key, (Turn("user", "a question"), Turn("assistant", response)), "last", {"topic": "t"})


def client(name: str, train: int = 2, test: int = 1) -> ClientData:
    trained, tested = (
        tuple(example(f"{name}-{part}-{n}") for n in range(count)) for part, count in (("a", train), ("b", test))
    )
    return ClientData(name, trained, tested, {"language": "en"})


def write(folder: Path, clients: Iterable[ClientData], dropped: Counter[str] | None = None) -> StoredDataset:
    return write_dataset(folder, "tiny", clients, fingerprint="f1", source="a test", options={"k": 1}, dropped=dropped)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
FILLED = TEXT.filter(str.strip)
META = st.dictionaries(TEXT, TEXT, max_size=2)
EXAMPLES = st.builds(
    lambda key, before, answer, trained, meta: ChatExample(key, (*before, Turn("assistant", answer)), trained, meta),
    TEXT,
    st.lists(st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=3),
    FILLED,
    st.sampled_from(["last", "all"]),
    META,
)
PARTS = st.lists(EXAMPLES, max_size=3).map(tuple)
CLIENTS = st.lists(
    st.builds(ClientData, TEXT, PARTS.filter(len), PARTS, META), min_size=1, max_size=5, unique_by=lambda one: one.id
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clients=CLIENTS)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, clients: list[ClientData]) -> None:
    dataset = write(tmp_path_factory.mktemp("stored") / "set", clients)
    assert len(dataset) == len(clients)
    assert [dataset.load(index) for index in range(len(dataset))] == clients
    assert [dataset.client_id(index) for index in range(len(dataset))] == [one.id for one in clients]
    assert [dataset.size(index) for index in range(len(dataset))] == [len(one.train) for one in clients]


def test_the_manifest_tells_what_is_inside(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [client("a", 2, 1), client("b", 3, 0)], Counter({"a reason": 7}))
    created_by = dataset.manifest.pop("created_by")
    assert dataset.manifest == {
        **{"name": "tiny", "fingerprint": "f1", "source": "a test", "options": {"k": 1}},
        **{"clients": 2, "train": 5, "test": 1, "dropped": {"a reason": 7}},
    }
    assert created_by
    assert (dataset.name, dataset.fingerprint) == ("tiny", "f1")


def test_an_id_longer_than_any_read_ahead_is_found(tmp_path: Path) -> None:
    name = "é" * 5000
    assert write(tmp_path / "set", [client(name)]).client_id(0) == name


def test_another_process_gets_the_dataset_by_its_folder(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [client("a")])
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.load(0) == dataset.load(0)
    assert len(pickle.dumps(dataset)) < 500


# --------------------------------------------------------------------------------------------- writing


def test_an_empty_response_is_dropped_and_counted(tmp_path: Path) -> None:
    blank = ChatExample("blank", (Turn("user", "?"), Turn("assistant", " \n")))
    unanswered = ChatExample("unanswered", (Turn("user", "?"),))
    dataset = write(tmp_path / "set", [ClientData("a", (example("x"), blank), (unanswered, example("y")))])
    assert [one.id for one in (*dataset.load(0).train, *dataset.load(0).test)] == ["x", "y"]
    assert dataset.manifest["dropped"] == {"samples with an empty response": 2}


def test_a_client_without_training_samples_is_dropped_and_counted(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [client("a"), client("b", train=0), client("c")])
    assert [dataset.client_id(index) for index in range(len(dataset))] == ["a", "c"]
    assert dataset.manifest["dropped"] == {"clients without training samples": 1}


def test_a_duplicate_client_id_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="client 3 has the id 'a'") as caught:
        write(tmp_path / "set", [client("a"), client("b"), client("a")])
    assert caught.value.hint
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_dataset_without_clients_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no client is left"):
        write(tmp_path / "set", [client("a", train=0)])
    assert not (tmp_path / "set").exists()


def test_text_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="client 'a' has a text that is not valid Unicode"):
        write(tmp_path / "set", [ClientData("a", (example("x", "half a \ud83d smiley"),), ())])


def test_a_builder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def clients() -> Iterator[ClientData]:
        yield client("a")
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write(tmp_path / "set", clients())
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_dataset_that_is_there_is_opened_and_the_source_not_read(tmp_path: Path) -> None:
    write(tmp_path / "set", [client("a")])
    unread = iter([client("b")])
    assert write(tmp_path / "set", unread).client_id(0) == "a"
    assert next(unread).id == "b"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write(tmp_path / "file" / "set", [client("a")])


def test_clients_are_never_held_together(tmp_path: Path) -> None:
    alive: Counter[str] = Counter()
    most = 0

    class Counted(ClientData):
        def __del__(self) -> None:
            alive["now"] -= 1

    def clients() -> Iterator[ClientData]:
        nonlocal most
        for number in range(50):
            alive["now"] += 1
            most = max(most, alive["now"])
            yield Counted(f"{number}", (example(f"{number}"),), ())

    write(tmp_path / "set", clients())
    assert most <= 3


# --------------------------------------------------------------------------------------------- reading


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "set", [client("a"), client("b"), client("c")]).folder


def spoil(folder: Path, number: int, old: str, new: str) -> None:
    """Change one line without moving the others."""
    path = folder / "clients.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert old in lines[number - 1]
    assert len(old) == len(new)
    lines[number - 1] = lines[number - 1].replace(old, new)
    path.write_text("".join(lines))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"train":[', '"train":]', "is broken"),
        ('"train":[', '"trian":[', r"is not a client \(KeyError\('train'\)\)"),
        ('"role":"assistant"', '"role":"assisting"', "a turn needs one of the roles"),
        ('"trained":"last"', '"trained":"some"', "trained is 'some'"),
        ('{"role":"assistant"', '{"role":"user"     ', "does not end with a turn of the assistant"),
    ],
)
def test_a_broken_line_is_named_with_its_number(folder: Path, old: str, new: str, words: str) -> None:
    spoil(folder, 2, old, new)
    dataset = StoredDataset(folder)
    assert (dataset.load(0).id, dataset.load(2).id) == ("a", "c")
    with pytest.raises(DataError, match=rf"clients\.jsonl: line 2 .*{words}") as caught:
        dataset.load(1)
    assert caught.value.hint


def test_a_file_that_was_cut_off_is_named_with_the_line(folder: Path) -> None:
    path = folder / "clients.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="line 3 is broken"):
        StoredDataset(folder).load(2)


def test_a_folder_that_is_no_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it has no manifest\.json"):
        StoredDataset(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "index.npy", "clients.jsonl"])
@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_a_damaged_or_missing_file_is_told(folder: Path, name: str, content: bytes | None) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        StoredDataset(folder).load(0)
    assert caught.value.hint


def test_files_of_two_datasets_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", [client("x")]).folder
    (folder / "index.npy").write_bytes((other / "index.npy").read_bytes())
    with pytest.raises(DataError, match="the index has 1 clients, not 3"):
        StoredDataset(folder)


# ------------------------------------------------------------------------------- fingerprints and size


def test_a_fingerprint_changes_with_each_thing_that_decides_the_content() -> None:
    base = content_fingerprint("n", 1, "s", {"a": 1, "b": 2})
    assert base == content_fingerprint("n", 1, "s", {"b": 2, "a": 1})
    others = [
        content_fingerprint("m", 1, "s", {"a": 1, "b": 2}),
        content_fingerprint("n", 2, "s", {"a": 1, "b": 2}),
        content_fingerprint("n", 1, "t", {"a": 1, "b": 2}),
        content_fingerprint("n", 1, "s", {"a": 1, "b": 3}),
    ]
    assert len({base, *others}) == 5


OPEN_AND_LOAD = """
    import sys, time
    import psutil
    from fedllm_bench.data import StoredDataset
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    dataset = StoredDataset(__import__("pathlib").Path(sys.argv[1]))
    dataset.load(len(dataset) - 1)
    print(time.perf_counter() - started, psutil.Process().memory_info().rss - before)
"""


def opened(folder: Path) -> tuple[float, float]:
    """Seconds and bytes that a fresh process spends on opening a dataset and loading its last client."""
    command = [sys.executable, "-c", textwrap.dedent(OPEN_AND_LOAD), str(folder)]
    seconds, memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(memory)


def test_opening_does_not_read_the_clients(tmp_path: Path) -> None:
    write(tmp_path / "set", (client(f"{number}") for number in range(20_000)))
    size = (tmp_path / "set" / "clients.jsonl").stat().st_size
    assert opened(tmp_path / "set")[1] < size / 2


@pytest.mark.slow
def test_a_million_clients_open_in_a_moment_and_little_memory(tmp_path: Path) -> None:
    write(tmp_path / "set", (client(f"{number}") for number in range(1_000_000)))
    seconds, memory = opened(tmp_path / "set")
    assert seconds < 1
    assert memory < 200e6
    assert json.loads((tmp_path / "set" / "manifest.json").read_text())["clients"] == 1_000_000
