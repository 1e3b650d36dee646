"""HumanEval: what is taken from an answer, the unbiased estimator, and the authors' own solutions in the jail."""

from itertools import combinations

import pytest

from fedllm_bench.errors import AssetError
from fedllm_bench.evaluate.humaneval import Task, pass_at, tasks
from fedllm_bench.evaluate.programs import program_of
from fedllm_bench.evaluate.sandbox.cell import Limits
from fedllm_bench.evaluate.sandbox.run import Problem, kind_of_sandbox, run, run_many

TASK = Task(
    id="made/0",
    prompt='import math\n\n\ndef area(r: float) -> float:\n    """The area of a circle."""\n',
    function="area",
    test="def check(candidate):\n    assert abs(candidate(1.0) - 3.14159) < 1e-3\n    assert area(0.0) == 0\n",
    solution="    return math.pi * r * r\n",
)
WHOLE = "def area(r: float) -> float:\n    return math.pi * r**2\n"

ANSWERS = {
    "a body as the completion": TASK.solution,
    "a body without its indent": "return math.pi * r * r",
    "the whole function": WHOLE,
    "a block": f"Here it is:\n```python\n{WHOLE}```\nIt is right.",
    "a block with capitals": f"```Python\n{WHOLE}```",
    "a block without a language": f"```\n{WHOLE}```",
    "a block that is cut": f"```python\n{WHOLE}",
    "the second block": f"```python\nprint(area(1))\n```\nand\n```python\n{WHOLE}```",
    "a block of the body": "```python\n    return math.pi * r * r\n```",
    "an indented function": "    def area(r):\n        return math.pi * r * r\n",
    "a body that lost its first blanks": "if r < 0:\n        r = -r\n    return math.pi * r * r",
    "a block of such a body": "```python\nif r < 0:\n        r = -r\n    return math.pi * r * r\n```",
    "a block that begins within a line": f"The function: ```python\n{WHOLE}```",
    "a block with a version": f"```python3\n{WHOLE}```",
    "a block with a title": f"```python title=area.py\n{WHOLE}```",
    "a block of tildes": f"~~~python\n{WHOLE}~~~\n",
    "lines that end as on Windows": f"Sure.\n```python\n{WHOLE}```\nDone.".replace("\n", "\r\n"),
    "a block of another language before it": f"```bash\npip install nothing\n```\n```python\n{WHOLE}```",
    "a helper in a block of its own": "```python\ndef square(x):\n    return x * x\n```\nand\n"
    f"```python\n{WHOLE.replace('r**2', 'square(r)')}```",
    "a stub before the whole": f"```python\n{TASK.prompt}    pass\n```\nFilled in:\n```python\n{WHOLE}```",
    "a use that would fail": f"```python\n{WHOLE}```\nUse:\n```python\nassert area(1) == 3\n```",
    "a function among words": f"Here is the function:\n\n{WHOLE}\nIt multiplies pi with the square of r.",
    "what comes from the future": f"```python\nfrom __future__ import annotations\n{WHOLE}```",
    "a helper before it": f"```python\ndef square(x):\n    return x * x\n\n{WHOLE.replace('r**2', 'square(r)')}```",
}


@pytest.mark.parametrize("name", list(ANSWERS))
def test_the_program_is_found_in_an_answer(name: str) -> None:
    problem = Problem(program_of(TASK.prompt, TASK.function, ANSWERS[name]), TASK.function, TASK.prompt, TASK.test)
    outcome = run(problem, Limits(), kind_of_sandbox())
    assert outcome.passed, outcome.reason


@pytest.mark.parametrize("answer", ["", "I cannot help with that.", "```python\n```", "def area(r):\n    return 0"])
def test_an_answer_without_the_function_fails(answer: str) -> None:
    problem = Problem(program_of(TASK.prompt, TASK.function, answer), TASK.function, TASK.prompt, TASK.test)
    assert not run(problem, Limits(), kind_of_sandbox()).passed


@pytest.mark.parametrize(("count", "right", "k"), [(1, 0, 1), (1, 1, 1), (5, 2, 1), (5, 2, 3), (6, 1, 5), (4, 4, 2)])
def test_pass_at_k_is_the_share_of_all_draws_with_a_right_answer(count: int, right: int, k: int) -> None:
    draws = list(combinations(range(count), k))
    share = sum(any(at < right for at in draw) for draw in draws) / len(draws)
    assert pass_at(count, right, k) == pytest.approx(share)


@pytest.mark.slow
def test_all_solutions_pass_and_all_broken_ones_fail() -> None:
    try:
        known = tasks()
    except AssetError as error:
        pytest.skip(str(error))
    assert len(known) == 164
    own = [program_of(task.prompt, task.function, task.solution.strip()) for task in known]
    assert failed([task.prompt + task.solution for task in known], known) == []
    assert failed(own, known) == []
    assert len(failed([task.prompt + "    return None\n" for task in known], known)) == 164


def failed(programs: list[str], known: list[Task]) -> list[str]:
    """The problems whose programs do not pass."""
    problems = [
        Problem(text, task.function, task.prompt, task.test) for text, task in zip(programs, known, strict=True)
    ]
    outcomes = run_many(problems, Limits(), kind_of_sandbox())
    return [task.id for task, outcome in zip(known, outcomes, strict=True) if not outcome.passed]
