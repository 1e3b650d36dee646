"""Programs that want more than they may: to reach what is outside, to stay, or to pass without being right."""

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
    "a process that leaves its session": "import os, time\nos.setsid()\ndef f(x):\n    time.sleep(1000)",
    "a process that leaves its parents": """
        import os, time
        for _ in range(2):
            if os.fork(): os._exit(0)
            os.setsid()
        time.sleep(1000)
    """,
    "a socket in a folder": """
        import socket
        def f(x):
            line = socket.socket(socket.AF_UNIX)
            line.connect('HOME/socket')
            return 4 if x == 2 else 9
    """,
    "another's rights": "import os\ndef f(x):\n    os.chmod('HOME', 0o777)\n    return x * x",
    "another's times": "import os\ndef f(x):\n    os.utime('HOME/secret', (1, 1))\n    return x * x",
    "what files there are": "import os\ndef f(x):\n    os.stat('HOME/secret')\n    return x * x",
    "a folder outside": "import os\ndef f(x):\n    os.chdir('HOME')\n    return x * x",
    "the folder above the root": "import os\ndef f(x):\n    os.chdir('/..')\n    return x * len(os.listdir('HOME'))",
    "an open folder of the jail": """
        import os
        def f(x):
            for number in range(3, 64):
                try: return os.listdir(f'/proc/self/fd/{number}')
                except OSError: pass
                try: os.fchdir(number); return os.listdir('..')
                except OSError: pass
            raise OSError
    """,
    "shared memory": """
        import ctypes
        def f(x):
            libc = ctypes.CDLL(None)
            return x * x if libc.shmget(0, 1 << 28, 0o1600) >= 0 else None
    """,
    "a file in memory": "import os\ndef f(x):\n    os.memfd_create('m')\n    return x * x",
    "calls by another number": """
        import ctypes
        def f(x):
            libc = ctypes.CDLL(None)
            return x * x if libc.syscall(0x40000000 + 319, b'm', 0) >= 0 else None
    """,
    "a change of the interpreter": """
        import os, sys
        def f(x):
            for folder, _, files in os.walk(sys.prefix):
                for name in files[:1]: open(os.path.join(folder, name), 'a').write('#')
            return x * x
    """,
    "a late end": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x):\n    raise SystemExit",
}

# Those that are ended by the clock: they take their time, so most of them run with the slow tests.
ENDLESS = frozenset(
    {
        "fork bomb",
        "threads without end",
        "memory bit by bit",
        "endless loop on import",
        "sleep",
        "no signal stops it",
        "a process that leaves its session",
    }
)
