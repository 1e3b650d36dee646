"""Figure 6 of the paper from runs: privacy against a metric, beside FedAvg without noise and training alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from fedllm_bench.analysis.drawing import GREY, INK, PALETTE, SETTINGS, Drawing
from fedllm_bench.analysis.evaluated import Sample, Slot, models
from fedllm_bench.analysis.frames import Run, pooled
from fedllm_bench.analysis.methods import group
from fedllm_bench.analysis.stats import Interval, mean_interval
from fedllm_bench.benchmark_scores import METRICS
from fedllm_bench.errors import RunError

__all__ = ["LOSS", "Point", "figure6", "points"]

LOSS = "loss"
PREFERRED = ("mt-bench-1", "mt-bench", "vicuna", "ref-judge", "ref-loss")


@dataclass(frozen=True, slots=True)
class Point:
    """What runs of one noise reach.

    Args:
        epsilon: None for runs without noise.
        guaranteed: whether an accountant stands behind it; else the paper's formula claims it.
        name: of lines: the method.
        value: of the metric, with its interval.
    """

    epsilon: float | None
    guaranteed: bool
    name: str
    value: Interval


def figure6(runs: Sequence[Run], metric: str | None = None) -> Drawing:
    """The figure.

    Args:
        runs: with noise of several sizes, and without.
        metric: a name from `METRICS`, or "loss" on held-out samples; None takes the first that runs are scored by.

    Raises:
        RunError: no such metric, or nothing to draw.
    """
    chosen = metric or _first_known(runs)
    if chosen != LOSS and chosen not in METRICS:
        raise RunError(f"--metric: {chosen!r} is no metric", f"one of {', '.join([LOSS, *METRICS])}")
    found = points(runs, chosen)
    if not any(point.epsilon is not None for point in found):
        raise RunError(
            f"no run with an epsilon has {chosen}",
            "fedllm-bench run experiments/paper/figure6.toml, then fedllm-bench eval on its folder",
        )
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.8, 3.4), facecolor="none")
        _draw(figure.subplots(), found, _unit(chosen))
    return Drawing("figure6", "Privacy against quality: FedAvg with noise, without, and training alone", figure)


def points(runs: Sequence[Run], metric: str) -> list[Point]:
    """A point for each epsilon, a line for FedAvg without noise and for training alone, where they have the metric."""
    shown = [
        (run, _spent(run))
        for method in group(runs)
        if method.base is not None and method.runs[0].algorithm in ("fedavg", "local")
        for run in method.used
    ]
    by_place: dict[tuple[float | None, bool, str], list[Run]] = {}
    for run, spent in shown:
        if spent is not None or not run.experiment.get("channel"):
            epsilon, guaranteed = spent or (None, False)
            by_place.setdefault((epsilon, guaranteed, NAMES[run.algorithm]), []).append(run)
    return [
        Point(*place, value)
        for place, members in sorted(by_place.items(), key=lambda item: item[0][0] or math.inf)
        if (value := _value(members, metric)) is not None
    ]


NAMES = {"fedavg": "FedAvg without noise", "local": "local training"}


def _spent(run: Run) -> tuple[float, bool] | None:
    """The epsilon that is guaranteed, or else the one claimed, and which of the two it is."""
    spent = run.privacy or {}
    if spent.get("epsilon") is not None:
        return float(spent["epsilon"]), True
    claimed = spent.get("claimed_epsilon") or next(_claims(run), None)
    return None if not claimed else (float(claimed), False)


def _claims(run: Run) -> Iterator[float]:
    for channel in run.experiment.get("channel", ()):
        if channel["name"] == "paper-noise" and channel["options"].get("epsilon"):
            yield channel["options"]["epsilon"]


def _value(runs: Sequence[Run], metric: str) -> Interval | None:
    if metric != LOSS:
        return Slot((Sample(tuple(models(runs)), METRICS[metric]),)).interval()
    losses = [score.loss for score in pooled(run.latest for run in runs).values()]
    return mean_interval(losses) if losses else None


def _first_known(runs: Sequence[Run]) -> str:
    own = models(runs)
    return next((name for name in PREFERRED if Slot.of(own, name).known), LOSS)


def _unit(metric: str) -> str:
    if metric == LOSS:
        return "held-out loss (lower is better)"
    return f"{METRICS[metric].title}\n({METRICS[metric].unit})"


def _draw(axes: Axes, found: Sequence[Point], unit: str) -> None:
    for guaranteed, fill, label in (
        (True, PALETTE[1], "guaranteed epsilon"),
        (False, "none", "claimed, not guaranteed"),
    ):
        own = [point for point in found if point.epsilon is not None and point.guaranteed is guaranteed]
        if own:
            axes.errorbar(
                [point.epsilon for point in own if point.epsilon is not None],
                [point.value.mean for point in own],
                yerr=[
                    [point.value.mean - point.value.low for point in own],
                    [point.value.high - point.value.mean for point in own],
                ],
                fmt="o-" if guaranteed else "o--",
                color=PALETTE[1],
                markerfacecolor=fill,
                capsize=3,
                lw=1.2,
                label=f"FedAvg with noise: {label}",
            )
    for place, point in enumerate(point for point in found if point.epsilon is None):
        color = (PALETTE[2], GREY)[place % 2]
        axes.axhspan(point.value.low, point.value.high, color=color, alpha=0.12, linewidth=0)
        axes.axhline(point.value.mean, color=color, ls=("-.", ":")[place % 2], lw=1.3, label=point.name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("epsilon (less is more private)")
    axes.set_ylabel(unit)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    figure = axes.get_figure()
    if isinstance(figure, Figure):
        figure.legend(loc="outside lower center", ncols=1)
