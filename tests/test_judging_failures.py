"""Servers fail, processes meet, money ends: what has arrived is kept, and what is missing is told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedllm_bench.endpoint import Endpoint, EndpointError
from fedllm_bench.errors import DataError
from fedllm_bench.evaluate.judging.budget import Budget
from fedllm_bench.evaluate.judging.judge import EndpointJudge
from fedllm_bench.evaluate.judging.judged import judged
from fedllm_bench.evaluate.judging.other_judges import ScriptedJudge
from fedllm_bench.evaluate.judging.rubric import JudgeItem, own_rubric
from fedllm_bench.evaluate.questions import Answer, Question
from served import Behaviour, Body, Served, Talk, completion, failing, served
from served import saying as sending

VICUNA = own_rubric("vicuna")


def items(count: int) -> list[JudgeItem]:
    return [
        JudgeItem(Question(str(at), (f"q {at}",)), Answer(str(at), (f"answer {at}.",), (True,), (3,), (False,)))
        for at in range(count)
    ]


def saying(content: object, ending: object = "stop") -> Behaviour:
    return lambda talk, body: talk.reply(200, completion(content, ending))


def only_for(answer: str, bad: Behaviour, otherwise: Behaviour) -> Behaviour:
    """Bad for one answer."""
    return lambda talk, body: (bad if answer in json.dumps(body["messages"]) else otherwise)(talk, body)


def at(server: Served, retries: int = 0, **settings: int) -> EndpointJudge:
    return EndpointJudge(Endpoint(server.address, "sk-secret", 1, retries=retries, timeout=5.0), "m", **settings)


def test_a_request_that_fails_is_told_when_all_others_have_been_asked(tmp_path: Path) -> None:
    with served(only_for("answer 1.", failing(500), saying("[[5]]"))) as server:
        with pytest.raises(EndpointError, match=r"1 of 6 judgements failed: .*500") as caught:
            judged(at(server), VICUNA, items(6), tmp_path)
        assert caught.value.hint and len(server.log.requests) == 6
    with served(saying("[[7]]")) as server:
        judge = EndpointJudge(Endpoint(server.address, "x"), "m")
        assert [each.score for each in judged(judge, VICUNA, items(6), tmp_path)] == [7] * 6  # another server


def test_a_server_that_always_fails_is_given_up_soon(tmp_path: Path) -> None:
    with served(failing(500)) as server:
        with pytest.raises(EndpointError):
            judged(at(server), VICUNA, items(50), tmp_path)
        assert len(server.log.requests) == 5


def test_a_text_that_is_refused_is_unscored_for_the_servers_reason_and_asked_for_once(tmp_path: Path) -> None:
    refusing = failing(400, "too long for sk-secret")
    with served(only_for("answer 1.", refusing, saying("[[5]]"))) as server:
        found = judged(at(server), VICUNA, items(3), tmp_path)
        assert [each.score for each in found] == [5, None, 5]
        assert found[1].unscored == "the server does not take it (400: too long for ...)"
        assert len(server.log.requests) == 3


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_is_kept(status: int, tmp_path: Path) -> None:
    with served(only_for("answer 1.", failing(status, "too long"), saying("[[5]]"))) as server:
        first = judged(at(server), VICUNA, items(3), tmp_path)
        assert [each.score for each in first] == [5, None, 5] and len(server.log.requests) == 3
        assert judged(at(server), VICUNA, items(3), tmp_path) == first and len(server.log.requests) == 3


@pytest.mark.parametrize("ending", ["stop", "length", "content_filter"])
def test_an_empty_reply_is_kept(ending: str, tmp_path: Path) -> None:
    def first_empty(talk: Talk, body: Body) -> None:
        empty = len(body["messages"]) == 2 or "answer 1." in body["messages"][1]["content"]
        (saying(None if empty else "[[5]]", ending if empty else "stop"))(talk, body)

    with served(first_empty) as server:
        found = judged(at(server), VICUNA, items(3), tmp_path)
        assert [each.score for each in found] == [5, None, 5] and len(server.log.requests) == 6
        assert judged(at(server), VICUNA, items(3), tmp_path) == found and len(server.log.requests) == 6


def test_an_empty_reply_for_no_reason_is_asked_for_again_another_time(tmp_path: Path) -> None:
    with served(saying("", None), saying("", None), saying("[[5]]")) as server:
        assert judged(at(server), VICUNA, items(1), tmp_path)[0].score is None
        assert judged(at(server), VICUNA, items(1), tmp_path)[0].score == 5


def test_a_reply_that_was_cut_scores_by_no_unfinished_line_even_from_the_cache(tmp_path: Path) -> None:
    with served(saying("Good.\nRating: 1", "length"), saying("[[7]]\nIt", "length")) as server:
        for _ in range(2):
            (found,) = judged(at(server), VICUNA, items(1), tmp_path)
            assert found.score == 7 and found.raw == ("Good.\nRating: 1", "[[7]]\nIt")
        assert len(server.log.requests) == 2
    with served(saying("[[1", "length")) as server:
        (found,) = judged(at(server), VICUNA, items(1), tmp_path)
        assert found.score is None and "cut" in found.unscored


def test_a_judge_that_repeats_its_reminder_scores_nothing(tmp_path: Path) -> None:
    def parrot(talk: Talk, body: Body) -> None:
        saying(f"I do not know.\n{body['messages'][-1]['content']}")(talk, body)

    with served(parrot) as server:
        assert [each.score for each in judged(at(server), VICUNA, items(2), tmp_path)] == [None, None]
        assert len(server.log.requests) == 4


@pytest.mark.parametrize(
    "odd",
    [saying(10), saying([{"type": "text", "text": "[[10]]"}]), saying({"a": 1}), sending({"choices": {}})],
    ids=["number", "parts", "object", "no list"],
)
def test_a_reply_that_is_no_text_is_asked_for_again_and_not_kept(odd: Behaviour, tmp_path: Path) -> None:
    with served(odd, saying("[[3]]")) as server:
        assert judged(at(server, retries=1), VICUNA, items(1), tmp_path)[0].score == 3
    with served(odd) as server:
        for _ in range(2):
            with pytest.raises(EndpointError, match="something else than the protocol says"):
                judged(at(server), VICUNA, items(1), tmp_path)


def test_half_a_letter_in_a_reply_is_kept_as_a_question_mark(tmp_path: Path) -> None:
    with served(saying("[[5]] \ud800")) as server:
        for _ in range(2):
            (found,) = judged(at(server), VICUNA, items(1), tmp_path)
            assert found.score == 5 and found.raw == ("[[5]] ?",)
        assert len(server.log.requests) == 1


def test_half_a_letter_in_a_refusal_or_a_script_is_kept_as_a_question_mark(tmp_path: Path) -> None:
    with served(failing(400, "no \ud800")) as server:
        assert judged(at(server), VICUNA, items(1), tmp_path)[0].unscored.endswith("(400: no ?)")
    script = tmp_path / "replies.jsonl"
    script.write_text(json.dumps({"rubric": "vicuna", "question": "0", "reply": "[[9]] \ud800"}))
    assert judged(ScriptedJudge(script), VICUNA, items(1), tmp_path)[0].raw == ("[[9]] ?",)


def test_an_answer_that_is_nested_without_end_is_told(tmp_path: Path) -> None:
    with served(sending("[" * 200_000)) as server, pytest.raises(EndpointError, match="something else"):
        judged(at(server), VICUNA, items(1), tmp_path)


def test_the_replies_of_an_earlier_version_are_still_there(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with served(saying("[[5]]")) as server:
        judged(at(server), VICUNA, items(1), tmp_path)
        with closing(sqlite3.connect(tmp_path / "judgements.sqlite", isolation_level=None)) as table:
            table.execute("DROP TABLE ending")
        assert judged(at(server), VICUNA, items(1), tmp_path)[0].score == 5 and len(server.log.requests) == 1


def test_an_error_with_an_odd_parameter_is_a_refusal_like_others(tmp_path: Path) -> None:
    def listing(talk: Talk, body: Body) -> None:
        talk.reply(400, {"error": {"message": "no", "type": "x", "param": ["messages"], "code": None}})

    with served(listing) as server:
        assert judged(at(server), VICUNA, items(1), tmp_path)[0].unscored.endswith("(400: no)")


def test_settings_that_a_model_does_not_take_stop_the_judge(tmp_path: Path) -> None:
    def strict(talk: Talk, body: Body) -> None:
        error = {"message": "only 1 is supported", "type": "x", "param": "temperature", "code": "unsupported_value"}
        talk.reply(400, {"error": error})

    with served(strict) as server, pytest.raises(EndpointError, match="only 1 is supported"):
        judged(at(server), VICUNA, items(3), tmp_path)


UNSUPPORTED = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."


@pytest.mark.parametrize(("message", "param"), [("unsupported", "max_tokens"), (UNSUPPORTED, None)])
def test_newer_models_are_told_the_most_tokens_in_their_own_word(message: str, param: str, tmp_path: Path) -> None:
    def newer(talk: Talk, body: Body) -> None:
        if "max_tokens" in body:
            error = {"message": message, "type": "x", "param": param, "code": "unsupported_parameter"}
            talk.reply(400, {"error": error})
        else:
            saying("[[6]]")(talk, body)

    with served(newer) as server:
        found = judged(at(server, max_tokens=77), VICUNA, items(3), tmp_path)
        assert [each.score for each in found] == [6, 6, 6] and len(server.log.requests) == 4
        assert server.log.requests[-1][1]["max_completion_tokens"] == 77


def test_a_text_that_leaves_no_room_for_a_reply_does_not_change_the_word(tmp_path: Path) -> None:
    message = "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context length is 2048"
    with served(only_for("answer 0.", failing(400, message), saying("[[6]]"))) as server:
        assert [each.score for each in judged(at(server), VICUNA, items(2), tmp_path)] == [None, 6]
        assert "max_tokens" in server.log.requests[-1][1]


def test_the_second_asking_is_paid_from_the_same_budget(tmp_path: Path) -> None:
    with served(saying("no idea")) as server:
        budget = Budget(requests=5)
        found = judged(at(server), VICUNA, items(4), tmp_path, budget)
        assert len(server.log.requests) == 5 and budget.requests == 0
        assert [each.unscored for each in found] == ["no score in the reply"] + ["the budget is used up"] * 3


def test_money_is_never_exceeded_by_the_longest_replies(tmp_path: Path) -> None:
    with served(saying("[[5]]")) as server:
        budget = Budget(money=0.0025, price_out=1.0)
        found = judged(at(server, max_tokens=1000), VICUNA, items(4), tmp_path, budget)
        assert len(server.log.requests) == 2 and budget.money == pytest.approx(0.0005)
        assert [each.score for each in found] == [5, 5, None, None]


@pytest.mark.slow
def test_processes_share_the_replies_at_the_same_time(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[3]);"
        "from test_judging_failures import *;"
        "judged(EndpointJudge(Endpoint(sys.argv[1], 'x', 4), 'm'), VICUNA, items(60), Path(sys.argv[2]))"
    )
    with served(saying("[[5]]")) as server:
        arguments = [server.address, str(tmp_path), str(Path(__file__).parent)]
        many = [subprocess.Popen([sys.executable, "-c", program, *arguments]) for _ in range(2)]
        assert [process.wait(120) for process in many] == [0, 0]
        before = len(server.log.requests)
        judge = EndpointJudge(Endpoint(server.address, "x"), "m")
        assert {each.score for each in judged(judge, VICUNA, items(60), tmp_path)} == {5}
        assert len(server.log.requests) == before


@pytest.mark.parametrize("content", ["not json", '{"question": "1"}', '{"question": "1", "rubric": "v", "reply": 3}'])
def test_a_script_that_holds_no_replies_is_told(content: str, tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match="holds no replies"):
        judged(ScriptedJudge(path), VICUNA, items(1), tmp_path)


def test_a_cache_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "judgements.sqlite").write_text("hello " * 100)
    with served(saying("[[5]]")) as server, pytest.raises(DataError, match=r"judgements\.sqlite cannot be used"):
        judged(at(server), VICUNA, items(1), tmp_path)
