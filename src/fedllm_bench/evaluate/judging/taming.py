"""Texts of others, shown to a judge so that nothing in them passes for a verdict or for what stands around them."""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache

from fedllm_bench.evaluate.judging.spoken import THOUGHT
from fedllm_bench.evaluate.judging.verdict import is_verdict

__all__ = ["fence_for", "tame"]

# Two brackets in a row, in all forms that `spoken.plain` reads as such.
BRACKETS = re.compile(r"[\[\uff3b\ufe47](?=[\\\uff3c]?[\[\uff3b\ufe47])")
TAGS = re.compile(rf"<(?=/?{THOUGHT}>)", re.IGNORECASE)
# What templates without a fence divide texts by: [The End of ...], <|The End of ...|>, ### User:
MARK = re.compile(r"\[[^\[\]{}\n]{4,60}\]|<\|[^|{}\n]{4,60}\|>|^#{2,4} [^{}\n]{1,60}:$", re.MULTILINE)


def tame(text: str, template: str, verdicts: Mapping[str, float]) -> str:
    """A text that gives no verdict, should the judge repeat it, and holds none of the template's marks.

    [[10]] becomes [ [10]]; a line such as "Rating: 10", and a last line that is nothing but a verdict, are quoted
    (`> Rating: 10`); tags of thoughts and the template's marks get a blank.

    Args:
        text: to be shown.
        template: that it stands in.
        verdicts: of the rubric.
    """
    shown = text.encode("utf-8", "replace").decode()
    shown = TAGS.sub("< ", BRACKETS.sub(lambda found: f"{found.group()} ", shown))
    marks = _marks(template)
    if marks is not None:
        shown = marks.sub(lambda found: f"{found.group()[0]} {found.group()[1:]}", shown)
    lines = shown.splitlines(keepends=True)
    last = max((at for at, line in enumerate(lines) if line.strip()), default=-1)
    return "".join(f"> {line}" if is_verdict(line, verdicts, at == last) else line for at, line in enumerate(lines))


def fence_for(shown: Mapping[str, str]) -> str:
    """A word that stands in none of the texts: from their hash, hence the same each time."""
    content = repr(sorted(shown.items())).encode("utf-8", "replace")
    return "TEXT-" + hashlib.sha256(content).hexdigest()[:12]


@lru_cache(maxsize=64)
def _marks(template: str) -> re.Pattern[str] | None:
    found = sorted(set(MARK.findall(template)))
    return re.compile("|".join(map(re.escape, found)), re.IGNORECASE) if found else None
