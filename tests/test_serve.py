"""A model of this machine answers as a server of OpenAI's does, many at once, and no request harms another."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import openai
import pytest

from command import Command
from fedllm_bench.serve import LARGEST, Server


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[Server]:
    with Server(str(tiny_model)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[openai.OpenAI]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with openai.OpenAI(base_url=server.address, api_key="none", max_retries=0, timeout=30) as client:
        yield client


def ask(client: openai.OpenAI, text: str, **settings: Any) -> Any:
    messages: Any = [{"role": "user", "content": text}]
    return client.chat.completions.create(model="m", messages=messages, **{"max_tokens": 8, **settings})


def test_a_reply_has_the_form_of_the_protocol_and_is_the_same_each_time(client: openai.OpenAI) -> None:
    first, second = (ask(client, "Hello") for _ in range(2))
    (choice,) = first.choices
    assert choice.message.role == "assistant" and choice.message.content == second.choices[0].message.content
    assert choice.finish_reason == "length" and first.usage.completion_tokens == 8
    assert first.usage.total_tokens == first.usage.prompt_tokens + 8
    drawn = [ask(client, "Hello", temperature=1.0, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_newer_word_for_the_most_tokens_is_known(client: openai.OpenAI) -> None:
    assert ask(client, "Hello", max_tokens=None, max_completion_tokens=3).usage.completion_tokens == 3


def test_many_at_once_have_the_replies_that_each_has_alone(client: openai.OpenAI) -> None:
    texts = [f"question {number}" + "x" * number for number in range(8)]
    alone = [ask(client, text).choices[0].message.content for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = [reply.choices[0].message.content for reply in pool.map(lambda text: ask(client, text), texts)]
    assert together == alone


BAD: list[dict[str, Any]] = [
    {"messages": [{"role": "critic", "content": "Hello"}]},
    {"messages": [{"role": "user", "content": 3}]},
    {"messages": [{"role": "user"}]},
    {"messages": []},
    {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}]},
    {"max_tokens": -1},
    {"max_tokens": "many"},
    {"temperature": -1},
    {"seed": "one"},
]


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_a_bad_request_is_refused(client: openai.OpenAI, bad: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError, match="not a chat request"):
        ask(client, "Hello", extra_body=bad)


def test_a_request_that_cannot_be_answered_harms_no_other_of_its_batch(
    server: Server, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, alone = server._generate, ask(client, "question 0").choices[0].message.content

    def failing(gathered: list[Any]) -> None:
        if any("too much" in request.turns[0].content for request in gathered):
            raise MemoryError("no room")
        generate(gathered)

    monkeypatch.setattr(server, "_generate", failing)
    with ThreadPoolExecutor(8) as pool:
        replies = [pool.submit(ask, client, "too much" if at == 3 else "question 0") for at in range(8)]
        with pytest.raises(openai.InternalServerError, match="no room"):
            replies[3].result()
    good = [reply.result().choices[0].message.content for at, reply in enumerate(replies) if at != 3]
    assert good == [alone] * 7


def post(connection: HTTPConnection, path: str, body: bytes, **headers: str) -> tuple[HTTPResponse, dict[str, Any]]:
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    return response, json.loads(response.read())


def test_an_address_that_is_not_there_is_404_and_the_connection_goes_on(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    response, told = post(connection, "/v1/embeddings", b'{"input": "x"}')
    assert response.status == 404 and "/v1/embeddings" in told["error"]["message"]
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}).encode()
    response, told = post(connection, "/v1/chat/completions", body)
    assert response.status == 200 and len(told["choices"]) == 1
    connection.close()


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"3", b"[" * 100_000, b"\xff"], ids=["half", "list", "3", "deep", "bytes"]
)
def test_what_is_no_request_is_400(server: Server, body: bytes) -> None:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    response, told = post(connection, "/v1/chat/completions", body)
    assert response.status == 400 and "not a chat request" in told["error"]["message"]
    connection.close()


@pytest.mark.parametrize("length", [str(LARGEST + 1), "9" * 30, "-1", "ten", ""])
def test_a_length_that_cannot_be_is_refused_and_ends_the_connection(server: Server, length: str) -> None:
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=10) as connection:
        connection.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert said.startswith(b"HTTP/1.1 400") and b"not a chat request" in said


def test_a_model_that_is_none_is_told_before_a_port_that_is_taken(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Command(capsys, monkeypatch)("serve", "nope", "--port", str(server.server_address[1]))
    assert done.code == 2 and "'nope'" in done.err and "port" not in done.err
