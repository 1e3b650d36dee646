"""Rows and columns as terminal text, Markdown, CSV or JSON."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["FORMATS", "METHOD_COLUMNS", "Column", "column", "interval_text", "render"]

Row = Mapping[str, Any]


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

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for head in columns:
        justify: Literal["left", "right"] = "right" if head.numeric else "left"
        table.add_column(head.title, justify=justify, no_wrap=head.numeric, overflow="fold")
    for row in rows:
        # Text takes every character as it is; a plain string would be read as rich's markup.
        table.add_row(*(Text(head.show(row)) for head in columns))
    written = io.StringIO()
    screen = Console(file=written, width=width, color_system=None, legacy_windows=False)
    screen.print(table)
    if note:
        screen.print(Text(f"\n{note}"))
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def _markdown(rows: Sequence[Row], columns: Sequence[Column], note: str, width: int) -> str:
    lines = [
        _piped(head.title for head in columns),
        _piped("--:" if head.numeric else ":--" for head in columns),
        *(_piped(head.show(row) for head in columns) for row in rows),
    ]
    return "\n".join([*lines, "", note] if note else lines)


def _piped(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in cells) + " |"


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


def privacy_text(spent: Row) -> str:
    """The epsilon that is guaranteed, over the one that is claimed if somebody claims one."""
    guaranteed = "none" if spent["epsilon"] is None else f"{spent['epsilon']:.2f}"
    claimed = spent.get("claimed_epsilon")
    return guaranteed if claimed is None else f"{guaranteed}\nclaimed\n{claimed:g}"


METHOD_COLUMNS = (
    Column("method", _method, numeric=False),
    column("held-out\nloss", "held_out_loss", interval_text(".3f"), numeric=True),
    column("change\nto base", "difference_to_base", interval_text("+.3f"), numeric=True),
    column("perplexity", "perplexity", "{:.1f}".format, numeric=True, optional=True),
    column("token\nacc.", "token_accuracy", "{:.1%}".format, numeric=True, optional=True),
    column("pair\nacc.", "pair_accuracy", "{:.1%}".format, numeric=True, optional=True),
    column("margin", "margin", "{:+.3f}".format, numeric=True, optional=True),
    column("own\nmodel", "personal_loss", interval_text(".3f"), numeric=True, optional=True),
    column("epsilon", "privacy", privacy_text, numeric=True, optional=True),
    column("worst\n10%", "worst_decile_loss", "{:.3f}".format, numeric=True),
    column("own\nclient", "own_client_loss", "{:.3f}".format, numeric=True),
)
