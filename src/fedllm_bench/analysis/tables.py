"""Rows and columns as terminal text, Markdown, LaTeX, CSV or JSON."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

from fedllm_bench.analysis.latex import escaped

if TYPE_CHECKING:
    pass

__all__ = ["FORMATS", "METHOD_COLUMNS", "Column", "column", "epsilon_text", "interval_text", "privacy_text", "render"]

Row = Mapping[str, Any]

GAP = 2  # characters between columns
HANG = "  "  # before the second line and others of one thing said
LONG_WORD = 20  # characters; a longer word may be broken


@dataclass(frozen=True, slots=True)
class Column:
    """What people see of a row; CSV and JSON carry every key as it is.

    Args:
        title: at the head.
        show: a row in words; lines are put below one another where there is room for them.
        numeric: set to the right.
        has_value: whether a row has something to show; a column for which none has is left out.
    """

    title: str
    show: Callable[[Row], str]
    numeric: bool = True
    has_value: Callable[[Row], bool] = lambda row: True


def column(
    title: str,
    key: str,
    words: Callable[[Any], str] = str,
    numeric: bool = False,
    nothing: str = "-",
    optional: bool = False,
) -> Column:
    """A column for one key.

    Args:
        title: at the head.
        key: of the rows.
        words: the value as text.
        numeric: set to the right.
        nothing: shown where a row has no value.
        optional: the column is left out where no row has a value.
    """

    def show(row: Row) -> str:
        value = row.get(key)
        return nothing if value is None else words(value)

    return Column(title, show, numeric, lambda row: not optional or row.get(key) is not None)


def render(rows: Sequence[Row], columns: Sequence[Column], form: str = "text", note: str = "", width: int = 80) -> str:
    """The table in one of `FORMATS`, without a line break at its end.

    Args:
        rows: with the same keys each.
        columns: what text and Markdown show, in order.
        form: the format.
        note: a caption for the formats that people read.
        width: of the screen, in characters.
    """
    shown = [head for head in columns if not rows or any(map(head.has_value, rows))]
    return FORMATS[form](rows, shown, note, width)


def _text(rows: Sequence[Row], columns: Sequence[Column], note: str, width: int) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text takes every character as it is; a plain string would be read as rich's markup.
    written = [_Written(head, [head.show(row) for row in rows]) for head in columns]
    parts = list(_parts(written, width))
    if len(parts) > 1:  # what is divided anyway has room for the names of its rows
        parts = list(_parts([replace(written[0], roomy=True), *written[1:]], width))
    screen = Console(
        file=io.StringIO(),
        width=max([width, *(_line(_widths(part, width)) for part in parts)]),
        color_system=None,
        legacy_windows=False,
    )
    for number, part in enumerate(parts):
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for each, wide in zip(part, _widths(part, width), strict=True):
            justify: Literal["left", "right"] = "right" if each.head.numeric else "left"
            table.add_column(each.head.title, justify=justify, width=wide, overflow="fold")
        for cells in zip(*(each.cells for each in part), strict=True):
            table.add_row(*map(Text, cells))
        screen.print(*([""] if number else []), table, sep="\n")
    table_lines = (line.rstrip() for line in screen.file.getvalue().splitlines())  # type: ignore[attr-defined]
    return "\n".join([*table_lines, *(["", *_wrapped(note, width)] if note else [])])


def _wrapped(note: str, width: int) -> Iterator[str]:
    """The lines of a caption; where there are several, what does not fit stands below its line, set in.

    Words stay whole, so that a command with a long path can be copied.
    """
    lines = note.splitlines()
    hang = HANG if len(lines) > 1 else ""
    for line in lines:
        yield fill(line, width, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)


@dataclass(frozen=True, slots=True)
class _Written:
    """A column with its cells in words.

    Args:
        head: the column.
        cells: row by row.
        roomy: numbers are not the only ones to stay whole.
    """

    head: Column
    cells: Sequence[str]
    roomy: bool = False

    @property
    def most(self) -> int:
        """Characters that it takes where nothing is broken."""
        return max(len(line) for text in (self.head.title, *self.cells) for line in text.split("\n"))

    @property
    def least(self) -> int:
        """Characters that it cannot do without: numbers stay whole, and so do words that are not very long."""
        words = [len(word) for text in (self.head.title, *self.cells) for word in text.split()]
        if self.head.numeric:
            return self.most
        return min(self.most if self.roomy else max(words, default=0), LONG_WORD)


def _parts(columns: Sequence[_Written], width: int) -> Iterator[list[_Written]]:
    """The columns in as many tables as they need to fit, each beginning with the first column."""
    part: list[_Written] = []
    for each in columns:
        if len(part) > 1 and _line([other.least for other in (*part, each)]) > width:
            yield part
            part = [columns[0]]
        part.append(each)
    yield part


def _widths(columns: Sequence[_Written], width: int) -> list[int]:
    """What each column gets: its least, and of what is left first the columns that lack little."""
    found = [each.least for each in columns]
    left = max(0, width - _line(found))
    lacking = sorted(range(len(columns)), key=lambda place: columns[place].most - found[place])
    for sharing, place in zip(range(len(columns), 0, -1), lacking, strict=True):
        more = min(columns[place].most - found[place], left // sharing)
        found[place] += more
        left -= more
    return found


def _line(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _markdown(rows: Sequence[Row], columns: Sequence[Column], note: str, width: int) -> str:
    lines = [
        _piped(head.title for head in columns),
        _piped("--:" if head.numeric else ":--" for head in columns),
        *(_piped(head.show(row) for head in columns) for row in rows),
    ]
    # Lines that follow one another would be one paragraph.
    return "\n".join([*lines, "", "\n\n".join(filter(None, note.splitlines()))] if note else lines)


def _piped(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in cells) + " |"


def _tex(rows: Sequence[Row], columns: Sequence[Column], note: str, width: int) -> str:
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{tabular}{" + "".join("r" if head.numeric else "l" for head in columns) + "}",
        "\\toprule",
        _ampersands(head.title for head in columns),
        "\\midrule",
        *(_ampersands(head.show(row) for head in columns) for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join([*lines, f"\\par\\smallskip{{\\footnotesize {escaped(note)}\\par}}"] if note else lines)


def _ampersands(cells: Iterable[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def _csv(rows: Sequence[Row], columns: Sequence[Column], note: str, width: int) -> str:
    flat = [dict(_flat(row)) for row in rows]
    written = io.StringIO()
    writer = csv.DictWriter(written, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return written.getvalue().rstrip("\n")


def _flat(row: Row) -> Iterator[tuple[str, Any]]:
    """An interval as three columns: `loss`, `loss_low`, `loss_high`."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from ((key if part == "mean" else f"{key}_{part}", inner) for part, inner in value.items())
        else:
            yield key, value


