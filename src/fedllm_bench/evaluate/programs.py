"""The program that a model's answer to a problem of programming holds."""

import ast
import re
import textwrap
from collections.abc import Iterator

__all__ = ["program_of"]

FENCED = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n]*\n(?P<code>.*?)(?:^[ \t]*(?P=fence)|\Z)", re.DOTALL | re.MULTILINE
)
BEGINS = re.compile(r"^(?:def|async def|class|import|from|@\w)", re.MULTILINE)
FUTURE = re.compile(r"^from __future__ import .*$", re.MULTILINE)
MOST_LINES = 400  # of prose after a program, that are left out one by one


def program_of(prompt: str, function: str, answer: str) -> str:
    """The program that an answer makes of a problem.

    The first code block that has the whole function is taken, after the definitions of other blocks; without a block,
    what begins at the first line of code. Text without the function's head is its body.

    Args:
        prompt: the function's head, after what it may use.
        function: its name.
        answer: of a model.
    """
    text = answer.replace("\r\n", "\n")
    blocks = [textwrap.dedent(found["code"]) for found in FENCED.finditer(text)]
    head = re.compile(rf"^\s*(?:async\s+)?def\s+{re.escape(function)}\b", re.MULTILINE)
    having = [block for block in blocks if head.search(block)]
    if having:
        code = next((block for block in having if _has_whole(block, function)), having[-1])
        others = [block for block in blocks if block is not code and _only_defines(block) and not head.search(block)]
        return _put_together(prompt, "\n".join([*others, code]))
    if not blocks and head.search(text):
        return _put_together(prompt, _without_prose(textwrap.dedent(text)))
    return prompt + _body(prompt, blocks[0] if blocks else text)


def _put_together(prompt: str, code: str) -> str:
    """A program that has the problem's own imports, too; those from the future come first."""
    future = FUTURE.findall(code)
    return "\n".join([*future, prompt, "", FUTURE.sub("", code)]) + "\n"


def _body(prompt: str, text: str) -> str:
    """A body of a function; answers lose the blanks that they begin with, and some models write none."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    ways = [text] if first[:1].isspace() else ["    " + text.lstrip(), textwrap.indent(text, "    ")]
    return next((way for way in ways if _parses(prompt + way) is not None), ways[-1]) + "\n"


def _without_prose(text: str) -> str:
    """What begins at the first line of code, as far as it is Python."""
    begin = BEGINS.search(text)
    lines = text[begin.start() if begin else 0 :].splitlines()
    shorter = ("\n".join(lines[:end]) for end in range(len(lines), max(0, len(lines) - MOST_LINES), -1))
    return next((code for code in shorter if _parses(code) is not None), "\n".join(lines))


def _has_whole(code: str, function: str) -> bool:
    """Whether the function has a body, more than words about itself."""
    tree = _parses(code)
    return tree is not None and any(any(_real(node)) for node in ast.walk(tree) if _named(node, function))


def _named(node: ast.AST, function: str) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function


def _real(node: ast.AST) -> Iterator[bool]:
    for statement in getattr(node, "body", []):
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        yield not (is_text or isinstance(statement, ast.Pass))


def _only_defines(code: str) -> bool:
    """Whether a block can stand before another: it shows no use, whose output nobody wants."""
    tree = _parses(code)
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    return tree is not None and all(isinstance(node, kinds) for node in tree.body)


def _parses(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
