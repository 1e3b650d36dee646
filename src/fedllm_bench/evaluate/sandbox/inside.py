"""What runs inside the jail: the program under test, whose function is called as often as it is asked for.

Its text follows that of `values`, in a process of its own that has nothing of this package. Requests come on standard
input, replies leave on a descriptor. The program may find that and write to it: all it can say there is what its
function returns.
"""

import os
import sys
from collections.abc import Callable
from typing import Any


def serve(replies: int, dump: Callable[[Any], str], load: Callable[[str], Any]) -> None:
    """Define the program, then call its function with each line of arguments."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    out = os.fdopen(replies, "w", encoding="utf-8")

    def say(word: str, value: Any) -> None:
        out.write(word + " " + dump(value) + "\n")
        out.flush()

    program = load(requests.readline())
    # A module like any other, not the one that is started: what stands under `__main__` is for people.
    module = sys.modules["program"] = type(sys)("program")
    names = vars(module)
    try:
        exec(compile(program["text"], "program", "exec"), names)
        function = names[program["function"]]
        say("ready", None)
    except BaseException as error:
        say("failed", type(error).__name__)
        os._exit(1)
    for line in requests:
        arguments, named = load(line)
        try:
            say("returned", [function(*arguments, **named), arguments, named])
        except MemoryError:
            say("raised", ["MemoryError", ["MemoryError"], ""])
        except BaseException as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            say("raised", [kinds[0], kinds, message_of(error)])
    os._exit(0)


def message_of(error: BaseException) -> str:
    """What an exception says, if it can say it."""
    try:
        return str(error)[:1000]
    except BaseException:
        return ""


if __name__ == "__main__":
    serve(int(sys.argv[1]), dump, load)  # type: ignore[name-defined]  # noqa: F821 (of `values`)
