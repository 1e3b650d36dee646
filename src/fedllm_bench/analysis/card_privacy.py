"""What a card says to who answers for privacy: who the clients are, what texts hold, what was not checked."""

from typing import Any

from fedllm_bench.analysis.card_facts import DIGESTS, CardFacts, PatternCount
from fedllm_bench.analysis.card_parts import COUNTED, bullets, counted, joined, missing, most, pairs
from fedllm_bench.analysis.tables import column, render

__all__ = ["privacy"]


def privacy(facts: CardFacts) -> str:
    """The section on privacy and safety (Ye et al. 2024, appendix B.5, names the questions)."""
    return joined(
        f"### {title}\n\n{part(facts)}"
        for title, part in {
            "Who the clients are": _ids,
            "Personal data in texts": _personal,
            "Unsafe texts": _unsafe,
            "What has not been checked": _unchecked,
        }.items()
    )


def _ids(facts: CardFacts) -> str:
    said = facts.client_ids or "Whether the ids of clients are those of the source or made up is not described."
    parts = [f"A client stands for a person or what the source takes for one. {said}"]
    if facts.ids is not None:
        parts.append(pairs("ids look like", "clients", {kind: f"{count:,}" for kind, count in facts.ids.items()}, True))
    if DIGESTS in (facts.ids or {}):
        parts.append("A digest of a short secret, such as an IP address, can be undone by trying all of them.")
    return joined(parts)


def _personal(facts: CardFacts) -> str:
    if facts.personal is None:
        return missing(facts, "Privacy and safety", "Not searched for")
    found = facts.personal
    rows = [_pattern_row(each, found.samples) for each in found.patterns]
    of = "all" if found.samples == facts.samples else f"{found.samples:,} of {facts.samples:,}"
    columns = (
        column("pattern", "pattern"),
        column("hits", "hits", "{:,}".format, numeric=True),
        *COUNTED,
        column("clients", "clients", "{:,}".format, numeric=True),
    )
    return joined(
        [
            render(rows, columns, "md"),
            f"Searched: {of} samples. {counted(found.with_any, found.samples)} have at least one hit.",
            "Counted is what looks like personal data: a number of eleven digits need not be a telephone, and names, "
            "places and what people tell about themselves have no pattern. No hit is no proof.",
        ]
    )


def _pattern_row(each: PatternCount, samples: int) -> dict[str, Any]:
    share = each.samples / max(samples, 1)
    return {
        "pattern": each.pattern,
        "hits": each.hits,
        "samples": each.samples,
        "share": share,
        "clients": each.clients,
    }


def _unsafe(facts: CardFacts) -> str:
    parts = [facts.screening] if facts.screening else []
    if facts.flags is None:
        parts.append("Whether the source flags samples is not recorded.")
    elif any(facts.flags.values()):
        rows = [
            {"flag": flag, "samples": count, "share": count / max(facts.samples, 1)}
            for flag, count in most(facts.flags)
        ]
        parts += [
            render(rows, (column("flag of the source", "flag"), *COUNTED), "md"),
            "The flags are the source's own; flagged samples are in the data unless they are listed as left out.",
        ]
    else:
        parts.append("No sample here carries a flag of its source, such as toxic; that does not make it safe.")
    return joined(parts)


def _unchecked(facts: CardFacts) -> str:
    points = [
        "Whether people can be recognised by how and about what they write. All of a client's texts stand together "
        "here, which makes that easier than in the source.",
        "Whether those who wrote the texts would agree to this use, beyond the source's licence.",
        "Names, places, health, beliefs or opinions in free text.",
        "Unsafe, hateful or false content, beyond the flags above."
        if facts.flags
        else "Unsafe, hateful or false content.",
        "Texts by third parties that people pasted, and rights in them.",
        "What a model trained on the data repeats of it.",
    ]
    if facts.personal is None:
        points.insert(0, "Personal data of any kind.")
    elif facts.personal.samples < facts.samples:
        points.insert(0, "Personal data in the samples that were not searched.")
    return bullets(points)
