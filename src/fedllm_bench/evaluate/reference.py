"""How near an answer comes to a reference, and what a model makes of the reference itself; no judge is needed."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from fedllm_bench.benchmark_scores import ItemScore
from fedllm_bench.evaluate.answering import Candidate, Engine
from fedllm_bench.evaluate.bench import Embed
from fedllm_bench.evaluate.judged_scores import item
from fedllm_bench.evaluate.questions import Answer, Question
from fedllm_bench.examples import Turn
from fedllm_bench.extras import needed
from fedllm_bench.model.layout import lay_out, plan_micro_batches

__all__ = ["Words", "reference_losses", "similarities", "text_scores"]

NO_REFERENCE = "no reference"
TOKEN_BUDGET = 2048
# Scripts that put no blanks between words: each letter is a word.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])[\w\u0300-\u036f\u0900-\u0dff])+")


class Words:
    """The words of a text in any script, for ROUGE, whose own tokenizer knows Latin letters alone."""

    def tokenize(self, text: str) -> list[str]:
        """Runs of letters, digits and marks; single letters where a script has no blanks."""
        return WORD.findall(text.casefold())


def text_scores(questions: Sequence[Question], answers: Sequence[Answer]) -> Iterator[ItemScore]:
    """chrF (Popovic 2015) and the F1 of ROUGE-L (Lin 2004) of each last answer and its reference."""
    chrf: Any = needed("sacrebleu", "evaluation", "chrF").sentence_chrf
    scorer = needed("rouge_score.rouge_scorer", "evaluation", "ROUGE-L").RougeScorer(["rougeL"], tokenizer=Words())
    for question, answer in zip(questions, answers, strict=True):
        if not question.references:
            yield from (item(metric, question, None, NO_REFERENCE) for metric in ("ref-chrf", "ref-rouge-l"))
            continue
        said, reference = answer.turns[-1], question.references[-1]
        yield item("ref-chrf", question, float(chrf(said, [reference]).score))
        yield item("ref-rouge-l", question, float(scorer.score(reference, said)["rougeL"].fmeasure))


def similarities(questions: Sequence[Question], answers: Sequence[Answer], embed: Embed | None) -> Iterator[ItemScore]:
    """The cosine of the embeddings of each last answer and its reference; an empty answer has none."""
    pairs = [
        (question, answer.turns[-1]) for question, answer in zip(questions, answers, strict=True) if question.references
    ]
    told = [(question, said) for question, said in pairs if said.strip()]
    found: dict[str, float] = {}
    if embed is not None and told:
        vectors = embed([said for _, said in told] + [question.references[-1] for question, _ in told])
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
        cosines = (vectors[: len(told)] * vectors[len(told) :]).sum(axis=1)
        found = {question.id: float(cosine) for (question, _), cosine in zip(told, cosines, strict=True)}
    for question in questions:
        reason = NO_REFERENCE if not question.references else "no embedder" if embed is None else "an empty answer"
        yield item("ref-similarity", question, found.get(question.id), reason)


@torch.inference_mode()
def reference_losses(
    engine: Engine, candidates: Sequence[Candidate], questions: Sequence[Question]
) -> list[list[ItemScore]]:
    """For each candidate the mean loss of the words of each reference after its question, in nats a token.

    L = -(1/|y|) sum_t log p(y_t | x, y_<t)
    """
    asked = [question for question in questions if question.references]
    encoded = [engine.codec.answers(_conversation(question), "last") for question in asked]
    most = engine.codec.max_length
    rows = [(tokens.ids[-most:], tokens.trained[-most:]) for tokens in encoded]
    stack = engine.stack(candidates)
    params = None if stack is None else {name: value.to(engine.model.device) for name, value in stack.items()}
    found: list[list[ItemScore]] = []
    for at in range(len(candidates)):
        sums, counts = np.zeros(len(rows)), np.zeros(len(rows))
        for chosen in plan_micro_batches([len(ids) for ids, _ in rows], TOKEN_BUDGET) if rows else []:
            layout = lay_out(
                [rows[i][0] for i in chosen],
                [rows[i][1] for i in chosen],
                [at] * len(chosen),
                [0] * len(chosen),
                packed=engine.model.packed,
                pad_id=engine.model.pad_id,
                device=engine.model.device,
            )
            with engine.model.adapted(params, layout, training=False):
                logits = engine.model.scored_logits(layout).float()
            loss = torch.nn.functional.cross_entropy(logits, layout.targets, reduction="none").double().cpu().numpy()
            owners = np.asarray(chosen)[layout.target_rows.cpu().numpy()]
            np.add.at(sums, owners, loss)
            np.add.at(counts, owners, 1)
        means = {question.id: sums[i] / counts[i] for i, question in enumerate(asked) if counts[i]}
        found.append(
            [
                item(
                    "ref-loss",
                    question,
                    None if (mean := means.get(question.id)) is None else float(mean),
                    NO_REFERENCE,
                )
                for question in questions
            ]
        )
    return found


def _conversation(question: Question) -> list[Turn]:
    return [*question.history, Turn("user", question.turns[-1]), Turn("assistant", question.references[-1])]
