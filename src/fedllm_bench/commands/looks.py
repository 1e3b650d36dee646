"""`data describe`, `figures` and `card`: what a dataset looks like."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedllm_bench.commands.output import print_rows
from fedllm_bench.commands.target import dataset_of, set_option, target_argument, targets_argument

if TYPE_CHECKING:
    from fedllm_bench.examples import FederatedDataset
    from fedllm_bench.survey import Survey, Tools

__all__ = ["card", "describe", "figures", "survey_of", "survey_of_run"]

MEASURED_WITH: tuple[Callable[[Any], Any], ...] = (
    click.option("--tokenizer", metavar="NAME", help="Counts tokens: an asset, a hub name or a folder."),
    click.option("--model", "base", metavar="NAME", help="Whose losses give quality (IFD): the same kinds of name."),
    click.option("--embedder", metavar="NAME", help="Gives vectors: minilm, use-multilingual, openai:MODEL, a folder."),
    click.option("--per-client", type=click.IntRange(min=1), help="Samples of a client for quality and vectors."),
    click.option("--samples", type=click.IntRange(min=1), help="Of all clients together, at most."),
    click.option("--clients", "shown", type=click.IntRange(min=1), help="Clients drawn where single ones are shown."),
    click.option("--seed", type=click.IntRange(min=0), help="Draws clients and samples."),
)
MEASURED_WITH_KEYS = ("tokenizer", "base", "embedder", "per_client", "samples", "shown", "seed")

form_option = click.option(
    "--format", "form", type=click.Choice(["text", "md", "tex", "csv", "json"]), default="text", show_default=True
)


def measuring(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of what is measured with, as one `Tools`."""

    @wraps(verb)
    def with_tools(**options: Any) -> None:
        from fedllm_bench.survey import Tools

        given = {key: options.pop(key) for key in MEASURED_WITH_KEYS}
        verb(tools=Tools(**{key: value for key, value in given.items() if value is not None}), **options)

    for option in reversed(MEASURED_WITH):
        with_tools = option(with_tools)
    return with_tools


@click.command()
@targets_argument
@set_option
@click.option("--ifd", is_flag=True, help="Measure quality, too; minutes for a small model on a processor.")
@click.option("--axes", "by_axis", is_flag=True, help="How different the clients are, axis by axis, instead.")
@click.option("--with-paper", is_flag=True, help="The paper's Table 1 beside it.")
@measuring
@form_option
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
def describe(
    *,
    targets: tuple[str, ...],
    overrides: tuple[str, ...],
    ifd: bool,
    by_axis: bool,
    with_paper: bool,
    tools: "Tools",
    form: str,
) -> None:
    """Table 1 of the paper for your datasets: clients, samples, lengths in tokens, quality."""
    from fedllm_bench.analysis import heterogeneity, table1
    from fedllm_bench.portrait import axes, table1_of

    surveys = [survey_of(target, overrides, replace(tools, ifd=ifd)) for target in targets]
    if by_axis:
        for survey in surveys:
            rows = heterogeneity.rows_of(axes(survey))
            print_rows(rows, heterogeneity.COLUMNS, form, f"{survey.dataset.name}. {heterogeneity.NOTE}")
        return
    columns = [table1_of(survey) for survey in surveys]
    rows = table1.rows_of(columns, with_paper)
    print_rows(rows, table1.columns_of(columns, with_paper), form, table1.caption(columns, with_paper))
    if not ifd:
        click.echo("hint: --ifd adds the quality of the data", err=True)


