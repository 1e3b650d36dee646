"""Judging: requests under way at once beside the ideal, and judgements a second from a warm cache."""

import json
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Process, Queue
from pathlib import Path

from benchmarks.machine import save
from fedllm_bench.endpoint import Endpoint
from fedllm_bench.evaluate.judging.judge import EndpointJudge
from fedllm_bench.evaluate.judging.judged import judged
from fedllm_bench.evaluate.judging.rubric import JudgeItem, own_rubric
from fedllm_bench.evaluate.questions import Answer, Question

AT_ONCE, REQUESTS, DELAY = 32, 640, 1.0
WARM = 10_000


class Slow(BaseHTTPRequestHandler):
    """Replies after a while, any number at once."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: apart, the body waits for the head to be acknowledged

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/slow"):
            time.sleep(DELAY)
        choice = {"index": 0, "message": {"role": "assistant", "content": "Rating: [[7]]"}, "finish_reason": "stop"}
        payload = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(port: "Queue[int]") -> None:
    """A server in a process of its own, as judges' servers are."""
    with Server(("127.0.0.1", 0), Slow) as server:
        port.put(server.server_address[1])
        server.serve_forever()


def items(count: int) -> list[JudgeItem]:
    words = "An answer of ordinary length, with several sentences. " * 10
    return [
        JudgeItem(Question(str(at), (f"question {at}?",)), Answer(str(at), (f"{words}{at}",), (True,), (9,), (False,)))
        for at in range(count)
    ]


def main() -> None:
    rubric = own_rubric("vicuna")
    with tempfile.TemporaryDirectory() as folder:
        port: Queue[int] = Queue()
        process = Process(target=serve, args=(port,), daemon=True)
        process.start()
        address = f"http://127.0.0.1:{port.get()}"

        def judge(path: str, at_once: int) -> EndpointJudge:
            return EndpointJudge(Endpoint(f"{address}/{path}", "none", at_once, timeout=60), "m")

        judged(judge("fast", 1), rubric, items(1), Path(folder) / "first")  # imports
        started = time.perf_counter()
        judged(judge("slow", AT_ONCE), rubric, items(REQUESTS), Path(folder) / "slow")
        taken, ideal = time.perf_counter() - started, REQUESTS / AT_ONCE * DELAY
        cache = Path(folder) / "warm"
        judged(judge("fast", AT_ONCE), rubric, items(WARM), cache)
        started = time.perf_counter()
        found = judged(judge("fast", AT_ONCE), rubric, items(WARM), cache)
        warm = time.perf_counter() - started
        assert all(each.score == 7 for each in found)
        process.kill()
    save(
        "judging",
        {
            "at_once": AT_ONCE,
            "requests": REQUESTS,
            "delay_seconds": DELAY,
            "seconds": round(taken, 2),
            "ideal_seconds": ideal,
            "share_of_ideal": round(ideal / taken, 3),
            "warm_judgements": WARM,
            "warm_seconds": round(warm, 2),
        },
    )


if __name__ == "__main__":
    main()
