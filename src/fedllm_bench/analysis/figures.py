"""Figures of methods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedllm_bench.analysis.drawing import GREY, INK, LINE, PALETTE, SETTINGS, Drawing, inline_svg, save
from fedllm_bench.analysis.methods import Method, held_out_curve, training_curve
from fedllm_bench.analysis.objectives import joined
from fedllm_bench.analysis.quantities import bytes_text, count_text
from fedllm_bench.analysis.summary import Summary, changes, losses

__all__ = ["FIGURES", "Drawing", "draw", "inline_svg", "save"]

SIZE = (4.6, 3.2)  # inches: still legible on a telephone
STYLES = ("-", "--", ":", "-.")
MOST_POINTS = 300  # clients drawn one by one
LONG_NAME = 22  # characters; longer ones get a line of the legend each, and several lines at an axis
LEGEND_WIDTH = 52  # characters


def draw(methods: Sequence[Method], summaries: Sequence[Summary]) -> list[Drawing]:
    """Every figure that the runs have numbers for."""
    shown = [_Shown(*each) for each in zip(methods, summaries, _looks(methods), strict=True)]
    drawings = []
    with matplotlib.rc_context(SETTINGS):
        for name, (title, draw_on) in FIGURES.items():
            figure = Figure(figsize=SIZE, facecolor="none")
            if draw_on(figure, shown):
                drawings.append(Drawing(name, title, figure))
    return drawings


# --- looks


@dataclass(frozen=True, slots=True)
class _Look:
    color: str
    style: str


@dataclass(frozen=True, slots=True)
class _Shown:
    """A method, its row of the table, and how it looks in every figure."""

    method: Method
    summary: Summary
    look: _Look

    @property
    def name(self) -> str:
        return self.method.name

    @property
    def is_base(self) -> bool:
        return self.method.base is None


def _looks(methods: Sequence[Method]) -> list[_Look]:
    """Base models grey, others by place: the first colours are the easiest to tell apart."""
    looks, place = [], 0
    for method in methods:
        if method.base is None:
            looks.append(_Look(GREY, "--"))
        else:
            looks.append(_Look(PALETTE[place % len(PALETTE)], STYLES[place // len(PALETTE) % len(STYLES)]))
            place += 1
    return looks


# --- figures: each draws on an empty figure and says whether there was anything to draw


def _training(figure: Figure, shown: Sequence[_Shown]) -> bool:
    axes = figure.subplots()
    for one in shown:
        if not one.is_base and (curve := training_curve(one.method)):
            _line(axes, one, [number for number, _ in curve], [loss for _, loss in curve])
    return _finished_by_round(figure, axes, f"training loss ({_unit(shown)})")


def _held_out(figure: Figure, shown: Sequence[_Shown]) -> bool:
    axes = figure.subplots()
    for one in shown:
        if not one.is_base and (curve := held_out_curve(one.method)):
            rounds = [number for number, _ in curve]
            _line(axes, one, rounds, [interval.mean for _, interval in curve])
            low, high = [interval.low for _, interval in curve], [interval.high for _, interval in curve]
            axes.fill_between(rounds, low, high, color=one.look.color, alpha=0.12, linewidth=0)
        elif one.is_base and one.summary.held_out_loss is not None:
            axes.axhline(one.summary.held_out_loss.mean, ls="--", color=one.look.color, lw=1, label=one.name)
    return _finished_by_round(figure, axes, f"held-out loss ({_unit(shown)})")


def _unit(shown: Sequence[_Shown]) -> str:
    return joined(one.method.words.unit for one in shown)


def _line(axes: Axes, one: _Shown, rounds: Sequence[int], values: Sequence[float]) -> None:
    axes.plot(rounds, values, one.look.style, color=one.look.color, marker="o", ms=3, label=one.name)


def _finished_by_round(figure: Figure, axes: Axes, what: str) -> bool:
    """Labels and a legend below, where it covers nothing."""
    if not axes.lines:
        return False
    axes.set_xlabel("round")
    axes.set_ylabel(what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    handles, labels = axes.get_legend_handles_labels()
    columns = 1 if max(map(len, labels)) > LONG_NAME else min(3, len(labels))
    labels = ["\n".join(wrap(label, LEGEND_WIDTH)) for label in labels]
    lines = sum(1 + label.count("\n") for label in labels) / columns
    figure.set_size_inches(SIZE[0], SIZE[1] + LINE * max(0, lines - 3))  # a long legend takes no room from the axes
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=2.4)
    return True


def _per_client(figure: Figure, shown: Sequence[_Shown]) -> bool:
    values = [(one, list(losses(one.method).values())) for one in shown]
    return _strips(figure, values, f"held-out loss of each client ({_unit(shown)})")


def _per_client_change(figure: Figure, shown: Sequence[_Shown]) -> bool:
    values = [(one, list(changes(one.method).values())) for one in shown]
    drawn = _strips(figure, values, f"change of each client's held-out loss ({_unit(shown)})")
    for axes in figure.axes:
        axes.axvline(0, color=GREY, lw=1, ls="--", zorder=1)
    return drawn


def _strips(figure: Figure, values: Sequence[tuple[_Shown, list[float]]], what: str) -> bool:
    """A row for each method: a box over the quartiles, whiskers at 5% and 95%, and a point for each client."""
    rows = [(one, found) for one, found in values if found]
    if not rows:
        return False
    axes = _rows(figure, [one for one, _ in rows], 1)[0]
    scatter = np.random.default_rng(0)
    for place, (one, found) in enumerate(rows):
        line = {"color": one.look.color, "linewidth": 1.3}
        axes.boxplot(
            [found],
            positions=[place],
            manage_ticks=False,
            orientation="horizontal",
            widths=0.5,
            whis=(5, 95),
            showfliers=False,
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops={"color": INK, "linewidth": 1.6},
        )
        if len(found) <= MOST_POINTS:
            heights = place + scatter.uniform(-0.18, 0.18, len(found))
            axes.scatter(found, heights, s=7, color=one.look.color, alpha=0.55, linewidths=0, zorder=3)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(what.replace(" (", "\n("))  # a figure is narrow beside long names
    axes.grid(axis="x", color=INK, alpha=0.12, linewidth=0.6)
    return True


def _spent(figure: Figure, shown: Sequence[_Shown]) -> bool:
    rows = [one for one in shown if one.summary.tokens]
    if not rows:
        return False
    panels: tuple[tuple[str, list[int], Callable[[float], str]], ...] = (
        ("training tokens", [one.summary.tokens for one in rows], count_text),
        (
            "bytes up and down",
            [(one.summary.bytes_up or 0) + (one.summary.bytes_down or 0) for one in rows],
            _sent_text,
        ),
    )
    for axes, (what, values, words) in zip(_rows(figure, rows, len(panels)), panels, strict=True):
        bars = axes.barh(range(len(rows)), values, height=0.5, color=[one.look.color for one in rows])
        axes.bar_label(bars, [words(value) for value in values], padding=3)
        axes.margins(x=0.5)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.set_title(what, fontsize=9)
    return True


def _sent_text(count: float) -> str:
    return bytes_text(count) if count else "none"


def _rows(figure: Figure, shown: Sequence[_Shown], panels: int) -> list[Axes]:
    """Panels side by side with a row for each method, the first at the top, in a figure as high as they need."""
    names = [_on_lines(one.name) for one in shown]
    figure.set_size_inches(SIZE[0], 0.9 + max(0.55, *(LINE * (2 + name.count("\n")) for name in names)) * len(shown))
    axes = list(figure.subplots(1, panels, sharey=True, squeeze=False)[0])
    axes[0].set_yticks(range(len(shown)), names)
    axes[0].set_ylim(len(shown) - 0.5, -0.5)
    return axes


def _on_lines(name: str) -> str:
    """The algorithm on one line, its settings below."""
    algorithm, _, settings = name.partition(" ")
    return "\n".join([algorithm, *wrap(settings, LONG_NAME)])


FIGURES: Mapping[str, tuple[str, Callable[[Figure, Sequence[_Shown]], bool]]] = {
    "held-out-loss": ("Held-out loss by round, with 95% intervals over clients", _held_out),
    "training-loss": ("Training loss by round", _training),
    "client-loss": ("Held-out loss of every client; boxes: quartiles, whiskers: 5% and 95%", _per_client),
    "client-change": (
        "Change to the base model for every client; left of the line is better",
        _per_client_change,
    ),
    "spent": ("What a run took", _spent),
}
