"""Tables 2 to 6 and 8 of the paper: their columns, and whose runs fill their rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fedllm_bench.analysis.evaluated import LANGUAGES
from fedllm_bench.analysis.frames import Run
from fedllm_bench.analysis.paper_rows import (
    algorithm_row,
    every_run,
    family_row,
    language_row,
    noise_row,
    of_chat,
    of_family,
)

__all__ = ["PAPER_TABLES", "Heading", "PaperTable", "Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """What a column is a number of.

    Args:
        metric: a name from `METRICS`.
        language: only items in it; empty for all.
        chat: only runs on conversations of one turn (`single`) or several (`multi`); empty for all.
    """

    metric: str
    language: str = ""
    chat: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """A column.

    Args:
        key: as in `paper_results.json`.
        title: at its head.
        parts: one, or those of an average, which counts each the same.
    """

    key: str
    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One table of the paper.

    Args:
        number: in the paper.
        about: what it shows.
        headings: its columns.
        row_of: the title of a run's row; None for a run that has no place in it.
        takes: whether a run of a row is behind a column of this language and kind of chat.
        trained_by: the files in experiments/paper whose runs fill a row.
        alone: the row of local training that a part is compared with.
        note: what a reader has to know.
        across: rows of our own are columns in the paper: they become columns.
    """

    number: int
    about: str
    headings: tuple[Heading, ...]
    row_of: Callable[[Run], str | None]
    trained_by: Callable[[str], tuple[str, ...]]
    takes: Callable[[Run, str, str], bool] = every_run
    alone: Callable[[Part], str] = lambda part: "Local Training"
    note: str = ""
    across: bool = False


def _plain(key: str, title: str, metric: str, chat: str = "") -> Heading:
    return Heading(key, title, (Part(metric, chat=chat),))


def _with_average(headings: tuple[Heading, ...]) -> Iterator[Heading]:
    yield from headings
    yield Heading("average", "Average", tuple(part for heading in headings for part in heading.parts))


def _languages(codes: tuple[str, ...]) -> tuple[Heading, ...]:
    return tuple(_with_average(tuple(Heading(code, code, (Part("ref-judge", code),)) for code in codes)))


_MT_1 = _plain("mt-bench-1", "MT-Bench-1", "mt-bench-1")
_VICUNA = _plain("vicuna", "Vicuna", "vicuna")
_REFERENCE = _plain("ref-judge", "Ref-Judge", "ref-judge")
_MMLU = _plain("mmlu", "MMLU", "mmlu")
_TWO_CLIENTS = "Local training is the mean over the clients that trained alone."

_ROWS = (
    PaperTable(
        2,
        "Fed-Aya by language, Ref-Judge (the paper's Ref-GPT4)",
        _languages(tuple(LANGUAGES)),
        language_row,
        lambda row: ("table2",),
        alone=lambda part: f"Local Training ({part.language})",
        note="Local training is compared as the client of the column's own language.",
    ),
    PaperTable(
        3,
        "single-turn chat on Fed-ChatbotIT",
        (
            *_with_average((_MT_1, _VICUNA, _REFERENCE)),
            _plain("humaneval", "HumanEval", "humaneval"),
            _MMLU,
        ),
        algorithm_row,
        lambda row: ("table3",),
        note=_TWO_CLIENTS,
    ),
    PaperTable(
        4,
        "single-turn and multi-turn chat on Fed-WildChat",
        (
            _plain("single/mt-bench-1", "single:\nMT-Bench-1", "mt-bench-1", "single"),
            _plain("single/vicuna", "single:\nVicuna", "vicuna", "single"),
            _plain("single/ref-judge", "single:\nRef-Judge", "ref-judge", "single"),
            _plain("multi/mt-bench-1", "multi:\nMT-Bench-1", "mt-bench-1", "multi"),
            _plain("multi/mt-bench-2", "multi:\nMT-Bench-2", "mt-bench-2", "multi"),
            _plain("multi/mt-bench", "multi:\nMT-Bench", "mt-bench", "multi"),
            _plain("multi/ref-judge", "multi:\nRef-Judge", "ref-judge", "multi"),
        ),
        algorithm_row,
        lambda row: ("table4-single", "table4-multi"),
        takes=of_chat,
        note=_TWO_CLIENTS,
    ),
    PaperTable(
        5,
        "preference alignment on Fed-ChatbotPA",
        (*_with_average((_MT_1, _VICUNA)), _plain("advbench", "AdvBench", "advbench"), _MMLU),
        algorithm_row,
        lambda row: ("table5",),
        note=_TWO_CLIENTS,
    ),
    PaperTable(
        6,
        "collaboration among languages on Fed-Aya, Ref-Judge (the paper's Ref-GPT4)",
        _languages(("ar", "es", "en", "fr", "pt", "ru", "zh")),
        family_row,
        lambda row: ("table2",) if row in ("Local", "FedAvg") else ("table6",),
        takes=of_family,
        alone=lambda part: "Local",
        note="Local, FedSamLang, FedSimLang: each language is answered by the model of its own client or group.",
    ),
    PaperTable(
        8,
        "FedAvg on Fed-WildChat with noise of a fixed sigma",
        (_MT_1,),
        noise_row,
        lambda row: ("table8",),
        alone=lambda part: "local(1702)",
        note="The paper's MT-Bench is its first turn: all seven values are multiples of 1/80, the number of its "
        "questions. Nothing clips what clients send: the noise guarantees no privacy.",
        across=True,
    ),
)

PAPER_TABLES: Mapping[int, PaperTable] = {table.number: table for table in _ROWS}
