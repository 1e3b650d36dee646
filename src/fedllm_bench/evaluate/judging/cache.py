"""What judges have replied, kept for ever; several processes may use it at once."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
from filelock import FileLock

from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.judging.judge import Ask, Judge, Reply
from fedllm_bench.evaluate.judging.rubric import Rubric

__all__ = ["Replies", "keys_of", "open_replies", "unheard"]

WAIT = 60.0  # seconds for another process that writes
AT_ONCE = 500  # keys in one question
# How a reply ended is a table of its own: files of earlier versions have none, and stay as they are.
TABLES = ("reply (key BLOB PRIMARY KEY, text TEXT)", "ending (key BLOB PRIMARY KEY, how TEXT)")


class Replies:
    """Replies by key.

    Args:
        table: the open database.
    """

    def __init__(self, table: sqlite3.Connection) -> None:
        self._table = table

    def known(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        """The replies that are there."""
        found: dict[bytes, Reply] = {}
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = self._table.execute(
                "SELECT key, text, coalesce(how, 'whole') FROM reply LEFT JOIN ending USING (key)"
                f" WHERE key IN ({marks})",
                some,
            )
            found.update((key, Reply(text, how)) for key, text, how in rows)
        return found

    def keep(self, key: bytes, reply: Reply) -> None:
        """Write a reply, at once."""
        self._table.execute("BEGIN IMMEDIATE")
        self._table.execute("INSERT OR REPLACE INTO ending VALUES (?, ?)", (key, reply.ending))
        self._table.execute("INSERT OR REPLACE INTO reply VALUES (?, ?)", (key, reply.text))
        self._table.execute("COMMIT")


def keys_of(judge: Judge, rubric: Rubric, asks: Sequence[Ask]) -> list[bytes]:
    """The key of each request: the judge and the rubric that decide the reply, and what is sent or asked about."""
    by = orjson.dumps([judge.identity, rubric.identity], option=orjson.OPT_SORT_KEYS)
    return [hashlib.sha256(by + orjson.dumps(_asked(judge, ask))).digest() for ask in asks]


def unheard(path: Path, judge: Judge, rubric: Rubric, asks: Sequence[Ask]) -> list[Ask]:
    """The requests that a file has no reply to, each once.

    Args:
        path: see `open_replies`.
        judge: who is asked.
        rubric: by which.
        asks: the requests.
    """
    by_key = dict(zip(keys_of(judge, rubric, asks), asks, strict=True))
    if path.exists():
        with open_replies(path) as replies:
            for key in replies.known(list(by_key)):
                del by_key[key]
    return list(by_key.values())


def _asked(judge: Judge, ask: Ask) -> list[list[str | int]]:
    about: list[list[str | int]] = [[ask.item.question.id, ask.item.turn]] if judge.goes_by_name else []
    for turn in ask.messages:
        about.append([turn.role, turn.content])
    return about


@contextmanager
def open_replies(path: Path) -> Iterator[Replies]:
    """The replies in a file, which need not be there yet.

    Raises:
        DataError: the file cannot be used.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=WAIT, isolation_level=None)) as table:
            # SQLite does not wait for another process when it changes the mode of a file.
            with FileLock(path.with_name(path.name + ".lock"), timeout=WAIT):
                table.execute("PRAGMA journal_mode = WAL")
                table.execute("PRAGMA synchronous = NORMAL")
                for columns in TABLES:
                    table.execute(f"CREATE TABLE IF NOT EXISTS {columns} WITHOUT ROWID")
            yield Replies(table)
    except (sqlite3.Error, TimeoutError) as error:
        raise DataError(f"{path} cannot be used ({error})", "remove it; what it holds is asked again") from error
