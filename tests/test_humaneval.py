"""HumanEval: what is taken from an answer, the unbiased estimator, and the authors' own solutions in the jail."""

from itertools import combinations

import pytest

from fedllm_bench.errors import AssetError
from fedllm_bench.evaluate.humaneval import Task, pass_at, program_of, tasks
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
    "a helper before it": f"```python\ndef square(x):\n    return x * x\n\n{WHOLE.replace('r**2', 'square(r)')}```",
}


@pytest.mark.parametrize("name", list(ANSWERS))
def test_the_program_is_found_in_an_answer(name: str) -> None:
    problem = Problem(program_of(TASK, ANSWERS[name]), TASK.function, TASK.prompt, TASK.test)
    outcome = run(problem, Limits(), kind_of_sandbox())
    assert outcome.passed, outcome.reason


@pytest.mark.parametrize("answer", ["", "I cannot help with that.", "```python\n```", "def area(r):\n    return 0"])
def test_an_answer_without_the_function_fails(answer: str) -> None:
    problem = Problem(program_of(TASK, answer), TASK.function, TASK.prompt, TASK.test)
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
    kind = kind_of_sandbox()
    right = [Problem(task.prompt + task.solution, task.function, task.prompt, task.test) for task in known]
    broken = [Problem(task.prompt + "    return None\n", task.function, task.prompt, task.test) for task in known]
    assert [task.id for task, done in zip(known, run_many(right, Limits(), kind), strict=True) if not done.passed] == []
    assert [task.id for task, done in zip(known, run_many(broken, Limits(), kind), strict=True) if done.passed] == []
