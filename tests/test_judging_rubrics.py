"""A rubric's file is used as its author means it, or refused with the key and the way out."""

from pathlib import Path

import pytest

from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.judging.rubric import Rubric, own_rubric, read_rubric

PLAIN = 'plain = "{answer}"'


def read(text: str, folder: Path) -> Rubric:
    path = folder / "mine.toml"
    path.write_text(text)
    return read_rubric(path)


BROKEN = {
    "an empty template": ('name = "m"\nplain = ""', "plain is empty", "write it"),
    "an empty name": (f'name = " "\n{PLAIN}', "name is empty", "write it"),
    "an empty template of a language": (
        f'name = "m"\n{PLAIN}\n[languages.fr]\nplain = ""', "languages.fr: plain is empty", "leave the key out"
    ),
    "a scale upside down": (f'name = "m"\n{PLAIN}\nlow = 10\nhigh = 1', "low = 10 is not below high = 1", "worst"),
    "a scale of one value": (f'name = "m"\n{PLAIN}\nlow = 10', "low = 10 is not below high = 10", "worst"),
    "no number": (f'name = "m"\n{PLAIN}\nhigh = nan', "high = nan is of the wrong kind", "a number: high = 1"),
    "no end": (f'name = "m"\n{PLAIN}\nhigh = inf', "high = inf is of the wrong kind", "a number"),
    "a truth": (f'name = "m"\n{PLAIN}\nlow = true', "low = True is of the wrong kind", "a number: low = 1"),
    "a version that is a number": (
        f'name = "m"\nversion = 2\n{PLAIN}', "version = 2 is of the wrong kind", 'a text: version = "2"'
    ),
    "a verdict that is a truth": (f'name = "m"\n{PLAIN}\nverdicts = {{ good = true }}', "are not numbers", "good"),
    "a verdict without a word": (f'name = "m"\n{PLAIN}\nverdicts = {{ "" = 1 }}', "are not numbers by words", "good"),
    "verdicts off the scale": (
        f'name = "m"\n{PLAIN}\nlow = 1\nhigh = 10\nverdicts = {{ good = 100, bad = 0 }}',
        "'good': 100, 'bad': 0.* are off the scale from 1 to 10", "leave both out",
    ),
    "a turn that the first has not": (
        'name = "m"\nplain = "{question_2} {answer}"', r"plain has \{question_2\}, which a first turn", "{history}"
    ),
    "a language by its name": (
        f'name = "m"\n{PLAIN}\n[languages.french]\n{PLAIN}', "languages.french is no code", "languages.fr]?"
    ),
    "a language of nobody": (f'name = "m"\n{PLAIN}\n[languages.klingonese]\n{PLAIN}', "is no code", "zh-Hant"),
    "an answer misspelt": ('name = "m"\nplain = "{anwser}"', r"unknown fields \['anwser'\]", "did you mean {answer}?"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words", "hint"), BROKEN.values(), ids=BROKEN)
def test_a_rubric_that_would_be_used_otherwise_than_meant_is_refused(
    text: str, words: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(text, tmp_path)
    assert hint in str(caught.value.hint) and str(tmp_path / "mine.toml") in caught.value.message


def test_verdicts_are_a_scale_of_their_own_and_codes_of_languages_may_have_parts(tmp_path: Path) -> None:
    rubric = read(f'name = "m"\n{PLAIN}\nverdicts = {{ good = 100, bad = 0 }}\n[languages.zh-Hant]\n{PLAIN}', tmp_path)
    assert rubric.verdicts == {"good": 100, "bad": 0} and "zh-Hant" in rubric.languages


def test_a_template_without_a_fence_is_doubted_and_so_is_a_second_turn_without_the_first(tmp_path: Path) -> None:
    fenced = "{fence}\\n{answer}\\n{fence}"
    (doubt,) = read(f'name = "m"\nplain = "{fenced}"\nwith_reference = "{{answer}}"', tmp_path).doubts("vicuna")
    assert doubt.startswith("with_reference without {fence}")
    (doubt,) = read(f'name = "m"\nplain = "{fenced}"\n[languages.fr]\n{PLAIN}', tmp_path).doubts("ref-judge")
    assert doubt.startswith("languages.fr.plain without {fence}")
    (doubt,) = read(f'name = "m"\nplain = "{fenced}"', tmp_path).doubts("mt-bench")
    assert doubt == "plain without {history}: second turns are judged without the first"
    assert read(f'name = "m"\nplain = "{{history}} {fenced}"', tmp_path).doubts("mt-bench") == []
    assert [own_rubric(name).doubts(name) for name in ("vicuna", "ref-judge", "advbench")] == [[], [], []]
