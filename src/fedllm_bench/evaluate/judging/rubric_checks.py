"""What a rubric's file must hold to be used, and what its author should know."""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fedllm_bench.errors import DataError

__all__ = ["FIELD", "KEYS", "LANGUAGES", "TEXTS", "doubts", "require_usable"]

Content = Mapping[str, Any]

FIELD = re.compile(r"\{(\w+)\}")
FIELDS = ("question", "answer", "reference", "history", "language", "fence")
NUMBERED = re.compile(r"(question|answer|ref_answer)_([1-9])")
TEXTS = ("system", "plain", "with_reference", "reminder")
TEMPLATES = ("plain", "with_reference")
KEYS = ("name", "version", *TEXTS, "low", "high", "verdicts", "languages")
CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*")
LANGUAGES = {
    "ar": "Arabic",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "pt": "Portuguese",
    "ru": "Russian",
    "te": "Telugu",
    "zh": "Chinese",
}


def require_usable(content: Content, place: str) -> None:
    """Refuse a rubric that lacks something, or has what would be used otherwise than its author means.

    Args:
        content: of its file.
        place: of the file, for the error.

    Raises:
        DataError: it cannot be used; the key and the way out are named.
    """
    _require_keys(content, place)
    _require_kinds(content, place)
    _require_texts(content, place)
    _require_scale(content, place)
    for code, texts in content.get("languages", {}).items():
        own = f"{place}, languages.{code}"
        if not CODE.fullmatch(code):
            raise DataError(f"{own} is no code of a language", _code_hint(code))
        if not isinstance(texts, dict) or not texts.keys() <= set(TEXTS):
            raise DataError(f"{own}: {texts!r}", f"a language has the keys {', '.join(TEXTS)}")
        _require_kinds(texts, own)
        _require_texts(texts, own)


def doubts(benchmark: str, content: Content) -> Iterator[str]:
    """What is allowed, and may not be meant.

    Args:
        benchmark: that the rubric is for.
        content: as `Rubric` has it: its texts, and those of its languages.
    """
    templates = dict(_templates(content))
    open_ones = [key for key, fields in templates.items() if "fence" not in fields]
    if open_ones:
        yield (
            f"{' and '.join(open_ones)} without {{fence}}: an answer may pass for your own words there;"
            " put a line {fence} before and behind each text"
        )
    blind = [key for key, fields in templates.items() if not fields & {"history", "question_1", "answer_1"}]
    if benchmark == "mt-bench" and blind:
        yield f"{' and '.join(blind)} without {{history}}: second turns are judged without the first"


def _require_keys(content: Content, place: str) -> None:
    unknown, lacking = sorted(content.keys() - set(KEYS)), [key for key in ("name", "plain") if key not in content]
    if unknown or lacking:
        raise DataError(
            f"{place}: unknown keys {unknown}, missing keys {lacking}", f"a rubric has the keys {', '.join(KEYS)}"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


# Whether a value will do, and how one is written.
_NUMBER = (_is_number, "a number: {key} = 1")
_KINDS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "low": _NUMBER,
    "high": _NUMBER,
    "verdicts": (_is_table, "a table: verdicts = {{ good = 1.0, bad = 0.0 }}"),
    "languages": (_is_table, "a table for each language: [languages.fr]"),
}
_TEXT = (_is_text, 'a text: {key} = "{value}"')


def _require_kinds(content: Content, place: str) -> None:
    for key, value in content.items():
        will_do, way_out = _KINDS.get(key, _TEXT)
        if not will_do(value):
            raise DataError(f"{place}: {key} = {value!r} is of the wrong kind", way_out.format(key=key, value=value))


def _require_texts(content: Content, place: str) -> None:
    """Names and templates say something, and templates have the answer and no field that stays as it is."""
    for key in ("name", "plain"):
        if key in content and not content[key].strip():
            raise DataError(f"{place}: {key} is empty", "write it; a language may leave the key out")
    for key in TEMPLATES:
        fields = FIELD.findall(content.get(key, ""))
        if content.get(key):
            _require_fields(fields, f"{place}: {key}")


def _require_fields(fields: Sequence[str], template: str) -> None:
    strange = sorted({name for name in fields if name not in FIELDS and not NUMBERED.fullmatch(name)})
    if strange:
        near = difflib.get_close_matches(strange[0], FIELDS, n=1)
        hint = f"did you mean {{{near[0]}}}?" if near else f"fields are {', '.join(FIELDS)}"
        raise DataError(f"{template} has the unknown fields {strange}", hint)
    later = sorted({found[0] for name in fields if (found := NUMBERED.fullmatch(name)) and found[2] != "1"})
    if later:
        raise DataError(
            f"{template} has {{{later[0]}}}, which a first turn does not have",
            "{question} and {answer} are those of the turn that is judged, {history} is what came before",
        )
    if "answer" not in fields:
        raise DataError(f"{template} has no {{answer}}", "put {answer} where the answer is to stand")


def _require_scale(content: Content, place: str) -> None:
    """The scale goes up, and the verdicts are on it."""
    low, high, verdicts = content.get("low", 1.0), content.get("high", 10.0), content.get("verdicts", {})
    if low >= high:
        raise DataError(f"{place}: low = {low:g} is not below high = {high:g}", "low is the worst score, high the best")
    if not all(map(_is_number, verdicts.values())) or not all(word.strip() for word in verdicts):
        raise DataError(
            f"{place}: verdicts = {verdicts!r} are not numbers by words", "such as { good = 1.0, bad = 0.0 }"
        )
    off = {word: score for word, score in verdicts.items() if not low <= score <= high}
    if off and ("low" in content or "high" in content):
        raise DataError(
            f"{place}: verdicts {off!r} are off the scale from {low:g} to {high:g}",
            "give low and high that hold them, or leave both out: verdicts are a scale of their own",
        )


def _code_hint(name: str) -> str:
    codes = {language.casefold(): code for code, language in LANGUAGES.items()}
    near = difflib.get_close_matches(name.casefold(), codes, n=1)
    return f"did you mean [languages.{codes[near[0]]}]?" if near else "codes are such as fr, zh or zh-Hant"


def _templates(content: Content) -> Iterator[tuple[str, set[str]]]:
    """The templates that say something with their fields, those of languages too."""
    for key in TEMPLATES:
        if content.get(key):
            yield key, set(FIELD.findall(content[key]))
    for code, texts in content.get("languages", {}).items():
        yield from ((f"languages.{code}.{key}", fields) for key, fields in _templates(texts))
