"""Languages: told from texts, matched by name or code, and samples chosen by them."""

import logging
import pickle
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedllm_bench.data import cap, group_by, with_samples
from fedllm_bench.data.languages import identified, identify, same_language, with_languages
from fedllm_bench.errors import DataError, FedLLMError
from fedllm_bench.examples import ChatExample, ClientData, Example, FederatedDataset, Turn
from fedllm_bench.extras import hint_of
from made_up import People

SAID = {
    "en": "I have never been to the mountains, but I would like to see them one day.",
    "fr": "Je ne suis jamais allé à la montagne, mais j'aimerais bien la voir un jour.",
    "de": "Ich war noch nie in den Bergen, aber ich würde sie gern einmal sehen.",
    "te": "నేను ఎప్పుడూ పర్వతాలకు వెళ్ళలేదు, కానీ ఒక రోజు వాటిని చూడాలనుకుంటున్నాను.",
    "zh": "我从来没有去过山里，但是我想有一天去看看。",
}


def sample(name: str, language: str | None) -> ChatExample:
    meta = {} if language is None else {"language": language}
    return ChatExample(name, (Turn("user", "ask"), Turn("assistant", f"say {name}")), "last", meta)


def people(*parts: tuple[Sequence[str | None], Sequence[str | None]]) -> People:
    """Clients with a training and a held-out sample in each of the given languages."""
    return People(
        tuple(
            ClientData(
                f"p{number}",
                [sample(f"{number}/train/{at}", language) for at, language in enumerate(train)],
                [sample(f"{number}/test/{at}", language) for at, language in enumerate(test)],
                {"language": "mixed", "place": "here"},
            )
            for number, (train, test) in enumerate(parts)
        )
    )


def ids(dataset: FederatedDataset) -> list[tuple[str, list[str], list[str]]]:
    clients = [dataset.load(index) for index in range(len(dataset))]
    return [(client.id, [e.id for e in client.train], [e.id for e in client.test]) for client in clients]


# --- telling and matching


@pytest.mark.parametrize("language", sorted(SAID))
def test_a_sentence_is_told_by_its_language(language: str) -> None:
    assert identify(SAID[language]) == language


def test_what_has_no_words_is_undetermined() -> None:
    assert [identify(text) for text in ("", "123 + 456", "!?")] == ["und"] * 3


def test_an_example_is_told_by_what_is_read_and_what_is_learnt() -> None:
    def answer(text: str) -> Example:
        return ChatExample("x", (Turn("user", "?"), Turn("assistant", text)))

    assert identified([answer(SAID["de"]), answer(SAID["fr"])]) == ["de", "fr"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        *(("French", "french"), ("fr", "French"), ("French", "fr"), ("fra", "fr"), ("FR", "French")),
        *(("ar", "Standard Arabic"), ("Persian", "Iranian Persian"), ("zh", "Simplified Chinese"), ("te", "Telugu")),
        *(
            ("Simplified Chinese", "zh-Hans"),
            ("ms", "Standard Malay"),
            ("jv", "javanese"),
            ("Klingonish", "klingonish"),
        ),
    ],
)
def test_names_and_codes_of_one_language_are_the_same(asked: str, found: str) -> None:
    assert same_language(asked, found)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        *(("fr", "Telugu"), ("ar", "Egyptian Arabic"), ("pt", "Spanish"), ("und", "en"), ("xx", "yy")),
        *(("Simplified Chinese", "Traditional Chinese"), ("Klingonish", "Elvenish"), ("frr", "fr")),
    ],
)
def test_other_languages_are_not(asked: str, found: str) -> None:
    assert not same_language(asked, found)


# --- choosing samples

LANGUAGES = st.lists(st.sampled_from(["French", "Telugu", "English"]), max_size=5)
PARTS = st.lists(st.tuples(LANGUAGES, LANGUAGES), min_size=1, max_size=6)
ASKED = st.lists(st.sampled_from(["fr", "French", "te", "eng"]), min_size=1, max_size=3)
NAMES = {"fr": "French", "French": "French", "te": "Telugu", "eng": "English"}


