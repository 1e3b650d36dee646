"""Every kind of judge that `--judge` names is built and judges, or says what it lacks."""

import json
from pathlib import Path

import pytest

from benchmark_files import take_as_assets
from fedllm_bench.errors import FedLLMError
from fedllm_bench.evaluate.judging.judged import Judgment, judged
from fedllm_bench.evaluate.judging.rubric import JudgeItem, Rubric, own_rubric
from fedllm_bench.evaluate.questions import Answer, Question
from fedllm_bench.judges import JUDGES, JudgeSettings, judge_from
from fedllm_bench.progress import SILENT
from served import Talk, completion, saying, served, well


def judgment(kind: str, settings: JudgeSettings, rubric: Rubric, cache: Path, answer: str = "So.") -> Judgment:
    item = JudgeItem(Question("1", ("Why?",)), Answer("1", (answer,), (True,), (1,), (False,)))
    (found,) = judged(JUDGES[kind](settings, SILENT), rubric, [item], cache)
    return found


def test_an_endpoint_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(saying(completion("Rating: [[4]]"))) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        settings = JudgeSettings("m", temperature=0.5, seed=3, max_tokens=9)
        assert judgment("endpoint", settings, own_rubric("vicuna"), tmp_path).score == 4
        body = server.log.requests[0][1]
    assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == ("m", 0.5, 3, 9)


def test_a_model_of_this_machine_judges(tmp_path: Path, tiny_model: Path) -> None:
    settings = JudgeSettings(str(tiny_model), max_tokens=4)
    rubric = Rubric("short", "1", "{answer}")
    found = judgment("local", settings, rubric, tmp_path)
    assert len(found.raw) == 2 and any(found.raw)  # it says what a random model says, and is reminded once
    assert found.unscored.startswith("no score in the reply, which was cut") and "local" in found.judge
    assert judgment("local", settings, rubric, tmp_path) == found
    names = [str(JUDGES["local"](each, SILENT).identity) for each in (settings, JudgeSettings(str(tiny_model), seed=1))]
    assert names[0] != names[1]


def test_the_rule_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_as_assets(tmp_path, monkeypatch)
    rubric = own_rubric("advbench")
    assert judgment("rule", JudgeSettings(""), rubric, tmp_path, "I cannot do that.").score == 1
    assert judgment("rule", JudgeSettings(""), rubric, tmp_path, "Sure.").score == 0


def test_a_script_judges(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps({"rubric": "vicuna", "question": "1", "reply": "[[9]]"}))
    assert judgment("scripted", JudgeSettings(str(path)), own_rubric("vicuna"), tmp_path).score == 9


@pytest.mark.parametrize("kind", ["endpoint", "local", "scripted"])
def test_a_judge_without_a_name_is_told(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)  # the name is asked for before the key
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(FedLLMError, match=f"--judge {kind} needs a name") as caught:
        JUDGES[kind](JudgeSettings(""), SILENT)
    assert f"--judge {kind}:" in str(caught.value.hint)


@pytest.mark.parametrize(("kind", "name"), [("local", "no-such-model"), ("scripted", "no-such-file.jsonl")])
def test_a_judge_that_is_not_there_is_told(kind: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(FedLLMError, match=name) as caught:
        JUDGES[kind](JudgeSettings(name), SILENT)
    assert caught.value.hint


MEANT = {
    "gpt-4o": "did you mean endpoint:gpt-4o?",
    "org/model": "did you mean endpoint:org/model?",
    "endpiont:gpt-4o": "did you mean endpoint:gpt-4o?",
    "said.jsonl": "did you mean scripted:said.jsonl?",
    "smollm2-135m": "did you mean local:smollm2-135m?",
    "": "endpoint:MODEL, local:BASE",
}


@pytest.mark.parametrize(("text", "hint"), MEANT.items())
def test_a_judge_without_a_kind_is_answered_with_the_likely_one(text: str, hint: str) -> None:
    with pytest.raises(FedLLMError, match="--judge: unknown name") as caught:
        judge_from(text, JudgeSettings(), SILENT)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("status", [200, 401, 404, 500])
def test_a_server_that_says_anything_is_there(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Talk, "do_GET", lambda talk: talk.reply(status, "so it is"), raising=False)
    with served(well) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        judge_from("endpoint:m", JudgeSettings(), SILENT).ready()
    assert server.log.requests == []


def test_a_server_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(FedLLMError, match=r"127\.0\.0\.1:9/v1 cannot be reached") as caught:
        judge_from("endpoint:m", JudgeSettings(), SILENT).ready()
    assert "OPENAI_BASE_URL" in str(caught.value.hint)


def test_an_endpoint_without_a_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(FedLLMError, match="OPENAI_API_KEY"):
        JUDGES["endpoint"](JudgeSettings("gpt-4o"), SILENT)
