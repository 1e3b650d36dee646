"""A model of this machine behind OpenAI's protocol: what stands in for a judge's server where there is none."""

import json
import queue
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fedllm_bench.examples import Turn
from fedllm_bench.model.base import LanguageModel, load_model
from fedllm_bench.model.generate import Prompt, batches, generate, stop_ids
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.prepacked import prepacked
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.model.tokenise import Codec

__all__ = ["Server"]

GATHER = 0.05  # seconds in which requests are gathered to be answered together
MOST = 512  # new tokens where a request does not say
LARGEST = 10_000_000  # bytes of a request


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
                try:
                    self._generate(gathered)
                except Exception as error:  # one bad request must not end the server
                    for request in gathered:
                        request.failed = f"{type(error).__name__}: {error}"
                for request in gathered:
                    request.done.set()

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
    server: Server

    def do_POST(self) -> None:
        """A chat completion."""
        if not self.path.endswith("/chat/completions"):
            self._send(404, {"error": {"message": f"no such address: {self.path}"}})
            return
        try:
            length = min(int(self.headers.get("Content-Length", 0)), LARGEST)
            request = _request(json.loads(self.rfile.read(length)))
        except (ValueError, KeyError, TypeError) as error:
            self._send(400, {"error": {"message": f"not a chat request: {error}"}})
            return
        self.server.waiting.put(request)
        request.done.wait()
        if request.failed:
            self._send(500, {"error": {"message": request.failed}})
        else:
            self._send(200, _completion(self.server.base, request))

    def _send(self, status: int, content: dict[str, Any]) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are no news."""


def _request(body: dict[str, Any]) -> _Request:
    turns = [Turn(message["role"], str(message["content"])) for message in body["messages"]]
    sampling = Sampling(float(body.get("temperature") or 0.0), int(body.get("max_tokens") or MOST))
    return _Request(turns, sampling, (int(body.get("seed") or 0), json.dumps(body["messages"])))


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
