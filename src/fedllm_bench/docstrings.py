"""What a builder's docstring says, in parts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import cleandoc

__all__ = ["Docstring", "parse"]

_SOURCE = "Source: "
_OPTION = re.compile(r"    (\w+): (.*)")
_SECTION = re.compile(r"(Args|Raises|Returns|Yields):")


@dataclass(frozen=True)
class Docstring:
    """A docstring taken apart.

    Args:
        summary: its first paragraph.
        about: the paragraphs between summary and source.
        source: the paper that it names after `Source:`.
        args: parameter -> what it is.
    """

    summary: str
    about: str
    source: str
    args: Mapping[str, str]


def parse(text: str | None) -> Docstring:
    """Take a docstring apart; parts that it lacks are empty."""
    prose, sections = _split(cleandoc(text or ""))
    paragraphs = [" ".join(paragraph.split()) for paragraph in prose.split("\n\n") if paragraph.strip()]
    sources = [each for each in paragraphs if each.startswith(_SOURCE)]
    rest = [each for each in paragraphs if each not in sources]
    return Docstring(
        summary=rest[0] if rest else "",
        about="\n\n".join(rest[1:]),
        source=" ".join(sources).removeprefix(_SOURCE).rstrip("."),
        args=_args(sections),
    )


def _split(text: str) -> tuple[str, str]:
    """The prose, and from `Args:` on the sections."""
    lines = text.split("\n")
    at = next((number for number, line in enumerate(lines) if _SECTION.fullmatch(line)), len(lines))
    return "\n".join(lines[:at]), "\n".join(lines[at:])


def _args(sections: str) -> dict[str, str]:
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in sections.split("\n"):
        if line and not line.startswith(" "):
            inside = line == "Args:"
        elif inside and (option := _OPTION.fullmatch(line)):
            name = option[1]
            found[name] = option[2]
        elif inside and name and line.strip():
            found[name] += f" {line.strip()}"
    return found
