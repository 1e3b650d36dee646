"""A model of this machine behind OpenAI's protocol: what stands in for a judge's server where there is none."""

import json
import math
import queue
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, get_args

from fedllm_bench.examples import Role, Turn
from fedllm_bench.model.base import LanguageModel, load_model
from fedllm_bench.model.generate import Prompt, batches, generate, stop_ids
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.prepacked import prepacked
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.model.tokenise import Codec

__all__ = ["Server"]

GATHER = 0.05  # seconds in which requests are gathered to be answered together
MOST = 512  # new tokens where a request does not say
LARGEST = 10_000_000  # bytes of a request's content


@dataclass
class _Request:
    """A conversation that waits for its reply."""

    turns: list[Turn]
    sampling: Sampling
    key: tuple[int | str, ...]
    done: threading.Event = field(default_factory=threading.Event)
    text: str = ""
    tokens: tuple[int, int] = (0, 0)
    stopped: bool = False
    failed: str = ""


class Server(ThreadingHTTPServer):
    """Chat completions of one model; what arrives at about the same time is answered in one batch.

    Args:
        base: what `model.source.resolve` understands.
        port: on 127.0.0.1; 0 takes a free one.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, base: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Talk)
        self.base = base
        self.waiting: queue.Queue[_Request] = queue.Queue()
        spec = LoraSpec(rank=1, alpha=1.0, dropout=0.0, targets=())
        self._model: LanguageModel = load_model(base, spec, dtype="auto", device="auto")
        self._codec = Codec(self._model.tokenizer, "native", 1 << 20)
        threading.Thread(target=self._answer, daemon=True).start()

    @property
    def address(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def _answer(self) -> None:
        with prepacked(self._model.model):
            while True:
                gathered = [self.waiting.get()]
                time.sleep(GATHER)
                while not self.waiting.empty():
                    gathered.append(self.waiting.get())
                if not self._done(gathered):  # one of them is bad, and must not harm the others
                    for request in gathered:
                        self._done([request])
                for request in gathered:
                    request.done.set()

    def _done(self, gathered: list[_Request]) -> bool:
        """Whether they have been answered together; where not, each is told why."""
        try:
            self._generate(gathered)
        except Exception as error:  # whatever it is, it must not end the server
            for request in gathered:
                request.failed = f"{type(error).__name__}: {error}"
            return False
        for request in gathered:
            request.failed = ""
        return True

    def _generate(self, gathered: list[_Request]) -> None:
        prompts = [Prompt(self._codec.prompt(each.turns), each.sampling, each.key) for each in gathered]
        stops = stop_ids(self._model, self._codec)
        for chosen in batches(prompts):
            made = generate(self._model, [prompts[at] for at in chosen], stops, 0)
            for at, reply in zip(chosen, made, strict=True):
                text = self._model.tokenizer.decode(list(reply.ids), skip_special_tokens=True).strip()
                request = gathered[at]
                request.text, request.stopped = text, reply.stopped
                request.tokens = (len(prompts[at].ids), len(reply.ids))


class _Talk(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: apart, the body waits for the head to be acknowledged
    timeout = 60  # seconds for the next byte of a request, or for the next request
    server: Server

    def do_POST(self) -> None:
        """A chat completion."""
        try:
            body = self._body()
            if not self.path.endswith("/chat/completions"):
                return self._send(404, {"error": {"message": f"no such address: {self.path}"}})
            request = _request(json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return self._send(400, {"error": {"message": f"not a chat request: {error}"}})
        self.server.waiting.put(request)
        request.done.wait()
        if request.failed:
            return self._send(500, {"error": {"message": request.failed}})
        return self._send(200, _completion(self.server.base, request))

    def _body(self) -> bytes:
        """What was sent; where its length cannot be, nothing is read, and the connection ends with the reply."""
        goes_on, self.close_connection = not self.close_connection, True
        length = int(self.headers.get("Content-Length") or "")
        if not 0 <= length <= LARGEST:
            raise ValueError(f"a content of {length} bytes; {LARGEST} is the most")
        body = self.rfile.read(length)
        self.close_connection = not goes_on
        return body

    def _send(self, status: int, content: dict[str, Any]) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are no news."""


def _request(body: dict[str, Any]) -> _Request:
    turns = [_turn(message["role"], message["content"]) for message in body["messages"]]
    if not turns or turns[-1].role == "assistant":
        raise ValueError("the last message is to be the user's")
    temperature = float(body.get("temperature") or 0.0)
    tokens = int(body.get("max_tokens") or body.get("max_completion_tokens") or MOST)
    if not 0 <= temperature < math.inf or tokens < 1:
        raise ValueError(f"temperature {temperature:g}, max_tokens {tokens}")
    return _Request(turns, Sampling(temperature, tokens), (int(body.get("seed") or 0), json.dumps(body["messages"])))


def _turn(role: Any, content: Any) -> Turn:
    if role not in get_args(Role) or not isinstance(content, str):
        raise ValueError(f"a message of {role!r}, with a content of {type(content).__name__}")
    return Turn(role, content)


def _completion(base: str, request: _Request) -> dict[str, Any]:
    sent, made = request.tokens
    return {
        "id": "chatcmpl-local",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": base,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": request.text},
                "finish_reason": "stop" if request.stopped else "length",
            }
        ],
        "usage": {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made},
    }
