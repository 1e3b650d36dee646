"""The way into the jail: namespaces, a root folder of its own, Landlock, a filter of calls, limits; then the program.

Its text runs in a process of its own: `python -I -S -c TEXT SETTINGS`. Root, whom limits of processes do not bind,
becomes a user that nothing else is. The text imports the standard library alone. Nothing is left to chance: whatever
cannot be done ends the process before the program under test begins.
"""

import ctypes
import json
import os
import platform
import resource
import signal
import stat
import struct
import sys
from pathlib import Path
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
DETACH = 2
HERE, BELOW, READ_ONLY = -100, 0x8000, 1
CREATE_RULESET, ADD_RULE, RESTRICT, SET_ATTRIBUTES = 444, 445, 446, 442  # calls, the same on every architecture
PATH_BENEATH = 1
EXECUTE, WRITE, READ, READ_DIR = 1, 2, 4, 8
ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
ALL = (1 << 16) - 1
DEATH_SIGNAL, DUMPABLE, SECCOMP, NO_NEW_PRIVILEGES = 1, 4, 22, 38
# Calls that take memory which no limit of a process counts (shmget, msgget, memfd_create, memfd_secret), and two more
# ways round limits and walls (io_uring_setup, userfaultfd): architecture's number to theirs.
REFUSED = {
    "x86_64": (0xC000003E, (29, 68, 319, 447, 425, 323)),
    "aarch64": (0xC00000B7, (194, 186, 279, 447, 425, 282)),
}
OTHER_ABI = 0x40000000  # numbers from here on are the same calls by other names (x32)

libc = ctypes.CDLL(None, use_errno=True)


def enter(settings: dict[str, Any]) -> None:
    """Take every step that the settings name, and become the program that they name."""
    die_with_parent()
    if settings["namespaces"]:
        own_namespaces(settings)
    os.chdir(settings["work"])
    limit(settings)
    must(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    landlock(settings["readable"], settings["work"])
    refuse_calls()
    environment = {"PATH": "/usr/bin:/bin", "HOME": settings["work"], "LD_LIBRARY_PATH": settings["libraries"]}
    os.execve(settings["command"][0], settings["command"], environment)


def die_with_parent() -> None:
    """The kernel forgets this at every change of user."""
    libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def own_namespaces(settings: dict[str, Any]) -> None:
    """No other process, network or file is to be seen from here on."""
    is_root = os.geteuid() == 0
    hidden = NEW_PID | NEW_NET | NEW_MOUNT | NEW_IPC | NEW_UTS
    if is_root:
        must(libc.unshare(hidden), "namespaces")
    else:
        own_user(hidden)
        die_with_parent()
    first_inside()
    own_root(settings)
    if is_root:
        user = settings["user"]
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def first_inside() -> None:
    """Go on in the second process of the new namespace.

    The first one dies with the process outside, and all others with it, whatever they have done to themselves; it is
    none that the program could reach.
    """
    if child := os.fork():
        os.waitpid(child, 0)
        os._exit(0)
    die_with_parent()
    libc.prctl(DUMPABLE, 0, 0, 0, 0)
    if child := os.fork():
        os.waitpid(child, 0)
        os._exit(0)


def own_user(flags: int) -> None:
    """A user namespace in which the own id is the only one."""
    user, group = os.getuid(), os.getgid()
    must(libc.unshare(NEW_USER | flags), "a user namespace")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def own_root(settings: dict[str, Any]) -> None:
    """A root folder that holds the interpreter, its libraries and a scratch disk, and nothing else of this machine."""
    root = settings["root"]
    must(libc.mount(b"none", b"/", None, RECURSIVE | PRIVATE, None), "private mounts")
    mount_disk(root, "size=1m,mode=0755")
    for source, target in settings["seen"]:
        place = Path(root + target)
        (place if Path(source).is_dir() else place.parent).mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.touch()
        must(libc.mount(source.encode(), bytes(place), None, BIND | RECURSIVE, None), f"a view of {source}")
    Path(root + settings["work"]).mkdir()
    attributes = struct.pack("QQQQ", READ_ONLY, 0, 0, 0)
    must(libc.syscall(SET_ATTRIBUTES, HERE, root.encode(), BELOW, attributes, len(attributes)), "read-only views")
    mount_disk(root + settings["work"], f"size={settings['disk']},nr_inodes=2000,mode=0777")
    os.chdir(root)
    must(libc.pivot_root(b".", b"."), "a root folder")
    must(libc.umount2(b".", DETACH), "leaving the old root folder")
    os.chdir("/")


def mount_disk(place: str, options: str) -> None:
    """A disk in memory."""
    must(libc.mount(b"tmpfs", place.encode(), b"tmpfs", NO_SUID | NO_DEV, options.encode()), f"a disk at {place}")


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
        resource.RLIMIT_MSGQUEUE: 0,
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


def refuse_calls() -> None:
    """Have the kernel refuse some calls for good (seccomp): EPERM for those, death for those of another processor."""
    machine = platform.machine()
    must(-1 if machine not in REFUSED else 0, f"a filter of calls for {machine}")
    architecture, numbers = REFUSED[machine]
    load, same, at_least, answer = 0x20, 0x15, 0x35, 0x06
    kill, refuse, grant = 0x80000000, 0x00050000 | 1, 0x7FFF0000
    # Each step: code, how many to skip if true, and if false, operand (struct sock_filter).
    steps = [(load, 0, 0, 4), (same, 1, 0, architecture), (answer, 0, 0, kill), (load, 0, 0, 0)]
    steps += [(at_least, len(numbers) + 1, 0, OTHER_ABI)]
    steps += [(same, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    steps += [(answer, 0, 0, grant), (answer, 0, 0, refuse)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    whole = struct.pack("HP", len(steps), ctypes.addressof(program))
    must(libc.prctl(SECCOMP, 2, whole, 0, 0), "a filter of calls")


def must(result: int, what: str) -> None:
    """End the process if a step failed, with what and why on standard error."""
    if result < 0:
        sys.stderr.write(f"{what}: {os.strerror(ctypes.get_errno())}\n")
        sys.stderr.flush()
        os._exit(97)


if __name__ == "__main__":
    enter(json.loads(sys.argv[1]))
