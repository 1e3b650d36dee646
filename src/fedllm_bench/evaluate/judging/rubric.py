"""What a judge is told, and which of its words are a score."""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.questions import Answer, Question
from fedllm_bench.examples import Turn

__all__ = ["JudgeItem", "Rubric", "own_rubric", "read_rubric"]

# What an answer may hold to look like a verdict, should the judge quote it.
VERDICT_LIKE = re.compile(r"\[\[(?=[^\[\]\n]{0,24}\]\])")
KEYS = ("name", "version", "system", "plain", "with_reference", "reminder", "low", "high", "verdicts")


@dataclass(frozen=True, slots=True)
class JudgeItem:
    """One answer to be judged.

    Args:
        question: what was asked.
        answer: to all its turns.
        turn: which is judged, from 1; earlier ones are shown.
    """

    question: Question
    answer: Answer
    turn: int = 1


@dataclass(frozen=True)
class Rubric:
    """How answers are judged.

    Templates have the fields {question}, {answer}, {reference}, {history}, {language} and {fence}; with several turns
    also {question_1}, {answer_1}, {ref_answer_1}, {question_2} and so on. `{fence}` is a word that no answer can know:
    what stands between two of them is not the judge's instruction, whatever it says.

    Args:
        name: of the rubric.
        version: raise it when the words change.
        plain: template for answers without a reference.
        with_reference: for those with one; empty: a reference is not shown.
        system: the system's message; empty for none.
        reminder: what a judge is told whose reply has no score.
        low: lowest score.
        high: highest score.
        verdicts: word to score, where a verdict is a word; a number is looked for where there is none.
        later: the templates for a second turn, (plain, with_reference), where they differ.
    """

    name: str
    version: str
    plain: str
    with_reference: str = ""
    system: str = ""
    reminder: str = "Give only the rating, in the form [[rating]], for example: [[5]]."
    low: float = 1.0
    high: float = 10.0
    verdicts: Mapping[str, float] = field(default_factory=dict)
    later: tuple[str, str] | None = None

    @property
    def identity(self) -> str:
        """Name, version and a hash of the words."""
        words = repr((self.plain, self.with_reference, self.system, self.reminder, sorted(self.verdicts.items())))
        return f"{self.name}@{self.version}+{hashlib.sha256(repr((words, self.later)).encode()).hexdigest()[:8]}"

    def messages(self, item: JudgeItem) -> tuple[Turn, ...]:
        """What the judge is told about one answer."""
        question, answers, turn = item.question, item.answer.turns, item.turn
        has_reference = len(question.references) >= turn
        plain, referenced = self.later if self.later is not None and turn > 1 else (self.plain, self.with_reference)
        template = referenced if has_reference and referenced else plain
        shown = {
            "question": question.turns[turn - 1],
            "answer": answers[turn - 1],
            "reference": question.references[turn - 1] if has_reference else "",
            "history": _history(question, answers, turn),
            "language": question.language or "the language of the question",
        }
        for number in range(1, turn + 1):
            shown[f"question_{number}"] = question.turns[number - 1]
            shown[f"answer_{number}"] = answers[number - 1]
            shown[f"ref_answer_{number}"] = question.references[number - 1] if has_reference else ""
        content = _filled(template, {name: _tame(text) for name, text in shown.items()}, _fence(shown))
        told = (Turn("user", content),)
        return (Turn("system", self.system), *told) if self.system else told


def own_rubric(name: str) -> Rubric:
    """A rubric that comes with the package: vicuna, ref-judge or advbench."""
    text = files("fedllm_bench.evaluate.judging").joinpath("rubrics", f"{name}.toml").read_text("utf-8")
    return _rubric(text, name)


def read_rubric(path: Path) -> Rubric:
    """A rubric of the user's.

    Raises:
        DataError: the file cannot be read, or lacks a key.
    """
    try:
        return _rubric(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error})", "a rubric is a TOML file in UTF-8") from error


def _rubric(text: str, place: str) -> Rubric:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{place} is not TOML: {error}", 'long texts stand between """') from error
    unknown, lacking = sorted(content.keys() - set(KEYS)), [key for key in ("name", "plain") if key not in content]
    if unknown or lacking:
        raise DataError(
            f"{place}: unknown keys {unknown}, missing keys {lacking}", f"a rubric has the keys {', '.join(KEYS)}"
        )
    if "{answer}" not in content["plain"]:
        raise DataError(f"{place}: plain has no {{answer}}", "put {answer} where the answer is to stand")
    return Rubric(**{"version": "1", **content})


def _history(question: Question, answers: tuple[str, ...], turn: int) -> str:
    said = [f"{one.role}: {one.content}" for one in question.history]
    for asked, answered in zip(question.turns[: turn - 1], answers, strict=False):
        said += [f"user: {asked}", f"assistant: {answered}"]
    return "\n\n".join(said)


def _tame(text: str) -> str:
    """A text in which nothing looks like a verdict: [[10]] becomes [ [10]]."""
    return VERDICT_LIKE.sub("[ [", text)


def _fence(shown: Mapping[str, str]) -> str:
    """A word that stands in none of the texts: from their hash, hence the same each time."""
    return "TEXT-" + hashlib.sha256(repr(sorted(shown.items())).encode()).hexdigest()[:12]


def _filled(template: str, shown: Mapping[str, str], fence: str) -> str:
    """Each field once, from the template alone: a brace in an answer is a brace."""
    fields = {**shown, "fence": fence}
    return re.sub(r"\{(\w+)\}", lambda found: fields.get(found.group(1), found.group(0)), template)
