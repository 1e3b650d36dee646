"""Servers are asked politely, and their failures are told with a way out; every test talks to a real server."""

import sys
import time
from email.utils import formatdate

import numpy as np
import pytest
from httpx import Response

from fedllm_bench.endpoint import Endpoint, EndpointError, answers, chat, chat_one, embed, from_environment
from fedllm_bench.errors import FedLLMError
from fedllm_bench.examples import Turn
from fedllm_bench.extras import hint_of
from fedllm_bench.patience import _pause
from served import Body, Talk, closing, failing, hanging, saying, served, slowly, vector_of, well

KEY = "sk-very-secret-1234567890"
TEXTS = [f"text number {number}" + "x" * number for number in range(10)]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def to(server: object, retries: int = 0, **settings: object) -> Endpoint:
    address = server if isinstance(server, str) else server.address  # type: ignore[attr-defined]
    return Endpoint(address, KEY, retries=retries, **settings)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------- all is well


def test_embeddings_come_in_the_order_of_the_texts() -> None:
    with served(well) as server:
        vectors = embed(to(server), TEXTS, "ada", at_once=3)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.array([vector_of(text) for text in TEXTS], np.float32))
    paths, bodies, keys = zip(*server.log.requests, strict=True)
    assert set(paths) == {"/v1/embeddings"}
    assert set(keys) == {f"Bearer {KEY}"}
    assert sorted(len(body["input"]) for body in bodies) == [1, 3, 3, 3]
    assert {(body["model"], body["encoding_format"]) for body in bodies} == {("ada", "float")}


def test_replies_come_in_the_order_of_the_conversations_with_the_settings_sent_along() -> None:
    conversations = [[Turn("system", "Be brief."), Turn("user", text)] for text in TEXTS]
    with served(well) as server:
        replies = chat(to(server), conversations, "judge", temperature=0.0, max_tokens=16)
    assert replies == [f"You said: {text}" for text in TEXTS]
    body = server.log.requests[0][1]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge", 0.0, 16)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_nothing_asked_is_nothing_sent() -> None:
    with served(well) as server:
        assert len(embed(to(server), [], "ada")) == 0
        assert chat(to(server), [], "judge") == []
    assert server.log.requests == []


@pytest.mark.parametrize("concurrency", [1, 4])
def test_requests_under_way_are_bounded(concurrency: int) -> None:
    with served(slowly) as server:
        embed(to(server, concurrency=concurrency), TEXTS, "ada", at_once=1)
    # A reply is out a moment before the server counts it as done; a busy machine may not send all at once.
    assert min(concurrency, 2) <= server.log.most_at_once <= concurrency + 1


def test_an_ask_may_send_several_requests_and_answers_are_handed_over_as_they_arrive() -> None:
    async def twice(client, text):  # type: ignore[no-untyped-def]
        first = await chat_one(client, [Turn("user", text)], "judge", {})
        return await chat_one(
            client, [Turn("user", text), Turn("assistant", first), Turn("user", "again")], "judge", {}
        )

    seen: dict[int, str] = {}
    with served(well) as server:
        found = answers(to(server, concurrency=3), TEXTS, twice, arrived=seen.__setitem__)
    assert found == [seen[position] for position in range(len(TEXTS))] == ["You said: again"] * len(TEXTS)
    assert len(server.log.requests) == 2 * len(TEXTS)


# ---------------------------------------------------------------------------------------------- patience


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    with served(failing(429, headers={"Retry-After": "0.3"}), well) as server:
        assert embed(to(server, retries=1), TEXTS[:1], "ada").shape == (1, 3)
    first, second = server.log.times
    assert 0.3 <= second - first < 3.0


@pytest.mark.parametrize(
    "first", [failing(500), failing(503), closing, hanging], ids=["500", "503", "closing", "hanging"]
)
def test_a_failure_that_passes_is_not_told(first) -> None:  # type: ignore[no-untyped-def]
    with served(first, well) as server:
        assert embed(to(server, retries=1, timeout=0.3), TEXTS[:1], "ada").shape == (1, 3)
    assert len(server.log.requests) == 2


@pytest.mark.slow
def test_a_server_that_drips_is_given_up() -> None:
    def dripping(talk: Talk, body: Body) -> None:
        talk.send_response(200)
        talk.end_headers()
        while not talk.server.log.over.wait(0.1):
            talk.wfile.write(b" ")
            talk.wfile.flush()

    began = time.monotonic()
    with served(dripping) as server, pytest.raises(EndpointError, match=r"not done, for 0\.4 s"):
        embed(to(server, timeout=0.4), TEXTS[:1], "ada")
    assert time.monotonic() - began < 3


def test_an_answer_that_cannot_be_read_is_asked_for_twice_more_at_most() -> None:
    with served(saying({"hello": 1})) as server, pytest.raises(EndpointError, match="something else"):
        embed(to(server, retries=5), TEXTS[:1], "ada")
    assert len(server.log.requests) == 3


@pytest.mark.parametrize(
    ("named", "least", "most"),
    [("7", 7, 7), ("121", 120, 120), ("inf", 3, 4), ("-1", 3, 4), ("soon", 3, 4), (None, 3, 4)],
)
def test_a_request_waits_as_the_server_says_or_longer_each_time(named: str | None, least: float, most: float) -> None:
    assert least <= _pause(Response(429, headers={} if named is None else {"Retry-After": named}), 3) <= most


