"""How near an answer comes to a reference, and what a model makes of the reference itself; no judge is needed."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedllm_bench.benchmark_scores import ItemScore
from fedllm_bench.evaluate.bench import Embed
from fedllm_bench.evaluate.engine import Candidate, Engine
from fedllm_bench.evaluate.judged_scores import item
from fedllm_bench.evaluate.questions import Answer, Question
from fedllm_bench.examples import Turn
from fedllm_bench.extras import needed
from fedllm_bench.model.layout import Layout, lay_out, plan_micro_batches
from fedllm_bench.model.tokenise import Tokens
from fedllm_bench.progress import SILENT, Progress

__all__ = ["Words", "reference_losses", "similarities", "text_scores"]

NO_REFERENCE = "no reference"
TOKEN_BUDGET = 2048
HEAD_ROWS = 32  # scored places whose logits are opened to fp32 at once
# Thai, Lao, Burmese, Khmer, Chinese, Japanese: scripts that put no blanks between words.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


class Words:
    """The words of a text in any script, for ROUGE, whose own tokenizer knows Latin letters alone."""

    def tokenize(self, text: str) -> list[str]:
        """Runs of letters, digits and marks, capitals lowered; each letter by itself where a script has no blanks."""
        return "".join(map(_spaced, unicodedata.normalize("NFKC", text).casefold())).split()


def _spaced(char: str) -> str:
    if unicodedata.category(char)[0] not in "LMN":
        return " "
    return f" {char} " if UNSPACED.match(char) else char


def text_scores(questions: Sequence[Question], answers: Sequence[Answer]) -> Iterator[ItemScore]:
    """chrF (Popovic 2015) and the F1 of ROUGE-L (Lin 2004) of each last answer and its reference.

    Args:
        questions: in the order of the answers; one without a reference goes unscored.
        answers: an empty one scores 0.

    Raises:
        FedLLMError: a package of the extra `evaluation` is missing.
    """
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
    """The cosine of the embeddings of each last answer and its reference; an empty answer has none.

    Args:
        questions: in the order of the answers; one without a reference goes unscored.
        answers: to them.
        embed: vectors of texts, (texts, dimensions); None where no embedder is here: all go unscored.
    """
    told = [
        (question, answer.turns[-1])
        for question, answer in zip(questions, answers, strict=True)
        if question.references and answer.turns[-1].strip()
    ]
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
    engine: Engine, candidates: Sequence[Candidate], questions: Sequence[Question], progress: Progress = SILENT
) -> list[list[ItemScore]]:
    """For each candidate the mean loss of the words of each reference after its question, in nats a token.

    L = -(1/|y|) sum_t log p(y_t | x, y_<t)

    x is all before the answer as training renders it, y is the reference's own words, without the mark that ends it.
    What is longer than the model takes keeps the last part of x; y is cut where x leaves it less than half.

    Args:
        engine: what the candidates share.
        candidates: each with one adapter.
        questions: of one turn; one without a reference goes unscored.
        progress: shows references as they are scored.
    """
    asked = [question for question in questions if question.references]
    rows = [_fitted(engine.codec.answers(_conversation(question), "last"), _places(engine)) for question in asked]
    pairs = [(at, row) for at in range(len(candidates)) for row in range(len(rows))]
    sums, counts = np.zeros((len(candidates), len(rows))), np.zeros((len(candidates), len(rows)))
    params = engine.stack(candidates)
    batches = plan_micro_batches([len(rows[row].ids) for _, row in pairs], TOKEN_BUDGET) if pairs else []
    with progress.task("losses of references", len(pairs), "references") as task:
        for chosen in batches:
            own = [pairs[i] for i in chosen]
            layout = _laid_out(engine, [rows[row] for _, row in own], [at for at, _ in own])
            with engine.model.adapted(params, layout, training=False):
                loss = _losses(engine.model.scored_logits(layout), layout.targets)
            owner, row = np.asarray(own)[layout.target_rows.cpu().numpy()].T
            np.add.at(sums, (owner, row), loss)
            np.add.at(counts, (owner, row), 1)
            task.advance(len(chosen))
    with np.errstate(invalid="ignore"):
        means = sums / counts
    place = {question.id: row for row, question in enumerate(asked)}
    return [[_loss_item(question, place, own) for question in questions] for own in means]


def _conversation(question: Question) -> list[Turn]:
    return [*question.history, Turn("user", question.turns[-1]), Turn("assistant", question.references[-1])]


def _places(engine: Engine) -> int | None:
    """Most tokens that the model takes, if it says so."""
    most: int | None = getattr(engine.model.model.config.get_text_config(), "max_position_embeddings", None)
    return most


def _fitted(tokens: Tokens, places: int | None) -> Tokens:
    """What of a conversation is passed through the model: none after the answer's last word."""
    scored = np.flatnonzero(tokens.trained)
    if not len(scored):
        return Tokens(tokens.ids[:0], tokens.trained[:0])
    begin, end = int(scored[0]), int(scored[-1]) + 1
    if places is not None and end > places:
        end = begin + min(end - begin, max(places - begin, places // 2))
    start = 0 if places is None else max(0, end - places)
    return Tokens(tokens.ids[start:end], tokens.trained[start:end])


def _laid_out(engine: Engine, rows: Sequence[Tokens], owners: Sequence[int]) -> Layout:
    model = engine.model
    ids, scored, keys = [row.ids for row in rows], [row.trained for row in rows], [0] * len(rows)
    return lay_out(ids, scored, owners, keys, packed=model.packed, pad_id=model.pad_id, device=model.device)


def _losses(logits: Tensor, targets: Tensor) -> NDArray[np.float64]:
    """Loss at each scored place: (places, vocabulary), (places,) -> (places,)."""
    parts = zip(logits.split(HEAD_ROWS), targets.split(HEAD_ROWS), strict=True)
    losses = [cross_entropy(part.float(), target, reduction="none").double().cpu() for part, target in parts]
    return np.concatenate([np.zeros(0), *(loss.numpy() for loss in losses)])


def _loss_item(question: Question, place: Mapping[str, int], means: NDArray[np.float64]) -> ItemScore:
    if question.id not in place:
        return item("ref-loss", question, None, NO_REFERENCE)
    mean = float(means[place[question.id]])
    return item("ref-loss", question, None if np.isnan(mean) else mean, "no token of the reference can be scored")
