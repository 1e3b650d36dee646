"""Fed-ChitChat: people become clients, replies become examples, and no conversation is trained on and tested on."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedllm_bench import assets
from fedllm_bench.data import StoredDataset, build_fed_chitchat
from fedllm_bench.errors import DataError
from fedllm_bench.examples import ChatExample, ClientData, Turn

Raw = dict[str, Any]
LONG = "this has five words here"


def conversation(*said: tuple[str, str]) -> Raw:
    """A raw conversation in which every message is a run of its own."""
    return {"start": "", "messages": [[{"text": text, "timestamp": "", "sender": who}] for who, text in said]}


def many(people: str = "ab", count: int = 30) -> dict[str, Raw]:
    """Enough conversations for both people to have some on either side of the split."""
    talk = [(people[turn % 2], f"{LONG} {turn}") for turn in range(6)]
    return {f"talk-{people}-{number:03}": conversation(*talk) for number in range(count)}


def build(tmp_path: Path, raw: dict[str, Raw], **options: Any) -> StoredDataset:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(raw))
    return build_fed_chitchat(path, tmp_path / "cache", **{"min_samples": 1, **options})


def clients(dataset: StoredDataset) -> list[ClientData]:
    return [dataset.load(index) for index in range(len(dataset))]


def examples(dataset: StoredDataset) -> dict[str, ChatExample]:
    return {example.id: example for client in clients(dataset) for example in (*client.train, *client.test)}


def conversations(part: Any) -> set[str]:
    return {example.meta["conversation"] for example in part}


# -------------------------------------------------------------------------------------------- examples


def test_a_reply_follows_its_context_as_the_assistants_last_turn(tmp_path: Path) -> None:
    talk = [("a", "one two three four five"), ("b", "my own long enough reply"), ("a", "and now something else here")]
    raw = {**many(), "talk": conversation(*talk)}
    found = examples(build(tmp_path, raw))
    assert found["talk:1"].turns == (Turn("user", talk[0][1]), Turn("assistant", talk[1][1]))
    assert found["talk:2"].turns == (Turn("user", talk[1][1]), Turn("assistant", talk[2][1]))
    assert found["talk:2"].trained == "last"
    assert found["talk:2"].meta == {"conversation": "talk", "client": "a"}
    assert "talk:0" not in found


@pytest.mark.parametrize(("context_turns", "kept"), [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (9, 5)])
def test_context_is_cut_to_start_with_the_other_person(tmp_path: Path, context_turns: int, kept: int) -> None:
    last = examples(build(tmp_path, many(), context_turns=context_turns))["talk-ab-000:5"]
    assert [turn.role for turn in last.turns] == [("user", "assistant")[n % 2] for n in range(kept + 1)]
    assert [turn.content[-1] for turn in last.turns] == [str(n) for n in range(5 - kept, 6)]


def test_messages_sent_in_a_row_are_one_turn_and_blank_ones_do_not_count(tmp_path: Path) -> None:
    talk = [("a", " two words "), ("a", "and three more"), ("b", "  "), ("a", "!"), ("b", LONG)]
    dataset = build(tmp_path, {**many(), "talk": conversation(*talk)})
    assert examples(dataset)["talk:1"].turns == (Turn("user", "two words\nand three more\n!"), Turn("assistant", LONG))
    assert dataset.manifest["dropped"]["blank messages"] == 1


def test_short_turns_make_no_example_but_stay_as_context(tmp_path: Path) -> None:
    talk = [("a", LONG), ("b", "no"), ("a", LONG), ("b", LONG)]
    dataset = build(tmp_path, {**many(), "talk": conversation(*talk)})
    found = examples(dataset)
    assert [key for key in found if key.startswith("talk:")] == ["talk:3"]
    assert [turn.content for turn in found["talk:3"].turns] == [LONG, "no", LONG, LONG]
    assert dataset.manifest["dropped"]["replies under 5 words"] == 1
    assert dataset.manifest["dropped"]["replies to a turn under 5 words"] == 1


def test_a_lone_speaker_and_a_crowd_are_left_out_and_counted(tmp_path: Path) -> None:
    lone = conversation(("a", LONG), ("a", LONG))
    crowd = conversation(("a", LONG), ("b", LONG), ("c", LONG))
    dataset = build(tmp_path, {**many(), "lone": lone, "crowd": crowd, "silent": {"messages": []}})
    assert dataset.manifest["dropped"]["conversations without two speakers"] == 3


# --------------------------------------------------------------------------------------------- clients


def test_a_person_whose_replies_lie_in_one_conversation_is_dropped_and_counted(tmp_path: Path) -> None:
    dataset = build(tmp_path, {**many("ab"), **many("cd", count=1)})
    dropped = dataset.manifest["dropped"]
    assert [client.id for client in clients(dataset)] == ["a", "b"]
    reason = "without held-out samples" if "clients without held-out samples" in dropped else "without training samples"
    assert dropped[f"clients {reason}"] == 2
    assert dropped[f"samples of clients {reason}"] == 5


def test_min_samples_counts_training_samples(tmp_path: Path) -> None:
    raw = {**many("ab", count=60), **many("cd", count=12)}
    sizes = {client.id: len(client.train) for client in clients(build(tmp_path, raw))}
    limit = sizes["c"] + 1
    kept = build(tmp_path, raw, min_samples=limit)
    assert [client.id for client in clients(kept)] == [name for name, size in sizes.items() if size >= limit]
    assert kept.manifest["dropped"][f"clients under {limit} training samples"] >= 1


def test_every_turn_is_an_example_or_counted(tmp_path: Path) -> None:
    raw = {**many("ab"), **many("cd", 2), "talk": conversation(("a", "hi"), ("b", "hello"), ("a", LONG), ("b", LONG))}
    manifest = build(tmp_path, raw, min_samples=3).manifest
    turns = sum(len(one["messages"]) for one in raw.values())
    reasons = ("turns", "replies", "samples")
    lost = sum(count for reason, count in manifest["dropped"].items() if reason.startswith(reasons))
    assert manifest["train"] + manifest["test"] + lost == turns


# ------------------------------------------------------------------------------------------- the split

PEOPLE = st.sampled_from("abcdef")
TALKS = st.lists(
    st.tuples(PEOPLE, PEOPLE, st.lists(st.sampled_from([LONG, f"{LONG} more", "short"]), min_size=2, max_size=6)),
    min_size=20,
    max_size=40,
)
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def raw_from(talks: list[tuple[str, str, list[str]]]) -> dict[str, Raw]:
    pairs = [((first, second), texts) for first, second, texts in talks]
    return {
        f"{number}": conversation(*((pair[turn % 2], text) for turn, text in enumerate(texts)))
        for number, (pair, texts) in enumerate(pairs)
    }


@FEW
@given(talks=TALKS, seed=st.integers(0, 5), held_out=st.sampled_from([0.2, 0.5]))
def test_no_conversation_is_trained_on_by_one_and_held_out_for_another(
    tmp_path_factory: pytest.TempPathFactory, talks: Any, seed: int, held_out: float
) -> None:
    try:
        dataset = build(tmp_path_factory.mktemp("split"), raw_from(talks), seed=seed, held_out=held_out)
    except DataError:
        return  # nobody has both parts
    everyone = clients(dataset)
    assert all(client.train and client.test for client in everyone)
    trained = conversations(example for client in everyone for example in client.train)
    tested = conversations(example for client in everyone for example in client.test)
    assert not trained & tested


@FEW
@given(talks=TALKS, shuffle=st.randoms(use_true_random=False))
def test_the_order_of_the_file_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, talks: Any, shuffle: random.Random
) -> None:
    raw = {**raw_from(talks), **many("xy")}
    order = list(raw)
    shuffle.shuffle(order)
    one, other = (build(tmp_path_factory.mktemp("order"), rows) for rows in (raw, {key: raw[key] for key in order}))
    assert (one.folder / "clients.jsonl").read_bytes() == (other.folder / "clients.jsonl").read_bytes()


def test_a_conversation_stays_on_its_side_when_others_come(tmp_path: Path) -> None:
    few = clients(build(tmp_path, many("ab", 20)))
    more = clients(build(tmp_path, {**many("ab", 20), **many("cd", 20)}))
    assert few == more[:2]


def test_another_seed_holds_out_other_conversations(tmp_path: Path) -> None:
    one, other = (conversations(clients(build(tmp_path, many(), seed=seed))[0].test) for seed in (0, 1))
    assert one != other


def test_about_the_asked_share_of_conversations_is_held_out(tmp_path: Path) -> None:
    client = clients(build(tmp_path, many(count=1000), held_out=0.3))[0]
    assert len(conversations(client.test)) == pytest.approx(300, abs=45)


# ------------------------------------------------------------------------------------ files and errors


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for place in ("one", "other"):
        (tmp_path / place).mkdir()
        build(tmp_path / place, many())
    one, other = (sorted((tmp_path / place / "cache").rglob("*.*")) for place in ("one", "other"))
    files = [(a, b) for a, b in zip(one, other, strict=True) if a.is_file()]
    assert len(files) == 4  # clients, index, manifest, and the lock
    assert all(a.name == b.name and a.read_bytes() == b.read_bytes() for a, b in files)


def test_a_second_build_opens_the_first(tmp_path: Path) -> None:
    first = build(tmp_path, many())
    written = (first.folder / "manifest.json").stat().st_mtime_ns
    assert (build(tmp_path, many()).folder / "manifest.json").stat().st_mtime_ns == written


def test_other_options_or_rows_have_another_fingerprint(tmp_path: Path) -> None:
    made = [
        build(tmp_path, many()),
        build(tmp_path, many(), seed=1),
        build(tmp_path, many(), context_turns=1),
        build(tmp_path, many(count=31)),
    ]
    assert len({dataset.fingerprint for dataset in made}) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"held_out": 0.0}, "held_out is 0.0"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"context_turns": 0}, "context_turns is 0"),
        ({"min_words": 0}, "min_words is 0"),
        ({"min_samples": 0}, "min_samples is 0"),
        ({"min_samples": 10_000}, "no client is left"),
    ],
)
def test_an_option_without_meaning_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        build(tmp_path, many(), **options)
    assert caught.value.hint
    assert not list(tmp_path.glob("cache/data/fed-chitchat*"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": ', "is not JSON"),
        ("[]", "it holds a list"),
        ('{"talk-7": {}}', "conversation talk-7"),
        ('{"talk-7": {"messages": [[{"text": null, "sender": "a"}]]}}', "conversation talk-7"),
    ],
)
def test_a_file_that_is_not_the_chitchat_data_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        build_fed_chitchat(path, tmp_path / "cache")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a file"):
        build_fed_chitchat(tmp_path / "none.json", tmp_path / "cache")


@pytest.mark.slow
def test_the_real_data_have_the_counts_that_the_documentation_names(tmp_path: Path) -> None:
    dataset = build_fed_chitchat(assets.locate("chitchat"), tmp_path)
    manifest = dataset.manifest
    assert (manifest["clients"], manifest["train"], manifest["test"]) == (243, 65_139, 16_072)
    lost = sum(count for reason, count in manifest["dropped"].items() if reason.startswith("samples"))
    assert manifest["train"] + manifest["test"] + lost == 92_815
