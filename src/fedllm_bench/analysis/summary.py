"""One row of the table per method: what it reaches on held-out data and what that took."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fedllm_bench.analysis.frames import Score, copies_note, mean_margin
from fedllm_bench.analysis.methods import Method
from fedllm_bench.analysis.objectives import joined
from fedllm_bench.analysis.stats import (
    Interval,
    mean_interval,
    paired_change,
    perplexity,
    spread,
    worst_decile,
)

__all__ = ["Summary", "caption", "changes", "losses", "privacy_notes", "summarise"]


@dataclass(frozen=True)
class Summary:
    """The row of one method; None where nothing was measured.

    Args:
        method: its name.
        runs: how many runs the numbers come from.
        unfinished: runs that have not finished; left out, unless there is no other (`complete` is false).
        seeds: different seeds among the runs.
        rounds: rounds behind every run.
        clients: how many clients were scored.
        held_out_loss: mean over clients of the loss, in nats per token or per pair.
        weighted_loss: the same, clients weighted by their scored tokens.
        perplexity: exp of the held-out loss, where that is per token.
        token_accuracy: mean over clients of the share of tokens ranked first.
        pair_accuracy: mean over clients of the share of pairs whose preferred answer has the higher reward.
        margin: mean over clients of the difference of the rewards of a pair's answers.
        worst_decile_loss: mean over the tenth of clients with the highest loss.
        spread: standard deviation of the loss over clients.
        own_client_loss: loss of the clients that local runs trained: local runs each on their own client,
            other methods on the same clients.
        difference_to_base: mean over clients of the loss minus the base model's.
        personal_loss: mean over the clients that have a model of their own of its loss.
        personal_change: the same minus what the shared model has on these clients.
        privacy: epsilon spent and what it means; `epsilon` is None where nothing is guaranteed.
        tokens: processed in training, per run.
        flops: floating-point operations of training, per run.
        bytes_up: sent by clients, per run; None for training alone, which sends nothing.
        bytes_down: sent to clients, likewise.
        seconds: taken by the rounds, per run.
        complete: whether every run has finished.
    """

    method: str
    runs: int
    unfinished: int
    seeds: int
    rounds: int
    clients: int
    held_out_loss: Interval | None
    weighted_loss: float | None
    perplexity: float | None
    token_accuracy: float | None
    pair_accuracy: float | None
    margin: float | None
    worst_decile_loss: float | None
    spread: float | None
    own_client_loss: float | None
    difference_to_base: Interval | None
    personal_loss: Interval | None
    personal_change: Interval | None
    privacy: Mapping[str, Any] | None
    tokens: int
    flops: float
    bytes_up: int | None
    bytes_down: int | None
    seconds: float
    complete: bool

    def row(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def losses(method: Method) -> dict[str, float]:
    """Client to held-out loss."""
    return {client: score.loss for client, score in method.scores.items()}


def changes(method: Method) -> dict[str, float]:
    """Client to its held-out loss minus what the base model has on it; empty for a base model."""
    if method.base is None:
        return {}
    before = method.scores_before or method.base.scores
    return paired_change({client: score.loss for client, score in before.items()}, losses(method))


def summarise(methods: Sequence[Method]) -> list[Summary]:
    """A row for each method, in order."""
    return [_summary(method, methods) for method in methods]


def caption(methods: Sequence[Method]) -> str:
    """What the numbers of the table are, in words; unfinished runs are named."""
    clients = sorted({len(method.scores) for method in methods if method.scores})
    over = f"{clients[0]}" if len(clients) == 1 else " to ".join(map(str, clients[:1] + clients[-1:])) or "no"
    text = (
        f"{joined(method.words.loss for method in methods)}, mean over {over} clients; lower is better. Brackets: 95% "
        "bootstrap interval over clients, each averaged over its runs and seeds first. Change: paired on the "
        "same clients. Worst 10%: mean over the tenth of clients with the highest loss."
    )
    if any(method.lone_clients for method in methods):
        text += (
            " Own client: mean over the clients that trained alone, under the model that each trained (local) or that "
            "all trained together."
        )
    if len({frozenset(method.scores) for method in methods if method.scores and method.base is not None}) > 1:
        text += " Not all rows are over the same clients: compare their changes, not their losses."
    own = {len(method.personal) for method in methods if method.personal}
    about_own = "clients that have one, each on its own samples; own to shared: paired on these."
    personal = [f"Own model: of the {max(own)} {about_own}"] if own else []
    if not clients and any(method.complete for method in methods):
        text = "Nothing was scored: no client has held-out samples. Set data.held_out above 0 for a held-out loss."
    runs = [run for method in methods if method.base is not None for run in method.runs]
    unfinished = [_unfinished_note(method) for method in methods if not method.complete]
    copies = [note] if (note := copies_note(runs)) else []
    return " ".join([text, *personal, *dict.fromkeys(privacy_notes(methods)), *unfinished, *copies])


def privacy_notes(methods: Sequence[Method]) -> Iterator[str]:
    """What the epsilons mean, and why there is none where a channel adds noise without a guarantee."""
    for method in methods:
        spent = method.privacy
        if spent is None:
            continue
        if spent["epsilon"] is None:
            yield f"No privacy is guaranteed by {spent['channel']}: {spent['reason']}."
        else:
            yield f"Epsilon at delta = {spent['delta']:.3g}, for datasets that differ by this: {spent['adjacency']}."


def _unfinished_note(method: Method) -> str:
    left = f"* {method.name}: {len(method.runs) - len(method.finished)} of {len(method.runs)} runs not finished"
    if method.finished:
        return f"{left} and left out."
    return f"{left}; numbers are from round {method.evaluated}." if method.evaluated else f"{left}, none evaluated."


def _summary(method: Method, methods: Sequence[Method]) -> Summary:
    scores = list(method.scores.values())
    values = [score.loss for score in scores]
    interval = mean_interval(values) if values else None
    accuracy = statistics.fmean(score.accuracy for score in scores) if scores else None
    by_token = method.words.scores_tokens
    change = changes(method)
    own = {client: score.loss for client, score in method.personal.items()}
    against = paired_change(losses(method), own)
    # The base model cost nothing: what its runs spent, they spent afterwards.
    trained = method.used if method.base is not None else ()
    alone = method.runs[0].algorithm == "local" and method.base is not None
    return Summary(
        method=method.name,
        runs=len(method.used),
        unfinished=0 if method.base is None else len(method.runs) - len(method.finished),
        seeds=len(method.seeds),
        rounds=method.rounds,
        clients=len(scores),
        held_out_loss=interval,
        weighted_loss=_by_tokens(scores) if scores else None,
        perplexity=perplexity(interval.mean) if interval and by_token else None,
        token_accuracy=accuracy if by_token else None,
        pair_accuracy=None if by_token else accuracy,
        margin=mean_margin(scores),
        worst_decile_loss=worst_decile(values) if values else None,
        spread=spread(values) if values else None,
        own_client_loss=_own_client_loss(method, methods),
        difference_to_base=mean_interval(list(change.values())) if change else None,
        personal_loss=mean_interval(list(own.values())) if own else None,
        personal_change=mean_interval(list(against.values())) if against else None,
        privacy=method.privacy,
        tokens=round(_mean(run.spent("tokens") for run in trained)),
        flops=_mean(run.spent("flops") for run in trained),
        bytes_up=None if alone else round(_mean(run.spent("bytes_up") for run in trained)),
        bytes_down=None if alone else round(_mean(run.spent("bytes_down") for run in trained)),
        seconds=_mean(run.seconds for run in trained),
        complete=method.complete,
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return statistics.fmean(found) if found else 0.0


def _by_tokens(scores: Sequence[Score]) -> float:
    return statistics.fmean((score.loss for score in scores), weights=[score.tokens for score in scores])


def _own_client_loss(method: Method, methods: Sequence[Method]) -> float | None:
    """See `Summary.own_client_loss`; only methods from the same base model are compared."""
    if own := method.lone_losses:
        return statistics.fmean(own)
    base = method if method.base is None else method.base
    lone = {client for other in methods if other.base is base for client in other.lone_clients.values()}
    found = [method.scores[client].loss for client in sorted(lone & method.scores.keys())]
    return statistics.fmean(found) if found else None
