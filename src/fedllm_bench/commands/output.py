"""How every verb prints its rows."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fedllm_bench.analysis.tables import Column

__all__ = ["as_json", "plugin_option", "print_rows", "screen_width"]

PLAIN_WIDTH = 80

as_json = click.option("--json", "form", flag_value="json", default="text", help='Print {"rows": [...]}.')


plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py",
    type=click.Path(path_type=Path),
    help="Python file with methods of your own; may be repeated.",
)


def screen_width() -> int:
    """Characters in a line: of the terminal, or a fixed number where stdout is none."""
    return max(PLAIN_WIDTH, shutil.get_terminal_size().columns) if sys.stdout.isatty() else PLAIN_WIDTH


def print_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence["Column"], form: str = "text", note: str = ""
) -> None:
    """Print a table to stdout in the form asked for."""
    from fedllm_bench.analysis.tables import render

    click.echo(render(rows, columns, form, note, screen_width()))
