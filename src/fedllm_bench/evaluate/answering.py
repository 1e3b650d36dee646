"""Models answer the questions of a benchmark; answers are kept batch by batch, so that a stopped evaluation goes on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedllm_bench import records
from fedllm_bench.evaluate.engine import Candidate, Engine, Write
from fedllm_bench.evaluate.questions import Answer, Question
from fedllm_bench.examples import Turn
from fedllm_bench.model.generate import Generated, Prompt
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.progress import SILENT, Progress
from fedllm_bench.store import replacing

__all__ = ["answer", "answers_file", "read_answers"]

VERSION = 2  # raise it when the same settings come to give other answers


def answer(
    benchmark: str,
    asked: Sequence[tuple[Question, Sampling]],
    candidates: Sequence[Candidate],
    engine: Engine,
    seed: int,
    progress: Progress = SILENT,
) -> dict[Path, list[Answer]]:
    """The answers of every candidate to every question, by the candidate's folder.

    A candidate whose answers are there is not asked again. The others answer together, turn by turn: later turns see
    the candidate's own earlier answers. Batches follow from the whole list of prompts; one that was written in part is
    generated again whole. The same question gets the same random numbers from every candidate.

    Args:
        benchmark: its name.
        asked: questions with how their answers are drawn.
        candidates: who answers.
        engine: what they share.
        seed: of the random numbers.
        progress: shows answers and tokens.
    """
    files = {each.folder: answers_file(benchmark, asked, each, engine.identity, seed) for each in candidates}
    left = [candidate for candidate in candidates if not files[candidate.folder].exists()]
    if left:
        with engine.writer.opened(engine, left, seed) as write:
            _Session(benchmark, asked, left, engine, seed, files, write).run(progress)
    return {folder: read_answers(path) for folder, path in files.items()}


def read_answers(path: Path) -> list[Answer]:
    """The answers in a file, in the order of its questions."""
    return [_answer(record) for record in list(records.read(path))[1:]]


def answers_file(
    benchmark: str,
    asked: Sequence[tuple[Question, Sampling]],
    candidate: Candidate,
    engine: Mapping[str, Any],
    seed: int,
) -> Path:
    """Where a candidate's answers are; another name for whatever may change them.

    Args:
        benchmark: its name.
        asked: questions with how their answers are drawn.
        candidate: who answers.
        engine: see `Engine.identity`.
        seed: of the random numbers.
    """
    facts = [VERSION, dict(engine), candidate.identity, seed, [(repr(q), repr(sampling)) for q, sampling in asked]]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return candidate.folder / "generations" / f"{benchmark}-{key}.jsonl"


@dataclass(frozen=True)
class _Session:
    """Candidates that answer together; each has a file of single turns until it has answered all."""

    benchmark: str
    asked: Sequence[tuple[Question, Sampling]]
    candidates: Sequence[Candidate]
    engine: Engine
    seed: int
    files: Mapping[Path, Path]
    write: Write

    def run(self, progress: Progress) -> None:
        for candidate in self.candidates:
            self._turns_file(candidate).parent.mkdir(parents=True, exist_ok=True)
            records.keep(self._turns_file(candidate), lambda record: True)  # a line that a kill tore is no answer
        done = {
            (at, record["question"], record["turn"]): record
            for at, candidate in enumerate(self.candidates)
            for record in records.read(self._turns_file(candidate))
        }
        total = len(self.candidates) * sum(len(question.turns) for question, _ in self.asked)
        with progress.task(f"{self.benchmark}: answers", total, "answers", done=len(done)) as task:
            for turn in range(max(len(question.turns) for question, _ in self.asked)):
                rows = [
                    (at, question)
                    for at in range(len(self.candidates))
                    for question, _ in self.asked
                    if turn < len(question.turns)
                ]
                prompts = [self._prompt(at, question, turn, done) for at, question in rows]
                for chosen in self.engine.writer.batches([prompt for prompt, _ in prompts]):
                    fresh = [i for i in chosen if (rows[i][0], rows[i][1].id, turn) not in done]
                    if not fresh:
                        continue
                    made = self.write([prompts[i][0] for i in chosen])
                    for i, generated in zip(chosen, made, strict=True):
                        at, question = rows[i]
                        done[at, question.id, turn] = self._record(question, turn, generated, prompts[i][1])
                    for at, candidate in enumerate(self.candidates):
                        own = [done[at, rows[i][1].id, turn] for i in fresh if rows[i][0] == at]
                        records.append(self._turns_file(candidate), *own)
                    task.advance(len(fresh))
        for at, candidate in enumerate(self.candidates):
            self._finish(at, candidate, done)

    @cached_property
    def _sampling(self) -> Mapping[str, Sampling]:
        return {question.id: sampling for question, sampling in self.asked}

    def _turns_file(self, candidate: Candidate) -> Path:
        path = self.files[candidate.folder]
        return path.with_name(path.stem + ".turns.jsonl")

    def _prompt(
        self, at: int, question: Question, turn: int, done: Mapping[tuple[int, str, int], Mapping[str, Any]]
    ) -> tuple[Prompt, bool]:
        """The tokens of a question's turn after the candidate's own earlier answers, and whether they were cut."""
        sampling = self._sampling[question.id]
        turns = list(question.history)
        for number in range(turn):
            turns += [Turn("user", question.turns[number]), Turn("assistant", done[at, question.id, number]["text"])]
        ids, cut = self._fitted(self.engine.codec.prompt([*turns, Turn("user", question.turns[turn])]), sampling)
        return Prompt(ids, sampling, (self.benchmark, question.id, turn), adapter=at), cut

    def _fitted(self, ids: NDArray[np.int32], sampling: Sampling) -> tuple[NDArray[np.int32], bool]:
        """The end of a prompt that leaves room for the answer, of half the model's places at most."""
        places = getattr(self.engine.model.model.config.get_text_config(), "max_position_embeddings", None)
        if places is None:
            return ids, False
        most = places - min(sampling.max_new_tokens, places // 2)
        return ids[-most:], len(ids) > most

    def _record(self, question: Question, turn: int, generated: Generated, cut: bool) -> dict[str, Any]:
        text = self.engine.model.tokenizer.decode(list(generated.ids), skip_special_tokens=True).strip()
        return {
            "question": question.id,
            "turn": turn,
            "text": text,
            "stopped": generated.stopped,
            "tokens": len(generated.ids),
            "cut": cut,
        }

    def _finish(self, at: int, candidate: Candidate, done: Mapping[tuple[int, str, int], Mapping[str, Any]]) -> None:
        settings = {"benchmark": self.benchmark, "seed": self.seed, **self.engine.identity, "model": candidate.name}
        with replacing(self.files[candidate.folder]) as scratch:
            lines: list[dict[str, Any]] = [{"settings": settings}]
            for question, _ in self.asked:
                said = [done[at, question.id, turn] for turn in range(len(question.turns))]
                own = {
                    "question": question.id,
                    "prompts": list(question.turns),
                    "category": question.category,
                    "language": question.language,
                    "references": list(question.references),
                    "turns": [each["text"] for each in said],
                    **{name: [each[name] for each in said] for name in ("stopped", "tokens", "cut")},
                }
                lines.append(own)
            records.append(scratch, *lines)
        self._turns_file(candidate).unlink()


def _answer(record: Mapping[str, Any]) -> Answer:
    return Answer(record["question"], *(tuple(record[name]) for name in ("turns", "stopped", "tokens", "cut")))
