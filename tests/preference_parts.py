"""Made-up people who prefer one answer to another, and the objective that learns from them."""

from pathlib import Path
from typing import Any

from fedllm_bench import rng
from fedllm_bench.examples import ClientData, PreferenceExample, Turn
from fedllm_bench.federation.trainer import Learner
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.objectives.dpo import DPO, dpo
from fedllm_bench.objectives.encoded import EncodedClients, EncodedPart
from fedllm_bench.objectives.protocol import Row
from made_up import People, sentence


def pair(name: str, exchanges: int = 1) -> PreferenceExample:
    """A prompt of one or more exchanges with two answers, which depends on its name alone."""
    draw = rng.stream(0, "pair", name)
    roles = ("user", "assistant") * exchanges
    prompt = tuple(Turn(role, sentence(draw)) for role in roles[: 2 * exchanges - 1])  # type: ignore[arg-type]
    return PreferenceExample(name, prompt, sentence(draw), sentence(draw))


def opinionated(*sizes: int, held_out: int = 2) -> People:
    """One person for each number of training pairs; every third prompt has an exchange before it."""
    return People(
        tuple(
            ClientData(
                f"person-{number}",
                [pair(f"{number}/train/{i}", 1 + (i % 3 == 2)) for i in range(size)],
                [pair(f"{number}/test/{i}", 1 + i % 2) for i in range(held_out)],
            )
            for number, size in enumerate(sizes)
        )
    )


def preference(
    model: LanguageModel,
    template: str = "none",
    max_length: int = 512,
    truncation: str = "left-context",
    **options: Any,
) -> DPO:
    """The preference objective with the model's tokenizer."""
    codec = Codec(model.tokenizer, template, max_length, truncation)
    return dpo(**options)(codec, f"{model.fingerprint} {template} {max_length} {truncation}")


def rows_of_pairs(objective: DPO, *pairs: PreferenceExample) -> list[Row]:
    """Encoded pairs of one client."""
    found = [objective.encode(example) for example in pairs]
    return [Row(each[0], owner=0, key=number) for number, each in enumerate(found)]  # type: ignore[index]


def encoded_with_reference(model: LanguageModel, objective: DPO, crowd: People, cache: Path) -> EncodedClients:
    """A crowd's pairs with the base's log-probabilities, as a run has them."""
    return EncodedClients(crowd, objective, cache, objective.annotation(model))


def whole_part(encoded: EncodedClients, client: int, part: str = "train") -> EncodedPart:
    """A client's part with the reference of every pair."""
    found = encoded.part(client, part)
    return found.ready(range(len(found)))


def learners_of(encoded: EncodedClients, steps: int) -> list[Learner]:
    """Every client, about to take so many steps."""
    return [
        Learner(client, encoded.dataset.client_id(client), encoded.part(client, "train"), steps, {})
        for client in range(len(encoded.dataset))
    ]
