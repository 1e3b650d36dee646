"""Figure 6 of the paper from runs: what is drawn, and how."""

import difflib
import math
from collections.abc import Iterator, Sequence
from itertools import cycle
from textwrap import fill

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from fedllm_bench.analysis.beside import Beside
from fedllm_bench.analysis.drawing import GREY, INK, PALETTE, SETTINGS, Drawing
from fedllm_bench.analysis.evaluated import Sample, models
from fedllm_bench.analysis.frames import Run
from fedllm_bench.analysis.privacy_points import LOSS, Point, Spent, drawn, points, spent, used
from fedllm_bench.analysis.terms import names_of
from fedllm_bench.analysis.ways import evaluation
from fedllm_bench.benchmark_scores import METRICS
from fedllm_bench.errors import RunError

__all__ = ["figure6"]

PREFERRED = ("mt-bench-1", "mt-bench", "vicuna", "ref-judge", "ref-loss")
CLOSEST = 0.09  # share of the axis: ticks that are nearer would write over one another
CAPTION = 58  # characters in a line below the figure


def figure6(runs: Sequence[Run], metric: str | None = None) -> Drawing:
    """The figure.

    Args:
        runs: with noise of several sizes, and without.
        metric: a name from `METRICS`, or "loss" on held-out samples; None takes the first that runs are scored by.

    Raises:
        RunError: no such metric, nothing to draw, or scores that do not go together.
    """
    chosen = metric or _first_known(runs)
    _require_metric(chosen)
    sample = _sample(runs, chosen)
    found = points(runs, chosen)
    if not any(point.spent for point in found):
        raise _nothing(runs, chosen)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.8, 3.8), facecolor="none")
        _draw(figure, figure.subplots(), found, _unit(chosen), _below(found, sample))
    return Drawing("figure6", "Privacy against quality: FedAvg with noise, without, and training alone", figure)


def _require_metric(name: str) -> None:
    known = [LOSS, *METRICS]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"one of {', '.join(known)}"
        raise RunError(f"--metric: {name!r} is no metric", hint)


def _sample(runs: Sequence[Run], metric: str) -> Sample | None:
    """The scores of all points together; None for the held-out loss.

    Raises:
        RunError: points are not to be compared.
    """
    if metric == LOSS:
        return None
    shown = used(runs)
    sample = Sample(tuple(models(shown)), METRICS[metric])
    if sample.mixed:
        folders = dict.fromkeys(str(run.path) for run in shown)
        beside = Beside(tuple(scores for model in sample.models for scores in model.scores.values()))
        raise RunError(
            f"figure 6 cannot show {metric}: {sample.mixed}",
            evaluation(folders, sample.metric.benchmark, sample.metric.judged, beside),
        )
    return sample


def _nothing(runs: Sequence[Run], metric: str) -> RunError:
    """Why no point has an epsilon."""
    noisy = [run for run in runs if run.experiment.get("channel")]
    if not any(map(spent, noisy)) and any(_has_sigma(run) for run in noisy):
        return RunError(
            "these runs have a sigma and no epsilon",
            "fedllm-bench table 8 with these runs shows noise of a fixed sigma",
        )
    return RunError(
        f"no run with an epsilon has {metric}",
        "fedllm-bench run experiments/paper/figure6.toml, then fedllm-bench eval on its folder; "
        "--metric loss draws the held-out loss",
    )


def _has_sigma(run: Run) -> bool:
    return any(channel.get("options", {}).get("sigma") for channel in run.experiment["channel"])


def _first_known(runs: Sequence[Run]) -> str:
    """The first metric that runs with an epsilon are scored by: without them there is nothing to draw."""
    noisy = models(run for run in drawn(runs) if spent(run) is not None)
    return next((name for name in PREFERRED if Sample(tuple(noisy), METRICS[name]).replicas), LOSS)


# --- words


def _unit(metric: str) -> str:
    if metric == LOSS:
        return "held-out loss (lower is better)"
    return f"{METRICS[metric].title}\n({METRICS[metric].unit})"


def _delta(found: Sequence[Spent]) -> str:
    """The deltas of all epsilons."""
    deltas = sorted({each.delta for each in found if each.delta is not None})
    return f" at delta = {' or '.join(f'{delta:.3g}' for delta in deltas)}" if deltas else ""


def _below(found: Sequence[Point], sample: Sample | None) -> str:
    """Who judged, and what is behind a point."""
    judges = sorted(set(names_of(sample.judges).values())) if sample else []
    what = "questions" if sample else "clients"
    parts = [
        f"Judged by {', '.join(judges)}." if judges else "",
        f"Of each point {_range(point.n for point in found)} {what}, runs: {_range(point.runs for point in found)}; "
        "bars and bands: 95% intervals.",
    ]
    return fill(" ".join(filter(None, parts)), CAPTION)


def _range(counts: Iterator[int]) -> str:
    known = sorted(set(counts))
    return str(known[0]) if len(known) == 1 else f"{known[0]} to {known[-1]}"


# --- drawing


def _draw(figure: Figure, axes: Axes, found: Sequence[Point], unit: str, below: str) -> None:
    noisy = [(point.spent, point) for point in found if point.spent is not None]
    series = dict.fromkeys((point.name, privacy.guaranteed) for privacy, point in noisy)
    colors = dict(zip(dict.fromkeys(name for name, _ in series), cycle((PALETTE[1], *PALETTE[3:])), strict=False))
    for name, guaranteed in series:
        own = [each for each in noisy if (each[1].name, each[0].guaranteed) == (name, guaranteed)]
        axes.errorbar(
            [privacy.epsilon for privacy, _ in own],
            [point.value.mean for _, point in own],
            yerr=[
                [point.value.mean - point.value.low for _, point in own],
                [point.value.high - point.value.mean for _, point in own],
            ],
            fmt="o-" if guaranteed else "o--",
            color=colors[name],
            markerfacecolor=colors[name] if guaranteed else "none",
            capsize=3,
            lw=1.2,
            label=f"{name} with noise: {'guaranteed epsilon' if guaranteed else 'claimed, not guaranteed'}",
        )
    for place, point in enumerate(point for point in found if point.spent is None):
        color, style = (PALETTE[2], GREY)[place % 2], ("-.", ":", "--", "-")[place % 4]
        axes.axhspan(point.value.low, point.value.high, color=color, alpha=0.12, linewidth=0)
        axes.axhline(point.value.mean, color=color, ls=style, lw=1.3, label=point.name)
    axes.set_xscale("log")
    ticks = _ticks(sorted({privacy.epsilon for privacy, _ in noisy}))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{tick:.3g}" for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"epsilon{_delta([privacy for privacy, _ in noisy])} (less is more private)\n\n{below}")
    axes.set_ylabel(unit)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=1)


def _ticks(values: Sequence[float]) -> list[float]:
    """The points' own values, but for those too near to the one before."""
    width = math.log(values[-1] / values[0])
    kept = [values[0]]
    for value in values[1:]:
        if math.log(value / kept[-1]) >= CLOSEST * width:
            kept.append(value)
    return kept
