"""A jailed process that holds a program, and calls to its function from outside."""

import builtins
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedllm_bench.evaluate.sandbox import inside, jail, values

__all__ = ["Cell", "Limits", "Refused", "opened"]

FIRST_UID, UIDS = 65_600, 4_000  # user ids that nothing else has: above those of systemd and of "nobody"
PYTHON, WORK = "/python", "/work"  # where the program finds its interpreter and its scratch disk
CHUNK = 1 << 16
# What an interpreter is linked with.
SYSTEM = [path for path in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache") if Path(path).exists()]


class Refused(Exception):
    """The program does not do what it is asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use.

    Args:
        seconds: of time, on the clock and of the processor.
        memory: bytes, of each process.
        processes: threads count as such.
        disk: bytes, in memory.
    """

    seconds: int = 10
    memory: int = 1 << 29
    processes: int = 4
    disk: int = 16 << 20


@dataclass
class Cell:
    """A program in its jail.

    Args:
        process: of the jail.
        replies: where its replies come from.
        deadline: on the monotonic clock.
    """

    process: "subprocess.Popen[bytes]"
    replies: int
    deadline: float
    _rest: bytes = b""

    def call(self, *arguments: Any, **named: Any) -> Any:
        """What the program's function returns; an exception of Python's own kinds is raised here as there.

        Lists, dictionaries and sets that it was given become what the program made of them.

        Raises:
            Refused: it is late, gone, or returns what is no plain value.
        """
        self._send(values.dump([list(arguments), named]))
        word, value = self._reply()
        if not isinstance(value, list) or len(value) != 3:
            raise Refused("replies in a form of its own")
        if word != "returned":
            raise _raised(value)
        result, after, named_after = value
        _become(list(arguments), after)
        _become(list(named.values()), list(named_after.values()) if isinstance(named_after, dict) else None)
        return result

    def define(self, program: str, function: str) -> None:
        """Have the program define its function.

        Raises:
            Refused: it does not.
        """
        self._send(values.dump({"text": program, "function": function}))
        word, value = self._reply()
        if word != "ready":
            raise Refused(f"raises {value}")

    def _send(self, line: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise Refused("ends by itself") from None

    def _reply(self) -> tuple[str, Any]:
        while b"\n" not in self._rest:
            left = self.deadline - time.monotonic()
            if left <= 0 or not select.select([self.replies], [], [], left)[0]:
                raise Refused("takes too long")
            chunk = os.read(self.replies, CHUNK)
            if not chunk:
                raise Refused("ends by itself")
            self._rest += chunk
            if len(self._rest) > values.MOST + CHUNK:
                raise Refused("returns too much")
        line, _, self._rest = self._rest.partition(b"\n")
        word, _, text = line.decode(errors="replace").partition(" ")
        try:
            return word, values.load(text)
        except values.Foreign as error:
            raise Refused(f"returns {error}") from None


def _raised(value: list[Any]) -> Exception:
    """The program's exception: the first of its kind and those above it that is Python's own and takes a message."""
    name, above, message = value
    for each in above if isinstance(above, list) else []:
        kind = vars(builtins).get(str(each))
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                return kind(str(message))
            except TypeError:
                continue
    return Refused(f"raises {name}")


def _become(given: list[Any], after: Any) -> None:
    """Give lists, dictionaries and sets the content that they have in the program."""
    if not isinstance(after, list) or len(after) != len(given):
        raise Refused("replies in a form of its own")
    for old, new in zip(given, after, strict=True):
        if type(old) is not type(new):
            continue
        if isinstance(old, list):
            old[:] = new
        elif isinstance(old, dict | set):
            old.clear()
            old.update(new)


@contextmanager
def opened(limits: Limits, kind: str, number: int, scratch: Path) -> Iterator[Cell]:
    """A cell that is gone, with all it started, when the block ends.

    Args:
        limits: of the program.
        kind: "bubblewrap", "namespaces" or "none".
        number: tells cells that are open at once from one another.
        scratch: an empty folder; it stays so.
    """
    receive, send = os.pipe()
    try:
        os.set_inheritable(send, True)
        process = subprocess.Popen(
            _command(scratch, limits, kind, send, number),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(send,),
            start_new_session=True,
            cwd="/",
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
        )
        os.close(send)
        send = -1
        try:
            yield Cell(process, receive, time.monotonic() + limits.seconds)
        finally:
            _end(process)
    finally:
        os.close(receive)
        if send >= 0:
            os.close(send)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the jail; its first process dies with it, and every other with that."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _command(scratch: Path, limits: Limits, kind: str, replies: int, number: int) -> list[str]:
    """What starts the program: by itself, behind the jail's door, or behind it inside bubblewrap."""
    real, home = (os.path.realpath(path) for path in (_interpreter(), sys.base_prefix))
    program = ["-I", "-S", "-c", _text(values) + _text(inside), str(replies)]
    if kind == "none":
        return [real, *program]
    mounted = str(Path(PYTHON) / Path(real).relative_to(home))
    views = [*((folder, folder) for folder in SYSTEM), (home, PYTHON)]
    settings = {
        **asdict(limits),
        "namespaces": kind == "namespaces",
        "user": FIRST_UID + number % UIDS,
        "root": str(scratch),
        "seen": [*views, (os.devnull, os.devnull)],
        "work": WORK,
        "libraries": f"{PYTHON}/lib",
        "readable": [PYTHON, *SYSTEM],
        "command": [mounted, *program],
    }
    door = ["-I", "-S", "-c", _text(jail), json.dumps(settings)]
    return [real, *door] if kind == "namespaces" else [*_bubblewrap(limits, views), mounted, *door]


def _interpreter() -> str:
    return getattr(sys, "_base_executable", None) or sys.executable


def _bubblewrap(limits: Limits, views: Sequence[tuple[str, str]]) -> list[str]:
    seen = [part for source, target in views for part in ("--ro-bind", source, target)]
    work = ["--size", str(limits.disk), "--tmpfs", WORK]
    alone = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    return ["bwrap", *alone, "--dev", "/dev", *seen, *work, "--remount-ro", "/"]


def _text(module: Any) -> str:
    return Path(module.__file__).read_text(encoding="utf-8") + "\n"
