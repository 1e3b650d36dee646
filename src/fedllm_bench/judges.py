"""The table of judges that `--judge KIND:NAME` takes."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedllm_bench.endpoint import from_environment
from fedllm_bench.errors import ExperimentError, FedLLMError
from fedllm_bench.evaluate.benchmarks.advbench import refusal_phrases
from fedllm_bench.evaluate.judging.judge import Arrived, EndpointJudge, Judge, Reply
from fedllm_bench.evaluate.judging.other_judges import LocalJudge, RuleJudge, ScriptedJudge
from fedllm_bench.examples import Turn
from fedllm_bench.model.source import BASE_ASSETS, fingerprint, resolve
from fedllm_bench.progress import Progress

__all__ = ["JUDGES", "JudgeSettings", "judge_from"]

PATIENCE = 600.0  # seconds for a reply: a judge that writes a page needs minutes on a slow server


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """What a user says of a judge.

    Args:
        name: what follows the kind: a model, or a file.
        temperature: of its replies.
        seed: of its replies.
        concurrency: requests under way at once.
        max_tokens: of a reply.
    """

    name: str = ""
    temperature: float = 0.0
    seed: int | None = None
    concurrency: int = 8
    max_tokens: int = 1024


def judge_from(text: str, settings: JudgeSettings, progress: Progress) -> Judge:
    """The judge that a user names.

    Args:
        text: KIND or KIND:NAME.
        settings: of it, the name aside.
        progress: shows what is fetched for it.

    Raises:
        FedLLMError: there is no such judge, or it lacks something.
    """
    kind, _, name = text.partition(":")
    if kind not in JUDGES:
        raise ExperimentError(f"--judge: unknown name {text!r}", _meant(text))
    return JUDGES[kind](replace(settings, name=name), progress)


def _meant(text: str) -> str:
    """What somebody may have meant who named no kind, or wrote it wrong."""
    kind, colon, name = text.partition(":")
    near = difflib.get_close_matches(kind, JUDGES, n=1)
    if near:
        return f"did you mean {near[0]}{colon}{name}?"
    own = (
        "scripted" if text.endswith(".jsonl") else "local" if text in BASE_ASSETS or Path(text).is_dir() else "endpoint"
    )
    known = "endpoint:MODEL, local:BASE, scripted:FILE.jsonl or rule"
    return f"did you mean {own}:{text}?" if text.strip() else known


def _endpoint(settings: JudgeSettings, progress: Progress) -> Judge:
    model = _named(settings, "endpoint:gpt-4o")
    endpoint = from_environment(concurrency=settings.concurrency, timeout=PATIENCE)
    return EndpointJudge(endpoint, model, settings.temperature, settings.seed, settings.max_tokens, _remark(model))


def _local(settings: JudgeSettings, progress: Progress) -> Judge:
    base = _named(settings, "local:smollm2-135m")

    def answer(conversations: Sequence[Sequence[Turn]], arrived: Arrived, progress: Progress) -> None:
        # Models take seconds to import: a judge that does not exist is told before.
        from fedllm_bench.model.base import load_model
        from fedllm_bench.model.generate import Prompt, batches, generate, stop_ids
        from fedllm_bench.model.lora import LoraSpec
        from fedllm_bench.model.prepacked import prepacked
        from fedllm_bench.model.sampling import Sampling
        from fedllm_bench.model.tokenise import Codec

        no_adapter = LoraSpec(rank=1, alpha=1.0, dropout=0.0, targets=())
        model = load_model(base, no_adapter, dtype="auto", device="auto")
        codec = Codec(model.tokenizer, "native", 1 << 20)
        stops, how = stop_ids(model, codec), Sampling(settings.temperature, settings.max_tokens)
        prompts = [
            Prompt(codec.prompt(turns), how, ("judge", position)) for position, turns in enumerate(conversations)
        ]
        with prepacked(model.model), progress.task(f"judgements by {base}", len(prompts), "judgements") as task:
            for chosen in batches(prompts):
                made = generate(model, [prompts[at] for at in chosen], stops, settings.seed or 0)
                for at, reply in zip(chosen, made, strict=True):
                    text = model.tokenizer.decode(list(reply.ids), skip_special_tokens=True).strip()
                    arrived(at, Reply(text, "whole" if reply.stopped else "cut"))
                task.advance(len(chosen))

    identity = f"{fingerprint(resolve(base))} {settings.temperature} {settings.seed} {settings.max_tokens}"
    return LocalJudge(base, identity, answer, _remark(base))


def _rule(settings: JudgeSettings, progress: Progress) -> Judge:
    return RuleJudge(refusal_phrases(progress))


def _scripted(settings: JudgeSettings, progress: Progress) -> Judge:
    judge = ScriptedJudge(Path(_named(settings, "scripted:replies.jsonl")))
    judge.ready()
    return judge


def _remark(model: str) -> str:
    """The models that come with the package are there to try things."""
    return " (too small to judge: its scores test the way, not the answers)" if model in BASE_ASSETS else ""


def _named(settings: JudgeSettings, example: str) -> str:
    if not settings.name:
        raise FedLLMError(f"--judge {example.partition(':')[0]} needs a name", f"such as --judge {example}")
    return settings.name


JUDGES: dict[str, Callable[[JudgeSettings, Progress], Judge]] = {
    "endpoint": _endpoint,
    "local": _local,
    "rule": _rule,
    "scripted": _scripted,
}
