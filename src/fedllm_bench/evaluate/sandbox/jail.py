"""The way into the jail: namespaces, a scratch disk in memory, Landlock, limits; then another program takes over.

Its text runs in a process of its own: `python -I -S -c TEXT SETTINGS`. Root, whom limits of processes do not bind,
becomes a user that nothing else is; the interpreter is mounted where that user can reach it. The text imports the
standard library alone. Nothing is left to chance: whatever cannot be done ends the process before the program under
test begins.
"""

import ctypes
import json
import os
import resource
import signal
import stat
import struct
import sys
from typing import Any

NEW_USER, NEW_PID, NEW_NET, NEW_MOUNT, NEW_IPC, NEW_UTS = (
    0x10000000,
    0x20000000,
    0x40000000,
    0x00020000,
    0x08000000,
    0x04000000,
)
PRIVATE, RECURSIVE, BIND, NO_SUID, NO_DEV = 1 << 18, 1 << 14, 1 << 12, 2, 4
CREATE_RULESET, ADD_RULE, RESTRICT = 444, 445, 446  # system calls, the same on every architecture
PATH_BENEATH = 1
EXECUTE, WRITE, READ, READ_DIR = 1, 2, 4, 8
ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
ALL = (1 << 16) - 1
DEATH_SIGNAL, DUMPABLE, NO_NEW_PRIVILEGES = 1, 4, 38

libc = ctypes.CDLL(None, use_errno=True)


def enter(settings: dict[str, Any]) -> None:
    """Take every step that the settings name, and become the program that they name."""
    libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if settings["namespaces"]:
        own_namespaces(settings)
    os.chdir(settings["work"])
    limit(settings)
    must(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    landlock(settings["readable"], settings["work"])
    environment = {"PATH": "/usr/bin:/bin", "HOME": settings["work"], "LD_LIBRARY_PATH": settings["libraries"]}
    os.execve(settings["command"][0], settings["command"], environment)


def own_namespaces(settings: dict[str, Any]) -> None:
    """No other process, network or mount is to be seen from here on."""
    is_root = os.geteuid() == 0
    hidden = NEW_PID | NEW_NET | NEW_MOUNT | NEW_IPC | NEW_UTS
    if is_root:
        must(libc.unshare(hidden), "namespaces")
    else:
        own_user(hidden)
    child = os.fork()
    if child:  # outside the new process namespace; the first process inside takes all others with it when it ends
        os.waitpid(child, 0)
        os._exit(0)
    libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    must(libc.mount(b"none", b"/", None, RECURSIVE | PRIVATE, None), "private mounts")
    home, python = settings["home"].encode(), settings["python"].encode()
    must(libc.mount(home, python, None, BIND | RECURSIVE, None), "the interpreter")
    options = f"size={settings['disk']},nr_inodes=2000,mode=0777".encode()
    must(libc.mount(b"tmpfs", settings["work"].encode(), b"tmpfs", NO_SUID | NO_DEV, options), "scratch disk")
    if is_root:
        user = settings["user"]
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        libc.prctl(DUMPABLE, 1, 0, 0, 0)  # else the files that map ids belong to root
        own_user(0)


def own_user(flags: int) -> None:
    """A user namespace in which the own id is the only one."""
    user, group = os.getuid(), os.getgid()
    must(libc.unshare(NEW_USER | flags), "a user namespace")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def limit(settings: dict[str, Any]) -> None:
    """Time of the processor, memory, processes, open files and their sizes."""
    limits = {
        resource.RLIMIT_CPU: settings["seconds"],
        resource.RLIMIT_AS: settings["memory"],
        resource.RLIMIT_NPROC: settings["processes"],
        resource.RLIMIT_FSIZE: settings["disk"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))


def landlock(readable: list[str], work: str) -> None:
    """Files can be read below some folders, and written below one; nothing else has a name any more."""
    abi = libc.syscall(CREATE_RULESET, None, 0, 1)
    must(-1 if abi < 1 else 0, "Landlock")
    handled = ALL_BY_ABI.get(abi, ALL)
    ruleset = libc.syscall(CREATE_RULESET, struct.pack("Q", handled), 8, 0)
    must(ruleset, "Landlock's rules")
    for folder in readable:
        allow(ruleset, folder, EXECUTE | READ | READ_DIR)
    allow(ruleset, work, handled)
    allow(ruleset, os.devnull, READ | WRITE)
    must(libc.syscall(RESTRICT, ruleset, 0), "Landlock's walls")
    os.close(ruleset)


def allow(ruleset: int, path: str, access: int) -> None:
    """One rule; a file has no folders to read."""
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
    rights = access if is_folder else access & (EXECUTE | WRITE | READ)
    must(libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", rights, handle), 0), f"a rule for {path}")
    os.close(handle)


def must(result: int, what: str) -> None:
    """End the process if a step failed, with what and why on standard error."""
    if result < 0:
        sys.stderr.write(f"{what}: {os.strerror(ctypes.get_errno())}\n")
        sys.stderr.flush()
        os._exit(97)


if __name__ == "__main__":
    enter(json.loads(sys.argv[1]))
