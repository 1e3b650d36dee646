"""The numbers that the paper prints, from the file beside this one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self

__all__ = ["Numeral", "Printed", "printed"]


class Numeral(float):
    """A number that is written as it is printed: 9.40, not 9.4."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Printed:
    """One table of the paper, verbatim.

    Args:
        source: which paper.
        columns: keys, in order.
        rows: title of a row to its values, in the order of columns.
    """

    source: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Any, ...]]

    def value(self, row: str, column: str) -> Any:
        """What stands there; None where nothing does."""
        if row not in self.rows or column not in self.columns:
            return None
        return self.rows[row][self.columns.index(column)]


def printed(number: int) -> Printed:
    """Table 2 to 8; Table 1 is in `paper_table1`."""
    content = json.loads((files(__package__) / "paper_results.json").read_text(encoding="utf-8"), parse_float=Numeral)
    table = content[f"table{number}"]
    rows = {name: tuple(values) for name, values in table["rows"].items()}
    return Printed(content["source"], tuple(table["columns"]), rows)
