"""`python -m ...checker`: one problem on standard input, its outcome on standard output.

A process of its own, so that neither endless tests nor what they define outlive their problem.
"""

import json
import sys
from typing import Any

from fedllm_bench.evaluate.sandbox.cell import Limits, Refused, opened

__all__ = ["outcome"]


def outcome(request: dict[str, Any]) -> tuple[bool, str]:
    """Whether the program stands its tests, and if not, why."""
    problem = request["problem"]
    names: dict[str, Any] = {"__name__": "tests"}
    exec(compile(problem["preamble"] + "\n" + problem["test"], "tests", "exec"), names)
    try:
        with opened(Limits(**request["limits"]), request["kind"], request["number"]) as cell:
            cell.define(problem["program"], problem["function"])
            names[problem["function"]] = cell.call  # some tests call it by its own name
            names["check"](cell.call)
    except Refused as error:
        return False, str(error)
    except AssertionError:
        return False, "gives a wrong result"
    except Exception as error:  # of the program's function, or of a test that meets what it does not expect
        return False, f"raises {type(error).__name__}"
    return True, ""


if __name__ == "__main__":
    passed, reason = outcome(json.load(sys.stdin))
    print(json.dumps({"passed": passed, "reason": reason}))
