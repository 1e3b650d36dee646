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
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        exec(compile(program["text"], "program", "exec"), names)
        function = names[program["function"]]
        say("ready", None)
    except BaseException as error:
        say("failed", type(error).__name__)
        os._exit(1)
    for line in requests:
        try:
            result = function(*load(line))
            say("returned", result)
        except MemoryError:
            say("raised", "MemoryError")
        except BaseException as error:
            say("raised", type(error).__name__)
    os._exit(0)


if __name__ == "__main__":
    serve(int(sys.argv[1]), dump, load)  # type: ignore[name-defined]  # noqa: F821 (of `values`)
