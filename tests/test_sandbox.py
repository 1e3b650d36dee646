"""Programs in the jail: sound ones pass, and hostile ones neither pass nor reach anything outside."""

import json
import os
import shutil
import socket
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fedllm_bench.evaluate.sandbox.cell import Limits
from fedllm_bench.evaluate.sandbox.run import Outcome, Problem, kind_of_sandbox, run
from fedllm_bench.evaluate.sandbox.values import Foreign, dump, load
from hostile_programs import ENDLESS, HOSTILE

TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n"
LIMITS = Limits(seconds=1, memory=512 << 20)

NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"
SOURCES = Path(__file__).parents[1] / "src"


def as_user(problem: Problem, limits: Limits, kind: str) -> Outcome:
    """The same check by an ordinary user, whose interpreter is the system's."""
    request = {"problem": asdict(problem), "limits": asdict(limits), "kind": kind, "number": 0}
    with TemporaryDirectory() as scratch:
        os.chown(scratch, NOBODY, NOBODY)
        done = subprocess.run(
            [SYSTEM_PYTHON, "-m", "fedllm_bench.evaluate.sandbox.checker"],
            input=json.dumps({**request, "scratch": scratch}).encode(),
            env={"PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"},
            cwd="/",
            user=NOBODY,
            group=NOBODY,
            extra_groups=(),
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    return Outcome(**json.loads(done.stdout))


def mine(problem: Problem, limits: Limits, kind: str) -> Outcome:
    return run(problem, limits, kind_of_sandbox())


def user_in_namespaces(problem: Problem, limits: Limits, kind: str) -> Outcome:
    return as_user(problem, limits, "namespaces")


def user_in_bubblewrap(problem: Problem, limits: Limits, kind: str) -> Outcome:
    return as_user(problem, limits, "bubblewrap")


Way = Callable[[Problem, Limits, str], Outcome]


def _why_not(way: Way) -> str:
    """Why a way cannot be gone on this machine."""
    if way is mine:
        return ""
    if os.geteuid() != 0:
        return "only root can become another user"
    if way is user_in_bubblewrap and shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    able = [SYSTEM_PYTHON, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import fedllm_bench", str(SOURCES)]
    done = subprocess.run(able, user=NOBODY, group=NOBODY, capture_output=True, check=False, cwd="/")
    return "" if done.returncode == 0 else "another user cannot read the sources, or its Python is too old"


@pytest.fixture(
    params=[mine, *(pytest.param(way, marks=pytest.mark.slow) for way in (user_in_namespaces, user_in_bubblewrap))],
    ids=lambda way: way.__name__,
)
def way(request: pytest.FixtureRequest) -> Way:
    if reason := _why_not(request.param):
        pytest.skip(reason)
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def home(way: Way) -> Iterator[Path]:
    """A folder of the user who runs the sandbox, with a secret and a socket that listens."""
    with TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as listening:
        folder = Path(name)
        (folder / "secret").write_text("4")
        listening.bind(str(folder / "socket"))
        listening.listen()
        for path in (folder, *folder.iterdir()):
            os.utime(path, (1_000_000, 1_000_000))
            if way is not mine:
                os.chown(path, NOBODY, NOBODY)
        (folder / "socket").chmod(0o777)
        yield folder


def state(folder: Path) -> dict[str, tuple[int, float, int]]:
    """Rights, times and sizes of a folder and all in it."""
    found = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {str(path): (one.st_mode, one.st_mtime, one.st_size) for path, one in found.items()}


def test_a_sound_program_passes_and_a_wrong_one_does_not(way: Way) -> None:
    assert way(Problem("def f(x):\n    return x * x", "f", "", TEST), LIMITS, "") == Outcome(True)
    wrong = way(Problem("def f(x):\n    return x + 2", "f", "", TEST), LIMITS, "")
    assert (wrong.passed, wrong.reason) == (False, "gives a wrong result")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in ENDLESS else []) for name in HOSTILE]
)
def test_a_hostile_program_fails_and_reaches_nothing(name: str, way: Way, home: Path) -> None:
    before, interpreters = state(home), _pythons()
    text = textwrap.dedent(HOSTILE[name]).replace("HOME", str(home)).replace("MARK", str(home / "mark"))
    outcome = way(Problem(text.replace("PORT", "9"), "f", "", TEST), LIMITS, "")
    assert not outcome.passed and outcome.reason
    assert state(home) == before and (home / "secret").read_text() == "4"
    assert _pythons() <= interpreters, "a process of the program has outlived it"


def test_programs_that_listen_are_real_and_could_be_reached_from_outside(way: Way, home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(home / "socket"))


def test_a_program_has_a_scratch_disk_of_its_own(way: Way) -> None:
    text = "def f(x):\n    open('note', 'a').write('x' * x)\n    return x * len(open('note').read())"
    first = "def check(candidate):\n    assert candidate(2) == 4\n"
    assert way(Problem(text, "f", "", first), LIMITS, "").passed
    assert way(Problem(text, "f", "", first), LIMITS, "").passed  # nothing is left of the first