@click.command()
@target_argument
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: figures/<dataset>]")
@click.option("--only", multiple=True, metavar="NAME", help="Only this figure; may be repeated.")
@set_option
@measuring
def figures(target: str, out: Path | None, only: tuple[str, ...], overrides: tuple[str, ...], tools: "Tools") -> None:
    """Draw the paper's figures of data, as SVG and PNG, and say where they are.

    \b
    language 1a, length 1b, length-preference 1c, quality-preference 1d, verbs 2,
    quality 3, embedding 4, quantity 5, sunburst 7, client-sunbursts 9-12,
    similarity, topics, axes
    """
    from fedllm_bench.analysis.data_figures.table import DATA_FIGURES
    from fedllm_bench.options import named

    for name in only:
        named("--only", name, DATA_FIGURES)
    survey = survey_of(target, overrides, tools)
    folder = out or Path("figures") / survey.dataset.name
    for path in _drawn(survey, only or tuple(DATA_FIGURES), folder):
        click.echo(path)


@click.command()
@target_argument
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: cards/<dataset>]")
@click.option("--ifd", is_flag=True, help="Measure quality, too.")
@click.option("--words", "author", type=click.Path(path_type=Path), help="TOML file with what only you can say.")
@click.option("--licence", metavar="NAME", help="Of the data, such as CC-BY-4.0.")
@click.option("--figures/--no-figures", "with_figures", default=True, help="Draw figures beside the card.")
@set_option
@measuring
def card(
    *,
    target: str,
    out: Path | None,
    ifd: bool,
    author: Path | None,
    licence: str | None,
    with_figures: bool,
    overrides: tuple[str, ...],
    tools: "Tools",
) -> None:
    """Write a data card, README.md, with figures beside it: what an author publishes and a privacy officer reads.

    A file of --words may say title, about, licence, split, client_ids, screening, citation, and notes (a list).
    """
    from fedllm_bench.analysis.card import card as written
    from fedllm_bench.analysis.card_facts import Figure
    from fedllm_bench.analysis.card_words import CardWords, read_words
    from fedllm_bench.analysis.data_figures.table import DATA_FIGURES
    from fedllm_bench.commands.target import built, experiment_of
    from fedllm_bench.data_card import card_facts

    words = CardWords() if author is None else read_words(author)
    experiment = experiment_of(target, overrides)
    dataset, stored = built(experiment, _progress())
    survey = _survey(dataset, replace(tools, ifd=ifd))
    folder = out or Path("cards") / dataset.name
    names = [name for name, row in DATA_FIGURES.items() if ifd or "quality" not in name] if with_figures else []
    shown = [
        Figure(DATA_FIGURES[path.stem].title, f"figures/{path.name}")
        for path in _drawn(survey, names, folder / "figures")
        if path.suffix == ".png"
    ]
    command = shlex.join(["fedllm-bench", "data", "card", target, *(f"--set={override}" for override in overrides)])
    facts = card_facts(survey, stored, shown, command, words.model_copy(update={"licence": licence or words.licence}))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(written(facts), encoding="utf-8")
    click.echo(folder / "README.md")


def survey_of(target: str, overrides: Sequence[str], tools: "Tools") -> "Survey":
    """A survey of the dataset that a target means."""
    return _survey(dataset_of(target, overrides, _progress()), tools)


def survey_of_run(experiment: Mapping[str, Any], tools: "Tools") -> "Survey":
    """A survey of the dataset of a run, from its resolved settings."""
    from fedllm_bench.clients import build_data
    from fedllm_bench.experiment import Experiment

    settings = {key: value for key, value in experiment.items() if key != "run_id"}
    return _survey(build_data(Experiment.model_validate(settings), _progress()), tools)


def _survey(dataset: "FederatedDataset", tools: "Tools") -> "Survey":
    from fedllm_bench import assets
    from fedllm_bench.survey import Survey

    return Survey(dataset, tools, assets.cache_dir(), _progress())


def _progress() -> Any:
    from fedllm_bench.progress import progress_on

    return progress_on()


def _drawn(survey: "Survey", names: Sequence[str], folder: Path) -> list[Path]:
    from fedllm_bench.analysis.drawing import save
    from fedllm_bench.portrait import figures as drawings

    paths: list[Path] = []
    for name, drawing in drawings(survey, names):
        if drawing is None:
            click.echo(f"{name}: {survey.dataset.name} has nothing to draw", err=True)
        else:
            paths += save(drawing, folder)
    return paths
