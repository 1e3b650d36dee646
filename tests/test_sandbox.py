"""Programs in the jail: sound ones pass, and hostile ones neither pass nor reach anything outside."""

import os
import textwrap
from pathlib import Path

import pytest

from fedllm_bench.evaluate.sandbox.cell import Limits
from fedllm_bench.evaluate.sandbox.run import Problem, kind_of_sandbox, run
from fedllm_bench.evaluate.sandbox.values import Foreign, dump, load

TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n"
LIMITS = Limits(seconds=1, memory=512 << 20)

# What each tries; none of them returns the square that is asked for.
HOSTILE = {
    "fork bomb": """
        import os
        def f(x):
            while True:
                try: os.fork()
                except OSError: pass
    """,
    "threads without end": """
        import threading, time
        def f(x):
            while True:
                threading.Thread(target=time.sleep, args=(60,)).start()
    """,
    "memory": "def f(x):\n    return len(b'x' * (4 << 30))",
    "memory bit by bit": "def f(x):\n    held = []\n    while True: held.append(bytearray(1 << 24))",
    "disk": """
        def f(x):
            for number in range(10_000):
                with open(f'big{number}', 'wb') as file: file.write(b'0' * (1 << 20))
    """,
    "one large file": "def f(x):\n    open('big', 'wb').write(b'0' * (1 << 28))",
    "endless loop": "def f(x):\n    while True: pass",
    "endless loop on import": "while True: pass",
    "sleep": "import time\ndef f(x):\n    time.sleep(1000)",
    "TCP": "import socket\ndef f(x):\n    socket.create_connection(('127.0.0.1', PORT), 2).send(b'reached')",
    "UDP": "import socket\ndef f(x):\n    socket.socket(2, 2).sendto(b'reached', ('192.0.2.1', 53))",
    "names of hosts": "import socket\ndef f(x):\n    socket.getaddrinfo('example.org', 80)",
    "home": "import pathlib\ndef f(x):\n    return [p.read_text() for p in pathlib.Path('HOME').iterdir()][0]",
    "root's home": "import os\ndef f(x):\n    return os.listdir('/root')",
    "passwords": "def f(x):\n    return open('/etc/passwd').read()",
    "environment of others": "def f(x):\n    return open('/proc/1/environ').read()",
    "own parent": "import os\ndef f(x):\n    os.kill(os.getppid() or 1, 9)",
    "every process": "import os\ndef f(x):\n    os.kill(-1, 9)",
    "process group": "import os\ndef f(x):\n    os.killpg(0, 9)",
    "a file outside": "def f(x):\n    open('MARK', 'w').write('reached')",
    "a link outside": "import os\ndef f(x):\n    os.symlink('MARK', 'link')\n    open('link', 'w').write('reached')",
    "removal": "import shutil\ndef f(x):\n    shutil.rmtree('HOME')",
    "exit 0": "import sys\ndef f(x):\n    sys.exit(0)",
    "exit 0 at once": "import sys\nsys.exit(0)",
    "exit without cleaning": "import os\ndef f(x):\n    os._exit(0)",
    "exit on import": "import os\nos._exit(0)",
    "equal to everything": """
        class Yes:
            def __eq__(self, other): return True
        def f(x):
            return Yes()
    """,
    "a number that is equal to everything": """
        class Yes(int):
            def __eq__(self, other): return True
        def f(x):
            return Yes(1)
    """,
    "a changed check": """
        import builtins, sys
        builtins.check = lambda candidate: None
        sys.modules['tests'] = sys.modules['__main__']
        def f(x):
            return 1
    """,
    "a forged verdict": """
        import os
        def f(x):
            for number in range(3, 64):
                try: os.write(number, b'{"passed": true, "reason": ""}\\n')
                except OSError: pass
            os._exit(0)
    """,
    "forged replies": """
        import os
        def f(x):
            for number in range(3, 64):
                try: os.write(number, b'returned {"int": "0x4"}\\nreturned {"int": "0x4"}\\nready null\\n')
                except OSError: pass
            return 4
    """,
    "a reply that is code": """
        import os
        def f(x):
            for number in range(3, 64):
                try: os.write(number, b'returned {"__import__": "os"}\\n')
                except OSError: pass
            return 1
    """,
    "standard streams": "import sys\ndef f(x):\n    print('passed'); sys.stderr.write('passed'); return input()",
    "endless output": "def f(x):\n    return 'x' * (1 << 27)",
    "deep recursion": "def f(x):\n    return f(x)",
    "a deep value": "def f(x):\n    out = []\n    for _ in range(100_000): out = [out]\n    return out",
    "ptrace": "import ctypes\ndef f(x):\n    return ctypes.CDLL(None).ptrace(16, 1, 0, 0)",
    "a new root": "import os\ndef f(x):\n    os.setuid(0); os.chroot('/')",
    "mounts": "import ctypes\ndef f(x):\n    return ctypes.CDLL(None).mount(b'none', b'/', b'tmpfs', 0, None)",
    "other programs": "import subprocess\ndef f(x):\n    return subprocess.run(['/bin/sh', '-c', 'echo 4']).returncode",
    "higher limits": """
        import resource
        def f(x):
            resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
            return len(bytes(2 << 30))
    """,
    "no signal stops it": """
        import signal
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        def f(x):
            while True: pass
    """,
    "a crash": "import ctypes\ndef f(x):\n    ctypes.string_at(0)",
    "a late end": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x):\n    raise SystemExit",
}


