"""From a judge's words to a score."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from fedllm_bench.evaluate.judging.spoken import MARK, own_lines, plain, unfenced, without_thoughts

if TYPE_CHECKING:
    from fedllm_bench.evaluate.judging.rubric import Rubric

__all__ = ["is_verdict", "score_of"]

LONGEST = 100_000  # characters of a reply that is read
NUMBER = r"\d{1,4}(?:[.,]\d{1,2})?"
WORD = r"(?:rating|score|grade|verdict)"
QUOTE = "[\"'`\u201c\u201d]"
# "The rating is not [[10]]", "I would not give it [[10]]", "less than [[10]]".
DENIED = re.compile(r"(?:\b(?:not|never|no|without|than|cannot)|n['\u2019]t)(?:\s+\w+){0,2}[\s\"*_(]*$", re.IGNORECASE)
BEFORE = 80  # characters in which a denial is looked for

Said = re.Match[str]


class _Forms(NamedTuple):
    """Of a verdict.

    Args:
        bracketed: [[5]], anywhere.
        whole: a line that is nothing but that, be it in quotation marks.
        sentence: a line such as "Rating: 5".
        alone: a line that is nothing but the value.
    """

    bracketed: re.Pattern[str]
    whole: re.Pattern[str]
    sentence: re.Pattern[str]
    alone: re.Pattern[str]


def score_of(reply: str, rubric: "Rubric", cut: bool = False) -> float | None:
    """The score that a judge's reply gives; None where it gives none, two different ones, or one off the scale.

    Of three forms the first that occurs decides: [[5]]; "Rating: 5" as a line of its own; a last line that is nothing
    but the verdict. What stands in thoughts, in quotation marks, in block quotes or in code does not count, unless a
    line is nothing but a verdict of the first form in quotation marks.

    Args:
        reply: the judge's words.
        rubric: what it was told.
        cut: the reply was not ended by the judge: the first form counts alone, and in the last line only where there
            is nothing else.
    """
    if len(reply) > LONGEST:
        return None
    text = plain(without_thoughts(reply)).strip()
    forms = _forms(_words(rubric.verdicts))
    for found in _found(text, forms, cut):
        values = {_value(one, rubric) for one in found}
        if values:
            return values.pop() if len(values) == 1 else None
    return None


def is_verdict(line: str, verdicts: Mapping[str, float], last: bool) -> bool:
    """Whether a line would be read as a verdict without brackets.

    Args:
        line: of any text.
        verdicts: of the rubric.
        last: whether it is the text's last one.
    """
    forms, said = _forms(_words(verdicts)), plain(line).strip()
    return bool(forms.sentence.match(said) or (last and forms.alone.match(said)))


def _found(text: str, forms: _Forms, cut: bool) -> Iterator[list[Said]]:
    inside = unfenced(text)
    lines = own_lines(text if inside is None else inside, forms.whole)
    if cut and not forms.whole.match(lines[-1]):
        lines[-1] = MARK
    yield [one for line in lines for one in forms.bracketed.finditer(line) if not _denied(line, one)]
    if not cut and inside is None:
        yield [found for line in lines if (found := forms.sentence.match(line))]
        yield [found for line in lines[-1:] if (found := forms.alone.match(line))]


def _denied(line: str, said: Said) -> bool:
    return DENIED.search(line[max(0, said.start() - BEFORE) : said.start()]) is not None


def _words(verdicts: Mapping[str, float]) -> str:
    """What a verdict may be."""
    return "|".join(map(re.escape, sorted(verdicts))) or NUMBER


@lru_cache(maxsize=64)
def _forms(verdict: str) -> _Forms:
    value, space = rf"(?P<value>{verdict})", r"[\s*_]"
    # Between a name and its value stands nothing that could belong to the value: no sign, no fraction.
    between = rf"(?:\s*[:=]{space}*+|\s+is[\s*_:]++|\s+[-\u2013\u2014]\s+[*_]*+|{space}++)"
    name = rf"(?:{WORD}|\[\[{WORD}\]\])[*_]*+(?:\s*\([^()\n]{{0,40}}\))?[*_]*+{between}"
    named = rf"(?:(?:my|the|final|overall|so|thus|hence|therefore),?\s+)*+{name}"
    inner, outer = _scale("of"), _scale("outer")
    bracketed = rf"\[\[{space}{{0,3}}(?:{WORD}[\s*_:=]{{0,4}})?{value}{inner}{space}{{0,3}}\]\]{outer}"
    whole = (
        rf"[\s*_#-]*+(?P<q>{QUOTE})?{space}*+(?:{named})?(?(q)|(?P<r>{QUOTE})?)(?P<said>{bracketed})(?(r){QUOTE})"
        rf"[\s*_.]*+(?(q){QUOTE})[\s*_.!]*+$"
    )
    one = rf"(?P<open>\[\[?|\()?{space}{{0,3}}{value}(?!\w){inner}{space}{{0,3}}(?(open)[\])]{{1,2}}){outer}"
    end = r"[\s*_.!]*+"
    comment = r"[\s*_]*+(?<=\s)[-\u2013\u2014]\s+[^\W\d_][^\d\n]*+"
    sentence = rf"[\s*_#-]*+{named}{one}(?:{end}|{comment})$"
    alone = rf"{space}*+{one}{end}$"
    return _Forms(*(re.compile(form, re.IGNORECASE) for form in (bracketed, whole, sentence, alone)))


def _scale(name: str) -> str:
    """Perhaps "/10", "out of 10", "(out of 10)" or "/[[10]]"."""
    return rf"(?:[\s*_]{{0,4}}(?:/|\(?out\s+of\s)\s?\[{{0,2}}(?P<{name}>\d{{1,4}})\]{{0,2}}\)?)?"


def _value(said: Said, rubric: "Rubric") -> float | None:
    """A score on the rubric's scale, or None."""
    word = said["value"]
    if rubric.verdicts:
        return next((score for key, score in rubric.verdicts.items() if key.casefold() == word.casefold()), None)
    value = float(word.replace(",", "."))
    scales = {float(scale) for scale in (said["of"], said["outer"]) if scale is not None}
    return value if rubric.low <= value <= rubric.high and scales <= {rubric.high} else None
