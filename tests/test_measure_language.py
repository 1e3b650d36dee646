"""The language of an example is told, or said to be unknown."""

import sys

import pytest

from fedllm_bench.data import languages as data_languages
from fedllm_bench.errors import FedLLMError
from fedllm_bench.examples import ChatExample, Example, PreferenceExample, Turn
from fedllm_bench.extras import hint_of
from fedllm_bench.measure.language import languages

# The eight languages of Fed-Aya.
SAID = [
    ("en", "Which season do you like best, and why?", "I like the autumn, because the woods turn red and gold."),
    ("es", "¿Qué estación del año te gusta más y por qué?", "Me gusta el otoño, porque los bosques se vuelven rojos."),
    ("fr", "Quelle saison préfères-tu, et pourquoi ?", "J'aime l'automne, car les forêts deviennent rouges et dorées."),
    ("pt", "Qual é a estação de que você mais gosta?", "Gosto do outono, porque as florestas ficam vermelhas."),
    ("ru", "Какое время года тебе нравится больше всего?", "Мне нравится осень, потому что леса становятся рыжими."),
    ("zh", "你最喜欢哪个季节？为什么？", "我最喜欢秋天，因为树林会变成红色和金色。"),
    ("ar", "أي فصل من فصول السنة تحب أكثر ولماذا؟", "أحب الخريف لأن الغابات تصبح حمراء وذهبية اللون."),
    ("te", "నీకు ఏ ఋతువు ఎక్కువగా ఇష్టం, ఎందుకు?", "నాకు శరదృతువు ఇష్టం, ఎందుకంటే చెట్లు ఎర్రగా మారుతాయి."),
]


def chat(request: str, reply: str) -> ChatExample:
    return ChatExample("1", (Turn("user", request), Turn("assistant", reply)))


def language_of(example: Example, floor: float = 0.3) -> str:
    (code,) = languages(floor).compute([example])
    return code


@pytest.mark.parametrize(("code", "request_text", "reply"), SAID, ids=[row[0] for row in SAID])
def test_the_languages_of_fed_aya_are_told(code: str, request_text: str, reply: str) -> None:
    assert language_of(chat(request_text, reply)) == code
    assert language_of(PreferenceExample("1", (Turn("user", request_text),), reply, "ok")) == code


@pytest.mark.parametrize("text", ["", "42", "3.14 + 2 = 5.14", "😀😀", "x"])
def test_what_has_no_language_is_undetermined(text: str) -> None:
    assert language_of(chat(text, text)) == "und"


def test_the_floor_decides_what_is_told() -> None:
    short = chat("Tell me a joke.", "")
    assert language_of(short) == "und"
    assert language_of(short, floor=0.05) == "en"
    assert languages().identity != languages(0.05).identity


def test_every_example_of_a_batch_has_its_own_value() -> None:
    examples = [chat(request, reply) for _, request, reply in SAID]
    assert languages().compute(examples) == [code for code, _, _ in SAID]


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    data_languages._classifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(FedLLMError, match=r"language identification: the package py3langid\.langid") as caught:
        language_of(chat("Hello", "there"))
    assert caught.value.hint == hint_of("analysis")
