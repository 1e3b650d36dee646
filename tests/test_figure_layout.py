"""Figures of data can be read: no texts overlap, none is cut off or tiny, and every script has letters or a name."""

import math
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pytest
from matplotlib.patches import Wedge
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from fedllm_bench.analysis.data_figures import DATA_FIGURES, client_names
from fedllm_bench.analysis.data_figures.lettering import cut, readable, shortened, width
from fedllm_bench.analysis.drawing import Drawing, inline_svg, look
from figure_values import CHINESE, NOTE, TELUGU, VERBS, each_client, figure_of, said, spoken


@dataclass(frozen=True)
class Written:
    text: str
    box: Bbox
    size: float


@pytest.fixture(scope="module", params=[2, pytest.param(747, marks=pytest.mark.slow)])
def crowd(request: pytest.FixtureRequest) -> dict[str, tuple[Drawing, list[Written]]]:
    """Every figure for so many clients, with all that is written on it."""
    values, found = each_client(request.param), {}
    for name, entry in DATA_FIGURES.items():
        drawing = figure_of(name, values[entry.needs])
        texts = said(drawing.figure)
        found[name] = (drawing, [Written(t.get_text(), Text.get_window_extent(t), t.get_fontsize()) for t in texts])
    return found


Crowd = Mapping[str, tuple[Drawing, list[Written]]]


def test_no_two_texts_overlap(crowd: Crowd) -> None:
    for name in crowd.keys() - {"sunburst", "client-sunbursts"}:  # their texts are turned; see below
        for one, other in combinations(crowd[name][1], 2):
            assert not one.box.padded(-1).overlaps(other.box.padded(-1)), (name, one.text, other.text)


def test_every_text_lies_within_the_figure_and_is_not_too_small(crowd: Crowd) -> None:
    for name, (drawing, texts) in crowd.items():
        page = drawing.figure.bbox.padded(1)
        for each in texts:
            assert page.x0 <= each.box.x0 and each.box.x1 <= page.x1, (name, each.text)
            assert page.y0 <= each.box.y0 and each.box.y1 <= page.y1, (name, each.text)
            assert each.size >= 7, (name, each.text)


def test_every_figure_says_what_was_measured_and_of_what(crowd: Crowd) -> None:
    for name, (drawing, texts) in crowd.items():
        written = " ".join(each.text for each in texts).replace("\n", " ")
        assert NOTE in written, name
        assert drawing.title.startswith("made-up: ") and drawing.title in written


def test_no_figure_shows_an_id_of_a_client(crowd: Crowd) -> None:
    for name, (_, texts) in crowd.items():
        assert not any("a-client-id" in each.text for each in texts), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sunburst", "client-sunbursts"])
def test_a_label_in_a_sunburst_lies_within_its_wedge(name: str) -> None:
    figure = figure_of(name, spoken(3, samples=300)).figure
    texts_of = said(figure)
    for axes in filter(lambda axes: axes.patches, figure.axes):
        wedges = [patch for patch in axes.patches if isinstance(patch, Wedge)]
        labels = [text for text in texts_of if text.axes is axes and text in axes.texts]
        assert len(labels) > len(wedges) / 4
        for label in labels:
            corners = _corners(label)
            holders = [wedge for wedge in wedges if all(_within(wedge, *corner) for corner in corners)]
            assert len(holders) == 1, label.get_text()


def _corners(label: Text) -> list[tuple[float, float]]:
    """Corners of the word's letters in the coordinates of the rings."""
    axes, turned = label.axes, label.get_rotation()
    assert axes is not None
    label.set_rotation(0)
    box = Text.get_window_extent(label)
    label.set_rotation(turned)
    pixels = axes.transData.transform(label.get_position())
    across, up = box.width / 2, 0.3 * label.get_fontsize() * axes.figure.dpi / 72  # between base line and small letters
    turn = np.radians(turned)
    found = []
    for x, y in product((-across, across), (-up, up)):
        moved = (x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn))
        found.append(tuple(axes.transData.inverted().transform(pixels + moved)))
    return found


def _within(wedge: Wedge, x: float, y: float) -> bool:
    inside = wedge.r - wedge.width - 0.01 <= math.hypot(x, y) <= wedge.r + 0.01
    return inside and (math.degrees(math.atan2(y, x)) - wedge.theta1) % 360 <= wedge.theta2 - wedge.theta1


def test_thirty_categories_look_different() -> None:
    assert len({(look(place).color, look(place).marker) for place in range(30)}) == 30


def test_neighbours_in_a_sunburst_differ_in_colour() -> None:
    axes = figure_of("sunburst", spoken(3)).figure.axes[0]
    inner = [patch for patch in axes.patches if isinstance(patch, Wedge) and patch.r < 0.9]
    colors = [patch.get_facecolor() for patch in inner]
    assert len(colors) == len(VERBS) and all(
        one != other for one, other in zip(colors, colors[1:] + colors[:1], strict=True)
    )


# --- letters


def test_words_that_no_font_has_are_named_by_their_script() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = figure_of("language", {"a": [TELUGU], "b": [CHINESE, "\U0001fae8"], "c": ["العربية"]})
        inline_svg(drawing)
    assert readable("plain words, façade, русский") == "plain words, façade, русский"
    assert readable("\ue000\ue001 x") == "[symbol] x"


def test_long_text_loses_its_middle_and_control_characters() -> None:
    assert shortened("short") == "short"
    assert shortened("a\nb\t\u202ec") == "a b c"
    assert len(shortened("x" * 99, 20)) == 20


def test_a_word_is_cut_to_the_room_there_is() -> None:
    assert cut("word", 99, 7) == "word"
    assert width(cut("internationalisation", 40, 7), 7) <= 40 and cut("internationalisation", 40, 7).endswith("…")


def test_shown_ids_stay_different_when_they_are_shortened() -> None:
    names = client_names(["x" * 30, "x" * 31, "", "y"], shown=True)
    assert len(set(names.values())) == 4 and names["y"] == "y" and all(names.values())
    assert client_names(["p", "q"]) == {"p": "client 1", "q": "client 2"}


def test_a_map_of_samples_can_be_made_without_loading_plots() -> None:
    loaded = "[name for name in ('torch', 'matplotlib', 'sklearn') if name in sys.modules]"
    program = f"import sys, fedllm_bench.analysis.projection; print({loaded})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
