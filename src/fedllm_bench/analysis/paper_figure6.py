"""Figure 6 of the paper from runs: privacy against a metric, beside FedAvg without noise and training alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from fedllm_bench.analysis.drawing import GREY, INK, PALETTE, SETTINGS, Drawing
from fedllm_bench.analysis.evaluated import Sample, Slot, models
from fedllm_bench.analysis.frames import Run, pooled
from fedllm_bench.analysis.methods import group
from fedllm_bench.analysis.stats import Interval, mean_interval
from fedllm_bench.analysis.ways import evaluation
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
        name: of the method, with the settings besides noise that tell it from others.
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
        RunError: no such metric, nothing to draw, or scores that do not go together.
    """
    chosen = metric or _first_known(runs)
    if chosen != LOSS and chosen not in METRICS:
        raise RunError(f"--metric: {chosen!r} is no metric", f"one of {', '.join([LOSS, *METRICS])}")
    found = points(runs, chosen)
    if not any(point.epsilon is not None for point in found):
        raise RunError(
            f"no run with an epsilon has {chosen}",
            "fedllm-bench run experiments/paper/figure6.toml, then fedllm-bench eval on its folder; "
            "--metric loss draws the held-out loss",
        )
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.8, 3.4), facecolor="none")
        _draw(figure.subplots(), found, _unit(chosen))
    return Drawing("figure6", "Privacy against quality: FedAvg with noise, without, and training alone", figure)


def points(runs: Sequence[Run], metric: str) -> list[Point]:
    """A point for each epsilon, a line for FedAvg without noise and for training alone, where they have the metric."""
    by_place = _by_place(runs)
    if metric != LOSS:
        _require_alike([run for members in by_place.values() for run in members], metric)
    return [
        Point(epsilon, guaranteed, _title(name, epsilon), value)
        for (epsilon, guaranteed, name, _), members in sorted(by_place.items(), key=_order)
        if (value := _value(members, metric)) is not None
    ]


# Epsilon, whether it is guaranteed, the method's name without and with its noise.
Place = tuple[float | None, bool, str, str]


def _by_place(runs: Sequence[Run]) -> dict[Place, list[Run]]:
    """Runs that differ in seed and client alone."""
    noiseless = {
        run.path: " ".join([NAMES[run.algorithm], *method.name.split()[1:]])
        for method in group([replace(run, experiment={**run.experiment, "channel": []}) for run in _drawn(runs)])
        for run in (method.runs if method.base is not None else ())
    }
    found: dict[Place, list[Run]] = {}
    for method in group(_drawn(runs)):
        for run in method.used if method.base is not None else ():
            epsilon, guaranteed = _spent(run) or (None, False)
            found.setdefault((epsilon, guaranteed, noiseless[run.path], method.name), []).append(run)
    return found


def _title(name: str, epsilon: float | None) -> str:
    return f"{name} without noise" if epsilon is None and not name.startswith(NAMES["local"]) else name


def _order(item: tuple[Place, list[Run]]) -> tuple[float, str, str]:
    (epsilon, _, name, full), _ = item
    return epsilon or math.inf, name, full


def _drawn(runs: Sequence[Run]) -> list[Run]:
    """FedAvg and local training, each without channels or with an epsilon."""
    known = (run for run in runs if run.algorithm in NAMES)
    return [run for run in known if not run.experiment.get("channel") or _spent(run) is not None]


def _require_alike(runs: Sequence[Run], metric: str) -> None:
    """Refuse points that are not to be compared."""
    sample = Sample(tuple(models(runs)), METRICS[metric])
    if sample.mixed:
        folders = dict.fromkeys(str(run.path) for run in runs)
        raise RunError(
            f"figure 6 cannot show {metric}: {sample.mixed}",
            evaluation(folders, [sample.metric.benchmark], sample.metric.judged),
        )


NAMES = {"fedavg": "FedAvg", "local": "local training"}


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
    """The first metric that runs with an epsilon are scored by: without them there is nothing to draw."""
    noisy = models(run for run in _drawn(runs) if _spent(run) is not None)
    return next((name for name in PREFERRED if Sample(tuple(noisy), METRICS[name]).replicas), LOSS)


def _unit(metric: str) -> str:
    if metric == LOSS:
        return "held-out loss (lower is better)"
    return f"{METRICS[metric].title}\n({METRICS[metric].unit})"


def _draw(axes: Axes, found: Sequence[Point], unit: str) -> None:
    noisy = [point for point in found if point.epsilon is not None]
    series = dict.fromkeys((point.name, point.guaranteed) for point in noisy)
    colors = dict(zip(dict.fromkeys(name for name, _ in series), cycle((PALETTE[1], *PALETTE[3:])), strict=False))
    for name, guaranteed in series:
        own = [point for point in noisy if (point.name, point.guaranteed) == (name, guaranteed)]
        axes.errorbar(
            [point.epsilon for point in own if point.epsilon is not None],
            [point.value.mean for point in own],
            yerr=[
                [point.value.mean - point.value.low for point in own],
                [point.value.high - point.value.mean for point in own],
            ],
            fmt="o-" if guaranteed else "o--",
            color=colors[name],
            markerfacecolor=colors[name] if guaranteed else "none",
            capsize=3,
            lw=1.2,
            label=f"{name} with noise: {'guaranteed epsilon' if guaranteed else 'claimed, not guaranteed'}",
        )
    for place, point in enumerate(point for point in found if point.epsilon is None):
        color, style = (PALETTE[2], GREY)[place % 2], ("-.", ":", "--", "-")[place % 4]
        axes.axhspan(point.value.low, point.value.high, color=color, alpha=0.12, linewidth=0)
        axes.axhline(point.value.mean, color=color, ls=style, lw=1.3, label=point.name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("epsilon (less is more private)")
    axes.set_ylabel(unit)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    figure = axes.get_figure()
    if isinstance(figure, Figure):
        figure.legend(loc="outside lower center", ncols=1)
