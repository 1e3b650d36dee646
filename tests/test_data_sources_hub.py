"""Raw files come from the hub whole, once, and go on where a download broke off; gated ones say how to get access."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fedllm_bench.data.sources.hub import Repository, repository_of
from raw_rows import aya, write_parquet


class Hub(http.server.BaseHTTPRequestHandler):
    """Speaks enough of the hub's protocol for a few datasets."""

    COMMIT = "c0ffee" + "0" * 34
    files: ClassVar[dict[str, bytes]]
    asked: ClassVar[list[str]]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/datasets/org/"):
            name = path.split("/")[4]
            rows = [{"type": "file", "path": k, "size": len(v), "oid": "0" * 40} for k, v in self.held(name).items()]
            info = {"id": f"org/{name}", "sha": self.COMMIT, "siblings": [], "gated": "auto"}
            self.refuse(404, "RepoNotFound") if name == "none" else self.answer(rows if "/tree/" in path else info)
        elif path.startswith("/datasets/org/"):
            _, _, _, name, _, _, file = path.split("/", 6)
            self.asked.append(f"{self.command} {name}/{file}")
            if name == "gated":
                self.refuse(403, "GatedRepo")
            elif name == "breaks" and "00001" in file and self.asked.count(f"HEAD {name}/{file}") == 1:
                self.refuse(404, "EntryNotFound")
            else:
                self.answer(self.files[file])
        else:
            self.refuse(404, "RepoNotFound")

    def held(self, name: str) -> dict[str, bytes]:
        return {"README.md": self.files["README.md"]} if name == "texts" else self.files

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", "not for you")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Running:
    address: str
    asked: list[str]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Running]:
    parts = [write_parquet(tmp_path / f"{n}.parquet", [aya(f"u{n}", k) for k in range(60)]) for n in range(2)]
    files = {f"data/train-{n:05}-of-00002.parquet": part.read_bytes() for n, part in enumerate(parts)}
    files |= {"data/test-00000-of-00001.parquet": b"no", "demographics/train-0.parquet": b"no", "README.md": b"text"}
    handler = type("Counting", (Hub,), {"files": files, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield Running(f"http://127.0.0.1:{server.server_address[1]}", handler.asked)
        server.shutdown()
        thread.join()


def build_each(endpoint: str, raws: Sequence[str], tmp_path: Path) -> list[Any]:
    """Build from each in a process of its own, as the hub's client reads its endpoint when it is imported."""
    script = f"""
        import json
        from fedllm_bench.data.sources import paper_builder
        from fedllm_bench.errors import FedLLMError
        from fedllm_bench.progress import SILENT
        def outcome(raw):
            try:
                return paper_builder("fed-aya")(0.0, SILENT, raw=raw, min_total=1).manifest["train"]
            except FedLLMError as error:
                return [type(error).__name__, error.message, error.hint]
        print(json.dumps([outcome(raw) for raw in {list(raws)!r}]))
    """
    variables = {
        "FEDLLM_BENCH_CACHE": str(tmp_path / "cache"),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_ETAG_TIMEOUT": "1",
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    outcomes: list[Any] = json.loads(done.stdout)
    return outcomes


def raw_in(tmp_path: Path) -> list[str]:
    """The raw files in the cache, but for what is hidden: locks, and what has not all come yet."""
    folders = (tmp_path / "cache" / "raw").glob("[!.]*")
    return sorted(str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*") if path.is_file())


def test_raw_files_come_from_the_hub_or_say_why_not(hub: Running, tmp_path: Path) -> None:
    raws = ["hub:org/open", "hub:org/open", "hub:org/breaks", "hub:org/breaks"]
    raws += ["hub:org/gated", "hub:org/none", "hub:org/texts", "hub:a/b/c"]
    first, again, broken, whole, gated, none, texts, misnamed = build_each(hub.address, raws, tmp_path)

    assert first == again == 120
    fetched = [each.removeprefix("GET open/") for each in hub.asked if each.startswith("GET open/")]
    assert sorted(fetched) == [f"data/train-0000{n}-of-00002.parquet" for n in range(2)]  # once, and nothing else

    assert broken[0] == "AssetError" and whole == 120
    assert hub.asked.count("GET breaks/data/train-00000-of-00002.parquet") == 1  # what had come was kept

    assert gated[:2] == ["AssetError", "org/gated at main on the hub is open only to those who accepted its terms"]
    assert f"accept them at {hub.address}/datasets/org/gated, then: hf auth login" in gated[2]
    assert none[0] == "AssetError" and "org/none at main on the hub cannot be downloaded" in none[1]
    assert "check the name and the revision" in none[2]
    assert texts[1] == "org/texts at main on the hub has no data/train-*.parquet"
    assert misnamed[1:] == ["'a/b/c' is not a repository name", "write organisation/name"]
    assert raw_in(tmp_path) == sorted(fetched * 2)  # of two repositories


def test_a_hub_out_of_reach_is_told_and_nothing_is_taken_for_all(tmp_path: Path) -> None:
    partial = Repository("org/open").folder.name
    half = tmp_path / "cache" / "raw" / f".{partial}.partial" / "data" / "train-00000-of-00002.parquet"
    write_parquet(half, [aya("u", 1)])
    (outcome,) = build_each("http://127.0.0.1:9", ["hub:org/open"], tmp_path)
    assert outcome[0] == "AssetError" and "the hub cannot be reached" in outcome[1]
    assert "name raw files of yours" in outcome[2]
    assert half.exists()


def test_raw_names_the_repository_of_the_source_or_another_or_a_path() -> None:
    usual = Repository("org/usual")
    assert repository_of("hub", usual) == usual
    assert repository_of("hub:org/other", usual) == Repository("org/other")
    assert repository_of("hub:org/other@v2", usual) == Repository("org/other", revision="v2")
    assert repository_of("hub:@v2", usual) == Repository("org/usual", revision="v2")
    assert repository_of("hubs/rows.jsonl", usual) is None
    other = Repository("org/usual", ("*.jsonl",))
    assert len({usual.folder, other.folder, Repository("org/usual", revision="v2").folder}) == 3