def test_a_request_waits_until_the_date_that_the_server_says() -> None:
    date = formatdate(time.time() + 30, usegmt=True)
    assert 20 < _pause(Response(503, headers={"Retry-After": date}), 0) <= 31
    assert _pause(Response(503, headers={"Retry-After": formatdate(0, usegmt=True)}), 0) <= 0.5


def test_the_first_failure_stops_the_rest() -> None:
    arrived: list[int] = []
    with served(well, failing(400), slowly) as server, pytest.raises(EndpointError):
        chat(
            to(server, concurrency=1),
            [[Turn("user", text)] for text in TEXTS],
            "judge",
            arrived=lambda position, _: arrived.append(position),
        )
    assert arrived == [0]
    assert len(server.log.requests) == 2


# ----------------------------------------------------------------------------------------------- failures

FAILURES = [
    ("400", failing(400, "too long"), r"does not take the request \(400: too long\)", "longer than the model takes"),
    ("401", failing(401, f"wrong key {KEY}"), r"refuses the key \(401: wrong key \.\.\.\)", "OPENAI_API_KEY"),
    ("403", failing(403), "refuses the key", "may use this model"),
    ("404", failing(404, "no model ada"), r"does not know the model .*\(404: no model ada\)", "model's name"),
    ("418", failing(418), r"refuses \(418", "see what the server says"),
    ("429", failing(429, headers={"Retry-After": "300"}), "still too busy", "check your quota"),
    ("500", failing(500), r"fails \(500", "try again later"),
    ("hanging", hanging, r"was silent, or not done, for 0\.3 s, 1 times", "not overloaded"),
    ("closing", closing, "cannot be reached, or hangs up", "OPENAI_BASE_URL"),
    ("no-json", saying('{"data": [', {}), "answers with something else", "/v1"),
    ("a-page", saying("<html>hello</html>", {"Content-Type": "text/html"}), "answers with something else", "/v1"),
    ("other-json", saying({"hello": 1}), "answers with something else", "/v1"),
    ("a-list", saying([1, 2]), "answers with something else", "/v1"),
    ("too-few", saying({"object": "list", "data": []}), r"something else .*0 embeddings of 1 texts", "/v1"),
    ("words", saying({"data": [{"index": 0, "embedding": ["a"]}]}), "answers with something else", "/v1"),
    ("nan", saying('{"data": [{"index": 0, "embedding": [NaN]}]}'), "answers with something else", "/v1"),
    ("scalar", saying({"data": [{"index": 0, "embedding": 3.0}]}), "answers with something else", "/v1"),
]


@pytest.mark.parametrize(
    ("behaviour", "words", "hint"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES]
)
def test_a_failure_names_the_server_and_the_way_out(behaviour, words: str, hint: str) -> None:  # type: ignore[no-untyped-def]
    with served(behaviour) as server, pytest.raises(EndpointError, match=words) as caught:
        embed(to(server, timeout=0.3 if behaviour is hanging else 5.0), TEXTS[:1], "ada")
    assert server.address in caught.value.message
    assert hint in str(caught.value.hint)
    assert KEY not in str(caught.value)


def test_a_reply_without_text_is_told() -> None:
    message = {"role": "assistant", "content": None}
    choice = {"index": 0, "message": message, "finish_reason": "content_filter"}
    with served(saying({"choices": [choice]})) as server, pytest.raises(EndpointError, match="content_filter"):
        chat(to(server), [[Turn("user", "hello")]], "judge")


def test_embeddings_of_different_lengths_are_told() -> None:
    short = saying({"data": [{"index": 0, "embedding": [1.0]}]})
    with served(well, short) as server, pytest.raises(EndpointError, match="different lengths"):
        embed(to(server, concurrency=1), TEXTS[:2], "ada", at_once=1)


def test_a_server_that_is_not_there_is_told_without_its_password() -> None:
    with pytest.raises(EndpointError, match=r"http://127\.0\.0\.1:9/v1 cannot be reached") as caught:
        embed(to("http://ana:hunter2@127.0.0.1:9/v1"), TEXTS[:1], "ada")
    assert "hunter2" not in str(caught.value)


def test_no_time_is_lost_on_what_no_repetition_helps() -> None:
    began = time.monotonic()
    with served(failing(401)) as server, pytest.raises(EndpointError):
        embed(to(server, retries=5), TEXTS, "ada", at_once=1)
    assert time.monotonic() - began < 3
    assert len(server.log.requests) <= 8


# ---------------------------------------------------------------------------------------- the environment


def test_the_server_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint = from_environment(retries=2)
    assert (endpoint.base_url, endpoint.key, endpoint.retries) == ("http://host:1/v1", KEY, 2)
    assert KEY not in repr(endpoint)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert from_environment().key  # a server of one's own may need none


def test_openai_without_a_key_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EndpointError, match="OPENAI_API_KEY is not set") as caught:
        from_environment()
    assert "OPENAI_BASE_URL" in str(caught.value.hint)


@pytest.mark.parametrize(
    "address", ["nonsense", "localhost:9", "ftp://host/v1", "http://", "https:///v1", "http://a b"]
)
def test_an_address_that_is_none_is_told_before_anything_is_sent(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(EndpointError, match="is no address of a server") as caught:
        from_environment()
    assert "http://" in str(caught.value.hint)


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(FedLLMError, match="requests to http://x/v1: the package openai") as caught:
        embed(to("http://x/v1"), TEXTS, "ada")
    assert caught.value.hint == hint_of("analysis")
