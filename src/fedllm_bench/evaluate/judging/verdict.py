"""From a judge's words to a score."""

import re
import unicodedata

from fedllm_bench.evaluate.judging.rubric import Rubric

__all__ = ["score_of"]

THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)", re.DOTALL | re.IGNORECASE)
NUMBER = r"(-?\d+(?:[.,]\d+)?)\s*(?:/\s*\d+)?"
# From the form that is asked for to what judges write instead; the first form that occurs decides.
FORMS = (
    re.compile(rf"\[\[\s*(?:rating|score)?[^\w-]{{0,3}}{NUMBER}\s*\]\]", re.IGNORECASE),
    re.compile(rf"(?:rating|score|grade|verdict)(?:\s+is)?[^\w-]{{0,8}}{NUMBER}", re.IGNORECASE),
    re.compile(rf"^\W*{NUMBER}\W*$"),
)


def score_of(reply: str, rubric: Rubric) -> float | None:
    """The score that a judge's reply gives; None where it gives none, two different ones, or one off the scale.

    Thoughts before the reply proper do not count.

    Args:
        reply: the judge's words.
        rubric: what it was told.
    """
    text = unicodedata.normalize("NFKC", THOUGHT.sub("", reply)).strip()
    if rubric.verdicts:
        return _word(text, rubric)
    for form in FORMS:
        values = {float(found.group(1).replace(",", ".")) for found in form.finditer(text)}
        if values:
            (value, *others) = values
            return value if not others and rubric.low <= value <= rubric.high else None
    return None


def _word(text: str, rubric: Rubric) -> float | None:
    bracketed = re.findall(r"\[\[\s*([^\[\]]+?)\s*\]\]", text)
    said = {word.casefold() for word in (bracketed or [text.strip(" .*[]\"'")])}
    scores = {rubric.verdicts.get(word) for word in said}
    return next(iter(scores)) if len(scores) == 1 else None
