"""A budget is never exceeded, whatever a server does, and is not used up by what nobody answered."""

from pathlib import Path

import pytest

from fedllm_bench.endpoint import Endpoint, EndpointError
from fedllm_bench.evaluate.judging.budget import Budget, forecast
from fedllm_bench.evaluate.judging.judge import EndpointJudge
from fedllm_bench.evaluate.judging.judged import Forecast, judged
from fedllm_bench.evaluate.judging.rubric import JudgeItem, Rubric
from fedllm_bench.evaluate.questions import Answer, Question
from fedllm_bench.examples import Turn
from served import Behaviour, Served, closing, completion, failing, hanging, saying, served

SHORT = Rubric("short", "1", "{answer}")


def items(count: int) -> list[JudgeItem]:
    return [
        JudgeItem(Question(str(at), (f"q {at}",)), Answer(str(at), (f"answer {at}.",), (True,), (3,), (False,)))
        for at in range(count)
    ]


def at(server: Served, retries: int = 0, timeout: float = 5.0, max_tokens: int = 1000) -> EndpointJudge:
    return EndpointJudge(Endpoint(server.address, "x", 1, retries, timeout), "m", max_tokens=max_tokens)


def used(sent: object, back: object, total: object = None) -> Behaviour:
    usage = {"prompt_tokens": sent, "completion_tokens": back, "total_tokens": total}
    return saying({**completion("[[5]]"), "usage": usage})


@pytest.mark.parametrize("text", ["తెలుగు" * 100, "0123456789" * 150, "word " * 100], ids=["Telugu", "digits", "words"])
def test_a_request_is_paid_for_with_a_token_for_each_byte(text: str) -> None:
    budget = Budget(money=1.0, price_in=1e6 / 10_000)
    assert budget.pays([Turn("user", text)], 0)
    assert budget.money is not None and 1.0 - budget.money >= len(text.encode()) / 10_000
    assert not Budget(money=0.5, price_in=1.0).pays([Turn("user", "x" * 500_000)], 0)


def test_what_the_server_did_not_use_comes_back(tmp_path: Path) -> None:
    with served(used(10, 90)) as server:
        budget = Budget(money=0.0025, price_in=1.0, price_out=1.0)
        found = judged(at(server), SHORT, items(10), tmp_path, budget)
        assert [each.score for each in found] == [5] * 10 and budget.money == pytest.approx(0.0015)


@pytest.mark.parametrize(
    "usage",
    [(0, 0), (10, None), (-5, 900), ("10", "20"), (10, 10, 1000)],
    ids=["0", "none", "below 0", "text", "thoughts"],
)
def test_a_usage_that_says_too_little_brings_nothing_back(usage: tuple[object, ...], tmp_path: Path) -> None:
    with served(used(*usage)) as server:
        budget = Budget(money=0.0025, price_out=1.0)
        judged(at(server), SHORT, items(4), tmp_path, budget)
        assert len(server.log.requests) == 2 and budget.money == pytest.approx(0.0005, abs=3e-5)


@pytest.mark.parametrize("bad", [saying('{"choices": [{"mess'), saying({"choices": {}}), closing, hanging])
def test_a_request_that_may_have_been_billed_is_paid_for_again(bad: Behaviour, tmp_path: Path) -> None:
    with served(bad) as server:
        budget = Budget(requests=1)
        (found,) = judged(at(server, retries=2, timeout=0.3), SHORT, items(1), tmp_path, budget)
        assert len(server.log.requests) == 1 and budget.requests == 0
        assert found.unscored == "the budget is used up"


def test_a_request_that_the_server_refused_for_now_is_sent_again_for_nothing(tmp_path: Path) -> None:
    half = saying('{"choices": [{"mess')
    with served(failing(500), half, saying(completion("[[5]]"))) as server:
        budget = Budget(requests=2)
        (found,) = judged(at(server, retries=2), SHORT, items(1), tmp_path, budget)
        assert found.score == 5 and budget.requests == 0 and len(server.log.requests) == 3


def test_no_redirection_is_followed(tmp_path: Path) -> None:
    with served(failing(307, headers={"Location": "/v1/chat/completions"})) as server:
        with pytest.raises(EndpointError, match="has moved") as caught:
            judged(at(server, retries=2), SHORT, items(1), tmp_path)
        assert len(server.log.requests) == 1 and "OPENAI_BASE_URL" in str(caught.value.hint)


def test_a_dead_server_does_not_use_up_the_budget(tmp_path: Path) -> None:
    budget = Budget(requests=100, money=1.0, price_out=1.0)
    with served(failing(401)) as server, pytest.raises(EndpointError, match="refuses the key"):
        judged(at(server), SHORT, items(90), tmp_path, budget)
    assert budget.requests is not None and 100 - budget.requests == len(server.log.requests) == 5
    before = budget.requests
    nowhere = EndpointJudge(Endpoint("http://127.0.0.1:9/v1", "x", 5, retries=1), "m")
    with pytest.raises(EndpointError, match="cannot be reached"):
        judged(nowhere, SHORT, items(5), tmp_path, budget)
    assert before - budget.requests == 5  # once for each that failed, not for its repetitions


def test_a_refused_text_costs_a_request_and_no_money(tmp_path: Path) -> None:
    with served(failing(413)) as server:
        budget = Budget(requests=5, money=1.0, price_out=1.0)
        judged(at(server), SHORT, items(3), tmp_path, budget)
        assert (budget.requests, budget.money) == (2, pytest.approx(1.0))


def test_what_is_foretold_is_what_the_budget_is_likely_to_pay_for(tmp_path: Path) -> None:
    told: list[Forecast] = []
    with served(used(10, 90)) as server:
        judged(at(server), SHORT, items(9), tmp_path, Budget(requests=4), foretold=told.append)
        judged(at(server), SHORT, items(9), tmp_path, Budget(requests=0), foretold=told.append)
    assert [each.requests for each in told] == [4]
    texts = [[Turn("user", "x" * 300)]] * 100
    found = forecast(texts, Budget(money=0.01, price_in=1.0, price_out=1.0), 1000)
    assert 10 <= found.requests < 30 and found.cost < 0.01


def test_no_more_tokens_are_foretold_than_a_reply_may_have() -> None:
    texts = [(Turn("user", "x" * 30),)] * 2
    assert forecast(texts, Budget(price_in=1.0, price_out=1.0), 64).tokens_out == 128
    assert forecast(texts, Budget(), 0).tokens_out == 600  # a judge that costs nothing says as much as any
