"""A small server that speaks OpenAI's protocol on this machine, well or badly."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fedllm_bench import patience

Body = dict[str, Any]
Behaviour = Callable[["Talk", Body], None]


class Talk(BaseHTTPRequestHandler):
    """One connection; what it does with a request is the server's behaviour."""

    server: "Served"  # type: ignore[assignment]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        log = self.server.log
        with log.lock:
            log.requests.append((self.path, body, self.headers["Authorization"]))
            log.times.append(time.monotonic())
            log.at_once += 1
            log.most_at_once = max(log.most_at_once, log.at_once)
            number = len(log.requests)
        try:
            self.server.behaviours[min(number, len(self.server.behaviours)) - 1](self, body)
        finally:
            with log.lock:
                log.at_once -= 1

    def reply(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        """Send JSON, or text as it is."""
        payload = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Log:
    """What a server was asked, and when."""

    requests: list[tuple[str, Body, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)


class Served(ThreadingHTTPServer):
    """Treats the first request by the first behaviour and so on; the last one is for all others."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, behaviours: tuple[Behaviour, ...]) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.behaviours = behaviours
        self.log = Log()

    @property
    def address(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hung up are no news."""


@contextmanager
def served(*behaviours: Behaviour) -> Iterator[Served]:
    """A server while the block runs; who has to ask it again waits for a moment only."""
    with pytest.MonkeyPatch.context() as patch, Served(behaviours) as server:
        patch.setattr(patience, "FIRST_PAUSE", 0.02)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.log.over.set()
            server.shutdown()
            thread.join()


def vector_of(text: str) -> list[float]:
    """A made-up embedding that depends on the text."""
    return [float(len(text)), float(sum(map(ord, text)) % 97), 1.0]


def well(talk: Talk, body: Body) -> None:
    """Embeddings or a reply, as asked; embeddings in reversed order, as the protocol allows."""
    if talk.path.endswith("/embeddings"):
        rows = [
            {"object": "embedding", "index": index, "embedding": vector_of(text)}
            for index, text in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        talk.reply(200, {"object": "list", "data": rows[::-1], "model": body["model"], "usage": usage})
    else:
        message = {"role": "assistant", "content": f"You said: {body['messages'][-1]['content']}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        talk.reply(200, answer)


def slowly(talk: Talk, body: Body) -> None:
    """Well, after a while."""
    time.sleep(0.05)
    well(talk, body)


def hanging(talk: Talk, body: Body) -> None:
    """Says nothing for as long as the server runs."""
    talk.server.log.over.wait(30)


def closing(talk: Talk, body: Body) -> None:
    """Hangs up in the middle of the answer."""
    talk.send_response(200)
    talk.send_header("Content-Type", "application/json")
    talk.send_header("Content-Length", "1000")
    talk.end_headers()
    talk.wfile.write(b'{"object": "list", "data": [')
    talk.wfile.flush()
    talk.close_connection = True
    talk.connection.shutdown(2)


def failing(status: int, message: str = "so it is", headers: dict[str, str] | None = None) -> Behaviour:
    """Refuses with a status, as OpenAI's own server words it."""

    def behave(talk: Talk, body: Body) -> None:
        talk.reply(status, {"error": {"message": message, "type": "x", "param": None, "code": None}}, headers)

    return behave


def saying(content: Any, headers: dict[str, str] | None = None) -> Behaviour:
    """Says the same whatever is asked."""
    return lambda talk, body: talk.reply(200, content, headers)


def completion(content: Any, ending: object = "stop") -> Body:
    """A chat completion with one choice."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": ending}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
