"""A description has the numbers one gets by hand."""

import json
from pathlib import Path

import pytest

from fedllm_bench.data import Description, StoredDataset, describe, write_dataset
from fedllm_bench.examples import ChatExample, ClientData, Turn


def chat(key: str, *texts: str, trained: str = "last") -> ChatExample:
    roles = ("user", "assistant")
    turns = tuple(Turn(roles[n % 2], text) for n, text in enumerate(texts))  # type: ignore[arg-type]
    return ChatExample(key, turns, trained)  # type: ignore[arg-type]


@pytest.fixture
def dataset(tmp_path: Path) -> StoredDataset:
    one = ClientData(
        "one", (chat("1", "a b", "c"), chat("2", "a", "b c", "d e", "f g h")), (chat("3", "a b c", "d e"),)
    )
    two = ClientData("two", (chat("4", "aa bb cc dd", "ee"),), ())
    return write_dataset(tmp_path / "set", "tiny", [one, two], fingerprint="f", source="a test")


@pytest.fixture
def described(dataset: StoredDataset) -> Description:
    return describe(dataset)


def test_totals_are_counted(described: Description) -> None:
    assert (described.name, described.fingerprint) == ("tiny", "f")
    assert (described.clients, described.train, described.test) == (2, 3, 1)


def test_samples_a_client_vary_as_they_do(described: Description) -> None:
    spread = described.measures["training samples"]
    assert (spread.mean, spread.std, spread.min, spread.median, spread.max) == (1.5, 0.5, 1, 1.5, 2)
    assert described.measures["held-out samples"].mean == 0.5


@pytest.mark.parametrize(
    ("measure", "one", "two"),
    [
        ("turns per sample", (2 + 4 + 2) / 3, 2),
        ("words per instruction", (2 + 5 + 3) / 3, 4),
        ("words per response", (1 + 3 + 2) / 3, 1),
        ("characters per instruction", (3 + len("a\nb c\nd e") + 5) / 3, 11),
        ("characters per response", (1 + 5 + 3) / 3, 2),
    ],
)
def test_texts_are_averaged_over_a_client_and_then_over_clients(
    described: Description, measure: str, one: float, two: float
) -> None:
    spread = described.measures[measure]
    assert spread.mean == pytest.approx((one + two) / 2)
    assert spread.std == pytest.approx(abs(one - two) / 2)


def test_all_turns_of_the_assistant_are_responses_when_all_are_trained(tmp_path: Path) -> None:
    both = ClientData("one", (chat("1", "a", "b c", "d e f", "g h i j", trained="all"),), ())
    measures = describe(write_dataset(tmp_path / "set", "tiny", [both], fingerprint="f", source="a test")).measures
    assert measures["words per instruction"].mean == 4
    assert measures["words per response"].mean == 6


def test_rows_are_ready_for_json(described: Description) -> None:
    rows = json.loads(json.dumps(described.rows()))
    assert [row["measure"] for row in rows] == list(described.measures)
    assert set(rows[0]) == {"measure", "mean", "std", "min", "median", "max"}