@settings(deadline=None)
@given(parts=PARTS, asked=ASKED)
def test_exactly_the_samples_in_the_languages_stay_with_the_clients_that_train_on_any(
    parts: list[tuple[list[str], list[str]]], asked: list[str]
) -> None:
    dataset, names = people(*parts), {NAMES[each] for each in asked}
    wanted = [
        (client.id, *([e.id for e in part if e.meta["language"] in names] for part in (client.train, client.test)))
        for client in dataset.members
        if any(e.meta["language"] in names for e in client.train)
    ]
    if not wanted:
        with pytest.raises(DataError, match="no client has training samples in"):
            with_languages(dataset, asked)
        return
    view = with_languages(dataset, asked)
    assert ids(view) == wanted
    assert [view.size(at) for at in range(len(view))] == [len(train) for _, train, _ in wanted]
    assert [view.client_id(at) for at in range(len(view))] == [client for client, _, _ in wanted]
    assert ids(with_languages(view, asked)) == wanted  # once more changes nothing
    sent = pickle.loads(pickle.dumps(view))
    assert (ids(sent), sent.fingerprint) == (wanted, view.fingerprint)


@settings(deadline=None)
@given(parts=PARTS)
def test_the_languages_one_by_one_are_all_training_samples(parts: list[tuple[list[str], list[str]]]) -> None:
    dataset = people(*parts)
    spoken = sorted({language for train, _ in parts for language in train})
    apart = [name for language in spoken for _, train, _ in ids(with_languages(dataset, [language])) for name in train]
    assert sorted(apart) == sorted(example.id for client in dataset.members for example in client.train)


def test_the_fingerprint_follows_the_samples_and_not_the_names() -> None:
    dataset = people((["French", "Telugu"], ["French"]), (["French"], []))
    french, by_code, telugu, everything = (
        with_languages(dataset, asked).fingerprint for asked in (["French"], ["fr"], ["te"], ["fr", "te"])
    )
    assert french == by_code
    assert len({french, telugu, everything, dataset.fingerprint}) == 4


def test_a_client_carries_the_language_of_most_samples_that_stay() -> None:
    view = with_languages(people((["French", "Telugu", "English"], ["French"]), (["Telugu"], [])), ["fr", "te"])
    assert [view.load(at).meta for at in range(2)] == [
        {"language": "French", "place": "here"},
        {"language": "Telugu", "place": "here"},
    ]
    assert ids(group_by(view, "language", ["Telugu"])) == [("p1", ["1/train/0"], [])]


def test_other_views_know_the_sizes_that_are_left() -> None:
    view = with_languages(people((["French"] * 3 + ["Telugu"], []), (["French"], []), (["Telugu"], [])), ["fr"])
    assert [view.client_id(at) for at in range(len(view))] == ["p0", "p1"]
    assert ids(with_samples(view, 2)) == [("p0", ["0/train/0", "0/train/1", "0/train/2"], [])]
    assert cap(view, 2, 0).size(0) == len(cap(view, 2, 0).load(0).train) == 2
    assert view.load(-1).id == view.client_id(-1) == "p1"


def test_samples_that_do_not_say_their_language_are_identified() -> None:
    asked: list[str] = []

    def speak(examples: Sequence[Example]) -> list[str]:
        asked.extend(example.id for example in examples)
        return ["te" if example.id.endswith("1") else "en" for example in examples]

    view = with_languages(people((["French", None, None], [None])), ["Telugu", "French"], speak)
    assert asked == ["0/train/1", "0/train/2", "0/test/0"]
    assert ids(view) == [("p0", ["0/train/0", "0/train/1"], [])]
    said = ClientData("p", [ChatExample(code, (Turn("assistant", text),)) for code, text in SAID.items()], ())
    assert ids(with_languages(People((said,)), ["German", "zh"])) == [("p", ["de", "zh"], [])]


def test_a_language_that_no_sample_is_in_is_told(caplog: pytest.LogCaptureFixture) -> None:
    dataset = people((["French", "French", "Telugu"], ["Telugu"]))
    with pytest.raises(DataError, match="no client has training samples in 'Frnch' or 'it'") as caught:
        with_languages(dataset, ["Frnch", "it"])
    assert caught.value.hint == 'did you mean "French"? there are: French (2), Telugu (2)'
    with caplog.at_level(logging.WARNING):
        with_languages(dataset, ["te", "Italian"])
    assert [record.getMessage() for record in caplog.records] == ["people: no sample is in 'Italian'"]


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langcodes", None)
    with pytest.raises(FedLLMError) as caught:
        with_languages(people((["never asked before"], [])), ["nor this"])
    assert caught.value.hint == hint_of("analysis")
