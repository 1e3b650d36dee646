"""The paper's own test sets of Ref-Judge, read from a copy of the user's."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedllm_bench.data.raw import data_folder, find
from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.questions import Question

__all__ = ["LANGUAGES", "TEST_SETS", "TestSet", "code_of", "official"]

# As the datasets of the paper name them (sections 3.2 and 4.2), to BCP 47.
LANGUAGES: Mapping[str, str] = {
    "Standard Arabic": "ar",
    "English": "en",
    "Spanish": "es",
    "French": "fr",
    "Portuguese": "pt",
    "Russian": "ru",
    "Telugu": "te",
    "Simplified Chinese": "zh",
    "Chinese": "zh",
    "Traditional Chinese": "zh-Hant",
    "Urdu": "ur",
    "Iranian Persian": "fa",
    "Italian": "it",
    "German": "de",
    "Polish": "pl",
    "Ukrainian": "uk",
    "Japanese": "ja",
    "Korean": "ko",
}


def code_of(language: str) -> str:
    """The code of a language of the paper's datasets; any other name stays as it is."""
    return LANGUAGES.get(language.replace("_", " "), language)


@dataclass(frozen=True, slots=True)
class TestSet:
    """A file of the paper's repository.

    Args:
        file: below the folder that FEDLLM_BENCH_DATA names.
        read: its questions.
    """

    __test__ = False  # pytest takes names that begin so for its own

    file: str
    read: Callable[[Any], Iterator[Question]]


def official(dataset: str) -> list[Question] | None:
    """The paper's test set of a dataset; None where the paper has none, or no copy is here.

    Raises:
        DataError: the copy is no such file.
    """
    known = TEST_SETS.get(dataset)
    path = None if known is None else find(known.file, (data_folder(),))
    return None if known is None or path is None else _questions(known, path)


def _questions(known: TestSet, path: Path) -> list[Question]:
    try:
        return list(known.read(json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DataError(
            f"{path} is not the paper's test set ({error!r})",
            "take the file of the paper's repository as it is, or remove this one",
        ) from error


def _aya(content: Mapping[str, list[Mapping[str, str]]]) -> Iterator[Question]:
    """So many of each language, each with a reference that a human wrote."""
    for name, rows in content.items():
        for number, row in enumerate(rows):
            yield Question(
                id=f"{code_of(name)}-{number}",
                turns=(row["instruction"],),
                language=code_of(name),
                references=(row["reference"],),
            )


def _wildchat(content: list[Mapping[str, str]]) -> Iterator[Question]:
    """Instructions of unseen users; the paper has no references to them."""
    for number, row in enumerate(content):
        yield Question(id=str(number), turns=(row["instruction"],), language=code_of(row["language"]))


_AYA = TestSet("fedllm_bench_testsets/aya_eval_8lang_x20.json", _aya)

TEST_SETS: Mapping[str, TestSet] = {
    "fed-aya": _AYA,
    "fed-aya-wide": _AYA,
    "fed-wildchat": TestSet("fedllm_bench_testsets/wildchat_testset.json", _wildchat),
}
