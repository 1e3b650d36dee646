"""From a judge's words to a score."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from fedllm_bench.evaluate.judging.rubric import Rubric

__all__ = ["score_of"]

# Thoughts before the reply proper: a whole block, what a template opened for the model, what never ends.
THOUGHTS = tuple(
    re.compile(form, re.DOTALL | re.IGNORECASE)
    for form in (r"<think(?:ing)?>.*?</think(?:ing)?>", r"^.*</think(?:ing)?>", r"<think(?:ing)?>.*$")
)
# What a judge repeats of an answer is not what it says itself.
QUOTED = re.compile(
    r"""^[ \t]*>.*$|"[^"\n]*"|\u201c[^\u201d\n]*\u201d|\u00ab[^\u00bb\n]*\u00bb|`[^`\n]*`|(?<!\w)'[^'\n]*'(?!\w)""",
    re.MULTILINE,
)
NUMBER = r"-?\d+(?:[.,]\d{1,2})?"
WORD = r"(?:rating|score|grade|verdict)"
EDGE = r"[\s*_.\"'`\u201c\u201d]*"

Form = re.Pattern[str]
Said = re.Match[str]


def score_of(reply: str, rubric: Rubric) -> float | None:
    """The score that a judge's reply gives; None where it gives none, two different ones, or one off the scale.

    Of three forms the first that occurs decides: [[5]]; "Rating: 5" as a sentence of its own; a last line that is
    nothing but the verdict. What stands in thoughts or in quotation marks does not count, unless a line is nothing but
    a verdict of the first form in quotation marks.

    Args:
        reply: the judge's words.
        rubric: what it was told.
    """
    text = reply
    for thought in THOUGHTS:
        text = thought.sub("", text)
    text = unicodedata.normalize("NFKC", text).strip()
    words = "|".join(map(re.escape, sorted(rubric.verdicts)))
    for found in _found(text, *_forms(words or NUMBER)):
        values = {_value(one, rubric) for one in found}
        if values:
            return values.pop() if len(values) == 1 else None
    return None


def _found(text: str, bracketed: Form, whole: Form, sentence: Form, alone: Form) -> Iterator[list[Said]]:
    lines = text.splitlines()
    in_line = (whole.match(line) or bracketed.finditer(QUOTED.sub("", line)) for line in lines)
    yield [one for found in in_line for one in ([found] if isinstance(found, re.Match) else found)]
    yield list(sentence.finditer(QUOTED.sub("", text)))
    yield [found for line in lines[-1:] if (found := alone.match(line))]


@lru_cache(maxsize=64)
def _forms(verdict: str) -> tuple[Form, Form, Form, Form]:
    value = rf"(?P<value>{verdict})(?:\s*(?:/|out of)\s*(?P<of>\d+))?"
    bracketed = rf"\[\[\s*{WORD}?[^\w\[\]\n]*?{value}\s*\]\]"
    named = rf"(?:(?:my|the|final|overall)\s+)*{WORD}(?:[ \t]*\([^()\n]*\))?(?:[ \t]+is)?[^\w\n]*?"
    whole = rf"^{EDGE}(?:{named})?{bracketed}{EDGE}$"
    sentence = rf"(?:^|(?<=[.!?])\s+)[ \t*_#-]*{named}{value}[ \t*_)\]]*(?=$|[.;!](?:\s|$))"
    alone = rf"^{EDGE}[\[(]{{0,2}}{value}[\])]*{EDGE}$"
    bare, framed, said, last = (
        re.compile(form, re.IGNORECASE | re.MULTILINE) for form in (bracketed, whole, sentence, alone)
    )
    return bare, framed, said, last


def _value(said: Said, rubric: Rubric) -> float | None:
    """A score on the rubric's scale, or None."""
    word = said["value"]
    if rubric.verdicts:
        return next(score for key, score in rubric.verdicts.items() if key.casefold() == word.casefold())
    value = float(word.replace(",", "."))
    of_another_scale = said["of"] is not None and float(said["of"]) != rubric.high
    return value if rubric.low <= value <= rubric.high and not of_another_scale else None
