"""The result of runs in a sentence or two, no stronger than its intervals."""

from collections.abc import Iterator, Sequence

from fedllm_bench.analysis.methods import Method
from fedllm_bench.analysis.stats import Interval, mean_interval, paired_change
from fedllm_bench.analysis.summary import Summary, losses

__all__ = ["headline"]

Entry = tuple[Method, Summary]


def headline(methods: Sequence[Method], summaries: Sequence[Summary]) -> str:
    """What the best method does to the held-out loss, and how it compares with training alone.

    The best federated method is spoken of, or the best local one where there is no other. "Best" and the sentence come
    from the same clients: with several methods the gain of the best one is a little flattered.
    """
    measured = [
        (method, summary)
        for method, summary in zip(methods, summaries, strict=True)
        if method.base is not None and summary.held_out_loss is not None
    ]
    alone = [entry for entry in measured if entry[0].lone_clients]
    together = [entry for entry in measured if not entry[0].lone_clients]
    best = _best(together) or _best(alone)
    if best is None:
        return "No run has been evaluated after training yet."
    return " ".join([*_against_base(best), *_against_local(best, _best(alone))])


def _best(entries: Sequence[Entry]) -> Entry | None:
    """The lowest held-out loss among finished methods; unfinished ones count where nothing is finished."""

    def rank(entry: Entry) -> tuple[bool, float]:
        summary = entry[1]
        return not summary.complete, summary.held_out_loss.mean if summary.held_out_loss else 0.0

    return min(entries, key=rank, default=None)


def _against_base(best: Entry) -> Iterator[str]:
    method, summary = best
    loss, change = summary.held_out_loss, summary.difference_to_base
    if loss is None:
        return
    state = "" if summary.complete else f" (not finished, round {method.evaluated})"
    if change is None:
        yield f"{method.name}{state} has a held-out loss of {loss.mean:.3f} {method.words.unit}."
        return
    verb = _verb(change, "lowers", "raises", "does not clearly change")
    yield (
        f"{method.name}{state} {verb} the held-out loss of the base model: {loss.mean - change.mean:.3f} to "
        f"{loss.mean:.3f} {method.words.unit}, a change of {change.mean:+.3f} (95% interval {change.low:+.3f} to "
        f"{change.high:+.3f}) over {summary.clients} clients."
    )


def _against_local(best: Entry, local: Entry | None) -> Iterator[str]:
    if local is None or local[0] is best[0]:
        return
    difference = paired_change(losses(local[0]), losses(best[0]))
    if not difference:
        return
    interval = mean_interval(list(difference.values()))
    verb = _verb(interval, "ends below", "ends above", "cannot be told from")
    yield (
        f"On the data of all {len(difference)} clients it {verb} training alone ({local[0].name}): "
        f"{interval.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})."
    )
    yield from _on_own_clients(best, local)


def _on_own_clients(best: Entry, local: Entry) -> Iterator[str]:
    """Who trains alone does it for its own data: there the two may be the other way round."""
    alone, together = local[1].own_client_loss, best[1].own_client_loss
    if alone is None or together is None:
        return
    count = len(set(local[0].lone_clients.values()))
    whose = "the client that trained alone" if count == 1 else f"the {count} clients that trained alone"
    yield f"On the data of {whose}, {local[0].name} has {alone:.3f} and {best[0].name} {together:.3f}."


def _verb(change: Interval, lower: str, higher: str, unclear: str) -> str:
    if 0 in change:
        return unclear
    return lower if change.mean < 0 else higher
