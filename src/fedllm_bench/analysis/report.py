"""One self-contained HTML page about runs."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from fedllm_bench import __version__
from fedllm_bench.analysis.answers import answers
from fedllm_bench.analysis.as_toml import as_toml
from fedllm_bench.analysis.evaluations import caption as scores_caption
from fedllm_bench.analysis.evaluations import columns_of, evaluations, flat_rows
from fedllm_bench.analysis.figures import Drawing, draw, inline_svg, save
from fedllm_bench.analysis.frames import Run, read_runs
from fedllm_bench.analysis.headline import headline
from fedllm_bench.analysis.methods import Method, group
from fedllm_bench.analysis.quantities import bytes_text, count_text, seconds_text
from fedllm_bench.analysis.summary import Summary, caption, losses, summarise
from fedllm_bench.analysis.tables import epsilon_text
from fedllm_bench.store import replacing

__all__ = ["render_report", "write_report"]

MOST_CLIENTS = 1000  # in the table of clients, to keep the page light


def write_report(folders: Sequence[Path], page: Path | None = None, figures: Path | None = None) -> Path:
    """Write the page and return its path.

    Args:
        folders: run folders, or folders above them.
        page: the file; `report.html` in the first folder if not given.
        figures: a folder that gets every figure as SVG and PNG, too.

    Raises:
        RunError: a folder holds no run, or a file in it is broken.
    """
    methods = group(read_runs(folders))
    summaries = summarise(methods)
    drawings = draw(methods, summaries)
    html = render_report(methods, summaries, drawings)
    target = folders[0] / "report.html" if page is None else page
    with replacing(target) as scratch:
        scratch.write_text(html, encoding="utf-8")
    if figures is not None:
        for drawing in drawings:
            save(drawing, figures)
    return target


def render_report(methods: Sequence[Method], summaries: Sequence[Summary], drawings: Sequence[Drawing]) -> str:
    """The page as text; equal runs give equal pages."""
    trained = [method for method in methods if method.base is not None]
    runs = [run for method in trained for run in method.runs]
    asked, totals = answers(methods)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(count=count_text, bytes=bytes_text, seconds=seconds_text, epsilon=epsilon_text)
    template = environment.from_string(files("fedllm_bench.analysis").joinpath("report.html.j2").read_text("utf-8"))
    return template.render(
        title=", ".join(dict.fromkeys(str(run.experiment["name"]) for run in runs)),
        headline=headline(methods, summaries),
        caption=caption(methods),
        summaries=summaries,
        by_token=any(method.words.scores_tokens for method in methods),
        by_pair=any(not method.words.scores_tokens for method in methods),
        figures=[(each.name, each.title, Markup(inline_svg(each))) for each in drawings],
        scores=_scores(methods),
        asked=asked,
        totals=totals,
        clients=_clients(methods),
        costs=[_cost(method, summary) for method, summary in zip(methods, summaries, strict=True) if method.base],
        by_personal=any(method.personal for method in methods),
        privacy=[(method.name, method.privacy) for method in trained if method.privacy],
        deviations=[(method.name, found) for method in trained if (found := _deviations(method))],
        runs=[(method.name, run) for method in trained for run in method.runs],
        experiments=[(method.name, len(method.runs), as_toml(method.runs[0].experiment)) for method in trained],
        environment=list(_environment(runs)),
        version=__version__,
    )


# --- benchmarks


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Methods against metrics.

    Args:
        heads: of the columns.
        rows: the text of each cell, line by line.
        caption: what the numbers are.
    """

    heads: list[str]
    rows: list[list[list[str]]]
    caption: str


def _scores(methods: Sequence[Method]) -> ScoreTable | None:
    """The benchmarks of the methods; None where nothing was evaluated."""
    found = evaluations(methods)
    cells = [cell for own in found.board.cells.values() for cell in own.values()]
    if all(cell.mean is None and not cell.unscored for cell in cells):
        return None
    flat = flat_rows(found)
    columns = [column for column in columns_of(found, "html") if any(map(column.has_value, flat))]
    rows = [[column.show(row).splitlines() for column in columns] for row in flat]
    return ScoreTable([column.title for column in columns], rows, scores_caption(found, "html"))


# --- clients


@dataclass(frozen=True, slots=True)
class Clients:
    """Held-out losses client by client.

    Args:
        methods: names of the columns.
        rows: client, scored tokens, and the loss under each method, the hardest client first.
        total: how many clients there are, shown or not.
    """

    methods: list[str]
    rows: list[tuple[str, float, list[float | None]]]
    total: int


def _clients(methods: Sequence[Method]) -> Clients:
    measured = [method for method in methods if method.scores]
    by_method = [losses(method) for method in measured]
    tokens = {client: score.tokens for method in measured for client, score in method.scores.items()}
    rows = [(client, tokens[client], [found.get(client) for found in by_method]) for client in sorted(tokens)]
    rows.sort(key=lambda row: max(loss for loss in row[2] if loss is not None), reverse=True)
    return Clients([method.name for method in measured], rows[:MOST_CLIENTS], len(rows))


# --- costs


@dataclass(frozen=True, slots=True)
class Cost:
    """What the runs of one method took, and what was lost on the way.

    Args:
        summary: tokens, operations, bytes and seconds of a run.
        overhead: share of the rounds' time that is neither training nor evaluation.
        rejected: updates that were not finite, over all runs.
        skipped: samples cut or left out by reason, each client counted once.
        unscored: clients that could not be evaluated.
    """

    summary: Summary
    overhead: float | None
    rejected: int
    skipped: Mapping[str, int]
    unscored: int


def _cost(method: Method, summary: Summary) -> Cost:
    shares = [run.overhead for run in method.used if run.overhead is not None]
    records = list(chain.from_iterable(run.clients for run in method.used))
    return Cost(
        summary=summary,
        overhead=statistics.fmean(shares) if shares else None,
        rejected=sum(record["status"].startswith("rejected") for record in records),
        skipped=_skipped(records),
        unscored=len(set().union(*(run.unscored for run in method.used))),
    )


def _skipped(records: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
    """A client reports the same samples in every round it takes part in: its last word counts."""
    by_client = {record["client"]: record["skipped_samples"] for record in records}
    total: Counter[str] = Counter()
    for counts in by_client.values():
        total.update(counts)
    return dict(sorted(total.items()))


def _deviations(method: Method) -> list[Mapping[str, Any]]:
    """Where the method's runs depart from the published definitions, each departure once."""
    found = {row["setting"]: row for run in method.runs for row in run.environment.get("deviations", ())}
    return list(found.values())


# --- where it ran


def _environment(runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """Each fact with its value, or its values where runs differ."""
    keys = dict.fromkeys(key for run in runs for key in run.environment)
    for key in keys:
        if key not in ("started", "deviations"):
            values = dict.fromkeys(str(run.environment[key]) for run in runs if key in run.environment)
            yield key.replace("_", " "), "; ".join(values)