@pytest.fixture(scope="module")
def kind() -> str:
    return kind_of_sandbox()


def test_a_sound_program_passes_and_a_wrong_one_does_not(kind: str) -> None:
    assert run(Problem("def f(x):\n    return x * x", "f", "", TEST), LIMITS, kind).passed
    wrong = run(Problem("def f(x):\n    return x + 2", "f", "", TEST), LIMITS, kind)
    assert (wrong.passed, wrong.reason) == (False, "gives a wrong result")


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_hostile_program_fails_and_reaches_nothing(name: str, kind: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "secret").write_text("4")
    mark = home / "mark"
    text = textwrap.dedent(HOSTILE[name]).replace("HOME", str(home)).replace("MARK", str(mark)).replace("PORT", "9")
    outcome = run(Problem(text, "f", "", TEST), LIMITS, kind)
    assert not outcome.passed and outcome.reason
    assert (home / "secret").read_text() == "4" and not mark.exists()


def test_a_program_has_a_scratch_disk_of_its_own(kind: str) -> None:
    text = "def f(x):\n    open('note', 'a').write('x' * x)\n    return x * len(open('note').read())"
    first = "def check(candidate):\n    assert candidate(2) == 4\n"
    assert run(Problem(text, "f", "", first), LIMITS, kind).passed
    assert run(Problem(text, "f", "", first), LIMITS, kind).passed  # nothing is left of the first


def test_an_exception_of_the_program_is_raised_in_the_test(kind: str) -> None:
    test = """
def check(candidate):
    try:
        candidate(2)
    except ValueError:
        return
    assert False
"""
    assert run(Problem("def f(x):\n    raise ValueError('no')", "f", "", test), LIMITS, kind).passed


def test_no_process_of_a_program_outlives_it(kind: str) -> None:
    text = "import os, time\ndef f(x):\n    os.fork()\n    os.setsid() if False else None\n    time.sleep(1000)"
    before = _pythons()
    run(Problem(text, "f", "", TEST), Limits(seconds=1), kind)
    assert _pythons() <= before


def _pythons() -> set[str]:
    """Processes that run the text of the inside of a jail."""
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
    for value in (object(), type("I", (int,), {})(1), len, [os]):
        with pytest.raises(Foreign):
            dump(value)
    for text in ("", "{}", '{"int": "x"}', '{"os": 1}', '{"dict": 3}', "[" * 5000):
        with pytest.raises(Foreign):
            load(text)
