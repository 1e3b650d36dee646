"""Clients are encoded once, when they are asked for, and read back row by row."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedllm_bench.examples import ChatExample, ClientData, Turn
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.objectives.sft import SFT
from made_up import People, people
from small_parts import language_model, sft

CROWD = people(4, 3, 5)


@pytest.fixture(scope="module")
def objective(tiny_model: Path) -> SFT:
    return sft(language_model(tiny_model))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.safetensors"))


def rows(part: Any) -> list[tuple[list[int], list[bool]]]:
    return [(row["ids"].tolist(), row["trained"].tolist()) for row in (part[i] for i in range(len(part)))]


def test_rows_come_back_as_the_codec_made_them(objective: SFT, tmp_path: Path) -> None:
    encoded = EncodedClients(CROWD, objective, tmp_path)
    for _ in range(2):  # encoded now, then read
        part = encoded.part(1, "train")
        expected = [objective.codec.tokens(example.turns, "last") for example in CROWD.members[1].train]
        assert rows(part) == [(tokens.ids.tolist(), tokens.trained.tolist()) for tokens in expected]
        assert part[0]["ids"].dtype == np.int32
        with pytest.raises(IndexError):
            part[3]


def test_only_clients_that_are_asked_for_are_encoded_and_only_once(objective: SFT, tmp_path: Path) -> None:
    class Counting(People):
        def load(self, index: int) -> ClientData:
            loaded.append(index)
            return super().load(index)

    loaded: list[int] = []
    for _ in range(2):
        encoded = EncodedClients(Counting(CROWD.members), objective, tmp_path)
        encoded.part(2, "train")
        encoded.part(0, "test")
    assert loaded == [2, 0]
    assert files(tmp_path) == ["0.test.safetensors", "2.train.safetensors"]


def test_other_data_or_another_objective_never_meet_in_the_cache(tiny_model: Path, tmp_path: Path) -> None:
    model = language_model(tiny_model)
    folders = [
        EncodedClients(crowd, sft(model, **changes), tmp_path).folder  # type: ignore[arg-type]
        for crowd, changes in [
            (CROWD, {}),
            (people(4, 3), {}),
            (CROWD, {"max_length": 99}),
            (CROWD, {"template": "vicuna"}),
        ]
    ]
    assert len(set(folders)) == 4
    assert EncodedClients(CROWD, sft(model), tmp_path).folder == folders[0]


@pytest.mark.parametrize("left", [0, 6, 300])
def test_a_damaged_file_costs_an_encoding_and_no_more(objective: SFT, tmp_path: Path, left: int) -> None:
    encoded = EncodedClients(CROWD, objective, tmp_path)
    before = rows(encoded.part(0, "train"))
    (path,) = tmp_path.rglob("0.train.safetensors")
    path.write_bytes(path.read_bytes()[:left])
    assert rows(encoded.part(0, "train")) == before


def test_a_client_without_a_usable_example_has_no_rows_and_says_why(objective: SFT, tmp_path: Path) -> None:
    silent = [ChatExample(str(i), (Turn("user", "And?"), Turn("assistant", ""))) for i in range(2)]
    crowd = People((ClientData("silent", silent, []),))
    for _ in range(2):
        part = EncodedClients(crowd, objective, tmp_path).part(0, "train")
        assert (len(part), dict(part.notes)) == (0, {"empty response": 2})
        assert len(EncodedClients(crowd, objective, tmp_path).part(0, "test")) == 0
