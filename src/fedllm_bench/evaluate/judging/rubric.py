"""What a judge is told, and which of its words are a score."""

import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.judging.rubric_checks import FIELD, LANGUAGES, TEXTS, doubts, require_usable
from fedllm_bench.evaluate.judging.taming import fence_for, tame
from fedllm_bench.evaluate.judging.verdict import score_of
from fedllm_bench.evaluate.questions import Answer, Question
from fedllm_bench.examples import Turn

__all__ = ["JudgeItem", "Rubric", "own_rubric", "read_rubric", "turns_of"]


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


def turns_of(questions: Sequence[Question], answers: Sequence[Answer]) -> list[JudgeItem]:
    """Every turn of every answer, as a judge is asked about it."""
    return [
        JudgeItem(question, answer, turn)
        for question, answer in zip(questions, answers, strict=True)
        for turn in range(1, len(question.turns) + 1)
    ]


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
        reminder: what a judge is told whose reply has no score; empty for a sentence that names the form.
        low: lowest score.
        high: highest score.
        verdicts: word to score, where a verdict is a word; a number is looked for where there is none.
        languages: texts that take the place of these for questions in a language, by its code.
        later: for a second turn, where they differ: (system, template) without and with a reference.
    """

    name: str
    version: str
    plain: str
    with_reference: str = ""
    system: str = ""
    reminder: str = ""
    low: float = 1.0
    high: float = 10.0
    verdicts: Mapping[str, float] = field(default_factory=dict)
    languages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    later: tuple[tuple[str, str], tuple[str, str]] | None = None

    @property
    def identity(self) -> str:
        """Name, version and a hash of the words."""
        languages = sorted((code, sorted(texts.items())) for code, texts in self.languages.items())
        texts = [getattr(self, name) for name in TEXTS]
        facts = (texts, self.low, self.high, sorted(self.verdicts.items()), languages, self.later)
        return f"{self.name}@{self.version}+{hashlib.sha256(repr(facts).encode()).hexdigest()[:8]}"

    def messages(self, item: JudgeItem) -> tuple[Turn, ...]:
        """What the judge is told about one answer."""
        question, answers, turn = item.question, item.answer.turns, item.turn
        has_reference = len(question.references) >= turn
        system, template = self._words(question.language, turn, has_reference)
        shown = {
            "question": question.turns[turn - 1],
            "answer": answers[turn - 1],
            "reference": question.references[turn - 1] if has_reference else "",
            "history": _history(question, answers, turn),
            "language": LANGUAGES.get(question.language, question.language) or "the language of the question",
        }
        for number in range(1, turn + 1):
            shown[f"question_{number}"] = question.turns[number - 1]
            shown[f"answer_{number}"] = answers[number - 1]
            shown[f"ref_answer_{number}"] = question.references[number - 1] if has_reference else ""
        tamed = {name: tame(text, template, self.verdicts) for name, text in shown.items()}
        content = _filled(template, tamed, fence_for(shown))
        told = (Turn("user", content),)
        return (Turn("system", system), *told) if system else told

    def doubts(self, benchmark: str) -> list[str]:
        """What its author should know, where a user wrote it: each a sentence."""
        texts = {name: getattr(self, name) for name in (*TEXTS, "languages")}
        return list(doubts(benchmark, texts))

    def reminder_in(self, language: str) -> str:
        """What a judge is told whose reply has no score.

        It holds no example: a judge that repeats what it is told must give no score.
        """
        text = self.languages.get(language, {}).get("reminder") or self.reminder
        if text:
            return text
        if self.verdicts:
            return f"Give only the verdict, in the form [[verdict]], with one of the words {', '.join(self.verdicts)}."
        scale = f"a number from {self.low:g} to {self.high:g}"
        return f"Give only the rating, in the form [[rating]], with {scale} in place of the word."

    def _words(self, language: str, turn: int, has_reference: bool) -> tuple[str, str]:
        """The system's message and the template."""
        if self.later is not None and turn > 1:
            plain, referenced = self.later
            return referenced if has_reference else plain
        texts = {name: getattr(self, name) for name in TEXTS} | dict(self.languages.get(language, {}))
        return texts["system"], texts["with_reference"] if has_reference and texts["with_reference"] else texts["plain"]


def own_rubric(name: str) -> Rubric:
    """A rubric that comes with the package: vicuna, ref-judge or advbench."""
    text = files("fedllm_bench.evaluate.judging").joinpath("rubrics", f"{name}.toml").read_text("utf-8")
    return _rubric(text, name)


def read_rubric(path: Path) -> Rubric:
    """A rubric of the user's.

    Raises:
        DataError: the file cannot be read, or is no rubric that can be used.
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
    require_usable(content, place)
    rubric = Rubric(**{"version": "1", **content})
    for key, told in _told(content):
        if score_of(told, rubric) is not None:
            raise DataError(
                f"{place}: {key} reads as a verdict: a judge that repeats it would be taken at its word",
                "name the form without a value, such as: Rating: [[number]]",
            )
    return rubric


def _told(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The texts that a judge is told, by key."""
    yield from ((key, content[key]) for key in TEXTS if key in content)
    for code, texts in content.get("languages", {}).items():
        yield from ((f"languages.{code}.{key}", text) for key, text in texts.items())


def _history(question: Question, answers: tuple[str, ...], turn: int) -> str:
    said = [f"{one.role}: {one.content}" for one in question.history]
    for asked, answered in zip(question.turns[: turn - 1], answers, strict=False):
        said += [f"user: {asked}", f"assistant: {answered}"]
    return "\n\n".join(said)


def _filled(template: str, shown: Mapping[str, str], fence: str) -> str:
    """Each field once, from the template alone: a brace in an answer is a brace."""
    fields = {**shown, "fence": fence}
    return FIELD.sub(lambda found: fields.get(found.group(1), found.group(0)), template)
