"""What a data card says of a surveyed dataset; what cannot be measured here is left to a command that it names."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from fedllm_bench import __version__
from fedllm_bench.analysis.card_facts import CardFacts, Figure, Twins, id_kinds, personal_data
from fedllm_bench.analysis.card_words import CardWords
from fedllm_bench.analysis.heterogeneity import AXES, Score
from fedllm_bench.data.stored import StoredDataset
from fedllm_bench.errors import FedLLMError
from fedllm_bench.measure.privacy import KINDS
from fedllm_bench.portrait import axes, table1_of, topics
from fedllm_bench.survey import Survey

__all__ = ["card_facts"]

T = TypeVar("T")

SIZES, DIFFERENT, LANGUAGES, TOPICS, PRIVACY = (
    "Quantity, length and quality",
    "How different clients are",
    "Languages",
    "Topics",
    "Privacy and safety",
)


def card_facts(
    survey: Survey,
    stored: StoredDataset,
    figures: Sequence[Figure],
    command: str,
    words: CardWords | None = None,
) -> CardFacts:
    """Measure what a card tells.

    Args:
        survey: of the dataset.
        stored: as it was built, for its source and what was left out.
        figures: beside the card.
        command: that writes the card.
        words: of the author; they take the place of what is made up here.
    """
    contents, manifest, tools = survey.contents, stored.manifest, survey.tools
    fill = {} if tools.ifd else dict.fromkeys((SIZES, DIFFERENT), f"{command} --ifd")

    def measured(section: str, measure: Callable[[], T]) -> T | None:
        """A value, or None where a package, model or key is missing; the card then says how to bring it."""
        try:
            return measure()
        except FedLLMError as error:
            fill[section] = error.hint or str(error)
            return None

    def score_of(axis: str) -> list[Score]:
        return measured(DIFFERENT, lambda: axes(survey, [axis])) or []

    facts = CardFacts(
        name=survey.dataset.name,
        about=f"Data of {len(contents.train):,} clients for federated fine-tuning of language models.",
        source=manifest["source"],
        task="PA" if contents.preferences else "IT",
        clients=len(contents.train),
        train=sum(contents.train.values()),
        test=sum(contents.test.values()),
        fingerprint=survey.dataset.fingerprint,
        command=command,
        split=_split(stored.manifest["options"]),
        options=manifest["options"],
        dropped=manifest["dropped"],
        table1=measured(SIZES, lambda: table1_of(survey)),
        scores=[score for axis in AXES for score in score_of(axis)],
        figures=figures,
        languages=measured(LANGUAGES, lambda: Counter(code for own in survey.languages.values() for code in own)),
        topics=measured(TOPICS, lambda: topics(survey)),
        twins=Twins(contents.twins_within, contents.twins_across),
        personal=measured(PRIVACY, lambda: personal_data(survey.personal_data, tuple(KINDS))),
        ids=id_kinds(contents.train),
        flags=contents.flags or None,
        versions={"fedllm-bench": __version__, "tokenizer": tools.tokenizer, "embedder": tools.embedder},
        fill=fill,
    )
    return replace(facts, **({} if words is None else words.given()))


def _split(options: Mapping[str, object]) -> str:
    """How samples are held out, as far as the options of the build tell."""
    share = options.get("held_out")
    if not isinstance(share, float):
        return ""
    if share == 0:
        return "A client is one user of the source; no samples are held out."
    return (
        f"A client is one user of the source; of each client's samples about {share:.0%} are held out, drawn by seed."
    )
