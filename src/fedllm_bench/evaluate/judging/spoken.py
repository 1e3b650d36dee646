"""What a judge says itself: its reply without its thoughts, and without what it repeats of others."""

import re
from collections.abc import Iterator

__all__ = ["MARK", "THOUGHT", "own_lines", "plain", "unfenced", "without_thoughts"]

MARK = "\ufffc"  # stands where something was left out, so that what is around it does not join
THOUGHT = r"(?:think|thinking|thought|reasoning)"
THOUGHTS = re.compile(rf"\s*<({THOUGHT})>.*?</\1>", re.DOTALL | re.IGNORECASE)
UNENDING = re.compile(rf"\s*<{THOUGHT}>", re.IGNORECASE)
UNOPENED = re.compile(rf"^[ \t]*</{THOUGHT}>[ \t]*$(?=\s*\S)", re.MULTILINE | re.IGNORECASE)

# Full-width forms and the vertical bracket; not superscripts and the like, which are no digits of a score.
PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " ", 0xFE47: "[", 0xFE48: "]"}
ESCAPED = re.compile(r"\\([\[\]*_])")

FENCE = re.compile(r"\s*(?P<fence>`{3,}|~{3,})(?P<language>[^`]*)$")
IN_A_BLOCK = re.compile(r"(?P<fence>`{3,}|~{3,})[^`~\n]*\n(?P<inside>(?:(?![ \t]*(?:```|~~~)).*\n)*+)(?P=fence)")
IN_A_LINE = re.compile(
    r"""(?<!")"++[^"\n]+"++|(?<!`)`++[^`\n]+`++|``[^`'\n]+''"""
    r"""|(?<!\w)'(?:[^'\n]|(?<=\w)'(?=\w))+'(?!\w)|\u2018[^\u2018\n]*?\u2019(?!\w)|\u201d[^\u201d\n]*\u201d"""
)
# Straight marks look alike at both ends: over several lines they count only where they open and close words.
OVER_LINES = re.compile(
    r"""\u201e[^\u201c-\u201e]*[\u201c\u201d]|\u201c[^\u201c\u201d]*\u201d|\u00ab[^\u00ab\u00bb]*\u00bb"""
    r"""|\u00bb[^\u00ab\u00bb]*\u00ab|\u2039[^\u2039\u203a]*\u203a|\u203a[^\u2039\u203a]*\u2039"""
    r"""|\u300c[^\u300c\u300d]*\u300d|\u300e[^\u300e\u300f]*\u300f|<(?P<tag>q|quote|blockquote)>[^<]*</(?P=tag)>"""
    r"""|(?:^|(?<=[\s(:,]))"(?=\S)[^"]*(?<=\S)"(?!\w)"""
    r"""|(?:^|(?<=[\s(:,]))'(?=\S)(?:[^']|(?<=\w)'(?=\w))*(?<=\S)'(?!\w)""",
    re.MULTILINE | re.IGNORECASE,
)


def without_thoughts(reply: str) -> str:
    """The reply proper: after the thoughts that it begins with, whose opening tag the judge's template may hold."""
    start = 0
    while found := THOUGHTS.match(reply, start):
        start = found.end()
    if UNENDING.match(reply, start):
        return ""
    ends = [found.end() for found in UNOPENED.finditer(reply, start)]
    return reply[max(ends, default=start) :]


def plain(text: str) -> str:
    """A text in which brackets, digits and letters are those of ASCII where it has their full-width forms."""
    return ESCAPED.sub(r"\1", text.translate(PLAIN))


def unfenced(text: str) -> str | None:
    """What stands in a block of code that is the whole text; None where it is not."""
    found = IN_A_BLOCK.fullmatch(text)
    return found["inside"] if found else None


def own_lines(text: str, kept: re.Pattern[str]) -> list[str]:
    """The lines of a text, with a mark for all that stands in quotation marks, block quotes or blocks of code.

    Args:
        text: of a judge.
        kept: a line that it matches is not a quotation, whatever marks it has: its group `said` stays.
    """
    lines = (
        found["said"] if (found := kept.match(line)) else IN_A_LINE.sub(MARK, line)
        for line in _unquoted(text.splitlines())
    )
    return OVER_LINES.sub(_marks, "\n".join(lines)).split("\n")


def _unquoted(lines: list[str]) -> Iterator[str]:
    """Lines, with a mark for each that stands in a block of code or quotes; a block that never ends goes on."""
    fence = ""
    for line in lines:
        found = FENCE.match(line)
        if fence:
            ends = found and found["fence"].startswith(fence) and not found["language"].strip()
            fence = "" if ends else fence
            yield MARK
        elif found:
            fence = found["fence"]
            yield MARK
        else:
            yield MARK if line.lstrip().startswith(">") else line


def _marks(quoted: re.Match[str]) -> str:
    return "\n".join([MARK] * (quoted.group().count("\n") + 1))