def test_a_program_may_use_the_standard_library(way: Way) -> None:
    text = """
import collections, datetime, fractions, functools, hashlib, heapq, itertools, json, math, random, re, statistics
import string, tempfile, threading, time, typing
def f(x):
    with tempfile.TemporaryFile() as file:
        file.write(hashlib.md5(str(random.random()).encode()).digest())
    return int(fractions.Fraction(x) * x)
"""
    assert way(Problem(text, "f", "", TEST), Limits(), "") == Outcome(True)


def test_an_exception_of_the_program_is_raised_in_the_test(way: Way) -> None:
    test = """
def check(candidate):
    try:
        candidate(2)
    except ValueError:
        return
    assert False
"""
    assert way(Problem("def f(x):\n    raise ValueError('no')", "f", "", test), LIMITS, "").passed


@pytest.mark.parametrize("text", ["def f(x):\n    while True: pass", "import os\ndef f(x):\n    os._exit(0)"])
def test_a_test_that_takes_any_exception_for_right_is_not_passed_by_a_program_that_fails(text: str) -> None:
    test = "def check(candidate):\n    try:\n        candidate(2)\n    except Exception:\n        pass\n"
    assert not mine(Problem(text, "f", "", test), LIMITS, "").passed


def test_what_stands_under_main_is_not_run() -> None:
    text = "def f(x):\n    return x * x\nif __name__ == '__main__':\n    print(f(int(input())))"
    assert mine(Problem(text, "f", "", TEST), LIMITS, "") == Outcome(True)


def test_a_test_may_print() -> None:
    test = TEST + "    print('all is well')\n"
    assert mine(Problem("def f(x):\n    return x * x", "f", "", test), LIMITS, "") == Outcome(True)


VALUES = {
    "a counter": ("import collections\ndef f(x):\n    return collections.Counter('aab')", "{'a': 2, 'b': 1}"),
    "a default dictionary": (
        "import collections\ndef f(x):\n    d = collections.defaultdict(int)\n    d[1] += x\n    return d",
        "{1: 2}",
    ),
    "a named tuple": (
        "import collections\ndef f(x):\n    return collections.namedtuple('P', 'a b')(x, 3)",
        "(2, 3)",
    ),
    "a number of its own kind": ("import enum\ndef f(x):\n    return enum.IntEnum('E', 'A B')(x)", "2"),
    "a list of its own kind": ("class L(list): pass\ndef f(x):\n    return L([x])", "[2]"),
    "a text of its own kind": ("class S(str): pass\ndef f(x):\n    return S('x' * x)", "'xx'"),
    "a fraction": ("import fractions\ndef f(x):\n    return fractions.Fraction(x, 4)", "0.5"),
    "a decimal": ("import decimal\ndef f(x):\n    return decimal.Decimal(x)", "2"),
    "bytes that change": ("def f(x):\n    return bytearray([x])", "b'\\x02'"),
    "a range": ("def f(x):\n    return range(x)", "range(2)"),
}


@pytest.mark.parametrize("name", list(VALUES))
def test_a_value_that_is_equal_to_the_expected_one_is_right(name: str) -> None:
    text, expected = VALUES[name]
    test = f"def check(candidate):\n    assert candidate(2) == {expected}\n"
    assert mine(Problem(text, "f", "", test), LIMITS, "") == Outcome(True)


def test_an_argument_that_the_program_changes_is_changed_in_the_test() -> None:
    test = """
def check(candidate):
    given = [3, 1, 2]
    assert candidate(given) is None and given == [1, 2, 3]
    assert candidate(x=given) is None
"""
    assert mine(Problem("def f(x):\n    x.sort()", "f", "", test), LIMITS, "") == Outcome(True)


def _pythons() -> set[str]:
    """Processes that run the text of the inside of a jail, after a moment to end."""
    for _ in range(20):
        if not (found := _running()):
            break
        time.sleep(0.05)
    return found


def _running() -> set[str]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"serve(int(sys.argv" in (folder / "cmdline").read_bytes():
                found.add(folder.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    "value", [None, True, 0, -(2**80), 1.5, float("inf"), "a\n", b"\0", (1, [2, {3}]), {"a": {(1,): None}}, 1j]
)
def test_a_plain_value_comes_back_with_its_types(value: object) -> None:
    back = load(dump(value))
    assert back == value and type(back) is type(value)


def test_what_is_no_plain_value_is_refused() -> None:
    for value in (object(), len, [os]):
        with pytest.raises(Foreign):
            dump(value)
    for text in ("", "5", "[1]", "{}", '{"int": "x"}', '{"os": 1}', '{"dict": 3}', "[" * 5000):
        with pytest.raises(Foreign):
            load(text)
