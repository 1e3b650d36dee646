"""What the rows of a table are compared with."""

import difflib
from collections.abc import Sequence

from fedllm_bench.errors import RunError

__all__ = ["KINDS", "asked_row"]

KINDS = ("fedavg", "local")


def asked_row(asked: str, titles: Sequence[str]) -> str:
    """One of `KINDS`, or the title of a row, in capitals or not.

    Args:
        asked: by the user.
        titles: of all rows.

    Raises:
        RunError: it is neither.
    """
    if asked in (*KINDS, *titles):
        return asked
    same = [title for title in titles if title.casefold() == asked.casefold()]
    if len(same) == 1:
        return same[0]
    near = difflib.get_close_matches(asked, [*KINDS, *titles], n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"fedavg, local, or a row: {', '.join(titles)}"
    raise RunError(f'--against: no row is called "{asked}"', hint)
