"""`python -m ...checker`: one problem on standard input, its outcome on standard output.

A process of its own, so that neither endless tests nor what they define outlive their problem.
"""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from fedllm_bench.evaluate.sandbox.cell import Limits, Refused, opened

__all__ = ["outcome"]


def outcome(request: dict[str, Any]) -> tuple[bool, str]:
    """Whether the program stands its tests, and if not, why."""
    problem, refused = request["problem"], list[str]()
    names: dict[str, Any] = {"__name__": "tests"}
    exec(compile(problem["preamble"] + "\n" + problem["test"], "tests", "exec"), names)
    limits, scratch = Limits(**request["limits"]), Path(request["scratch"])
    try:
        with opened(limits, request["kind"], request["number"], scratch) as cell, redirect_stdout(None):
            cell.define(problem["program"], problem["function"])

            def candidate(*arguments: Any, **named: Any) -> Any:
                try:
                    return cell.call(*arguments, **named)
                except Refused as error:  # a test may take any exception for the one it waits for
                    refused.append(str(error))
                    raise

            names[problem["function"]] = candidate  # some tests call it by its own name
            names["check"](candidate)
    except Refused as error:
        return False, str(error)
    except AssertionError:
        return False, "gives a wrong result"
    except Exception as error:  # of the program's function, or of a test that meets what it does not expect
        return False, f"raises {type(error).__name__}"
    return not refused, next(iter(refused), "")


if __name__ == "__main__":
    passed, reason = outcome(json.load(sys.stdin))
    print(json.dumps({"passed": passed, "reason": reason}))