def _json(rows: Sequence[Row], columns: Sequence[Column], note: str, width: int) -> str:
    return json.dumps({"rows": rows}, indent=2, ensure_ascii=False, allow_nan=False)


FORMATS: Mapping[str, Callable[[Sequence[Row], Sequence[Column], str, int], str]] = {
    "text": _text,
    "md": _markdown,
    "tex": _tex,
    "csv": _csv,
    "json": _json,
}


# --- the table of methods


def _method(row: Row) -> str:
    """The name, a star if runs are unfinished, and how many runs are behind the numbers if not one."""
    name = row["method"] if row["complete"] else f"{row['method']} *"
    counts = [f"{row[what]} {what}" for what in ("runs", "seeds") if row["rounds"] and row[what] > 1]
    return f"{name}\n({', '.join(counts)})" if counts else str(name)


def interval_text(form: str) -> Callable[[Any], str]:
    """An interval as its mean over its ends, numbers in this format."""

    def words(value: Row) -> str:
        return f"{value['mean']:{form}}\n[{value['low']:{form}}, {value['high']:{form}}]"

    return words


def epsilon_text(epsilon: float | None) -> str:
    """Two decimals where they say it; `none` where nothing is guaranteed."""
    if epsilon is None:
        return "none"
    return f"{epsilon:.2f}" if 0.01 <= epsilon < 1000 else f"{epsilon:.2g}"


def privacy_text(spent: Row) -> str:
    """The epsilon that is guaranteed, over the one that is claimed if somebody claims one."""
    guaranteed = epsilon_text(spent["epsilon"])
    claimed = spent.get("claimed_epsilon")
    return guaranteed if claimed is None else f"{guaranteed}\nclaimed\n{claimed:g}"


METHOD_COLUMNS = (
    Column("method", _method, numeric=False),
    column("held-out\nloss", "held_out_loss", interval_text(".3f"), numeric=True),
    column("change\nto base", "difference_to_base", interval_text("+.3f"), numeric=True),
    column("own\nmodel", "personal_loss", interval_text(".3f"), numeric=True, optional=True),
    column("own to\nshared", "personal_change", interval_text("+.3f"), numeric=True, optional=True),
    column("epsilon", "privacy", privacy_text, numeric=True, optional=True),
    column("perplexity", "perplexity", "{:.1f}".format, numeric=True, optional=True),
    column("token\nacc.", "token_accuracy", "{:.1%}".format, numeric=True, optional=True),
    column("pair\nacc.", "pair_accuracy", "{:.1%}".format, numeric=True, optional=True),
    column("margin", "margin", "{:+.3f}".format, numeric=True, optional=True),
    column("worst\n10%", "worst_decile_loss", "{:.3f}".format, numeric=True),
    column("own\nclient", "own_client_loss", "{:.3f}".format, numeric=True, optional=True),
)
