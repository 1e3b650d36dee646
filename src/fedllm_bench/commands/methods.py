"""`methods` and `check-method`: the methods on offer, and whether one keeps the engine's promises."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import Any

import click

from fedllm_bench.commands.output import as_json, plugin_option, print_rows, screen_width

__all__ = ["check", "methods"]


@click.command()
@click.argument("name", required=False)
@plugin_option
@as_json
def methods(name: str | None, plugins: tuple[Path, ...], form: str) -> None:
    """List the methods, or tell all about one."""
    from fedllm_bench import listing
    from fedllm_bench.analysis.tables import Column, column
    from fedllm_bench.experiment import plugin_files

    given = plugin_files(plugins)
    if name is not None:
        _print_method(listing.method(name, given), form)
        return
    columns = (
        column("method", "name"),
        Column("what it does, and from where", _what_it_does, numeric=False),
        Column("options", lambda row: "\n".join([*map(_setting, row["options"]), ""]), numeric=False),
    )
    print_rows(listing.methods(given), columns, form, "" if form == "json" else "fedllm-bench methods NAME says more.")


def _what_it_does(row: Mapping[str, Any]) -> str:
    needs = f"Needs {', '.join(row['needs'])}." if row["needs"] else ""
    return "\n".join([*filter(None, (row["summary"], needs, row["paper"] or row["from"])), ""])


def _setting(option: Mapping[str, Any]) -> str:
    return f"{option['name']} = {json.dumps(option['default'])}"


def _print_method(row: Mapping[str, Any], form: str) -> None:
    """One method in full: what it is, then a table of its options."""
    from fedllm_bench.analysis.tables import Column, column

    if form == "json":
        print_rows([row], (), form)
        return
    for paragraph in filter(None, (row["summary"], *row["about"].split("\n\n"))):
        click.echo(fill(paragraph, screen_width()) + "\n")
    for what, fact in (("source", row["paper"]), ("needs", "; ".join(map(_need, row["needs"]))), ("from", row["from"])):
        if fact:
            click.echo(fill(f"{what + ':':9}{fact}", screen_width(), subsequent_indent=" " * 9))
    if row["options"]:
        columns = (
            column("option", "name"),
            Column("default", lambda option: json.dumps(option["default"]), numeric=False),
            column("takes", "type"),
            column("what it is", "about"),
        )
        click.echo()
        print_rows(row["options"], columns)


def _need(need: str) -> str:
    from fedllm_bench.federation.needs import NEEDS

    return f"{need} ({NEEDS[need]})"


@click.command("check-method")
@click.argument("name")
@plugin_option
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the method, such as mu=0.1.")
@click.option("--fedavg-when", "neutral", multiple=True, metavar="KEY=VALUE", help="Option with which it is FedAvg.")
@as_json
@click.pass_context
def check(
    context: click.Context,
    *,
    name: str,
    plugins: tuple[Path, ...],
    options: tuple[str, ...],
    neutral: tuple[str, ...],
    form: str,
) -> None:
    """Hold a method to the engine's promises.

    On a tiny random model: it learns, resumes with the same bytes, works at every width, and composes with privacy,
    compression and private tensors or is refused with a reason. Exit 1: it breaks a promise.
    """
    from fedllm_bench.analysis.tables import column
    from fedllm_bench.contract.suite import CHECKS, check_method
    from fedllm_bench.experiment import plugin_files
    from fedllm_bench.progress import progress_on

    given, fixed, same = plugin_files(plugins), _options("--option", options), _options("--fedavg-when", neutral)
    with progress_on().task(f"check {name}", len(CHECKS), "checks") as task:
        findings = check_method(name, given, fixed, same or None, lambda _: task.advance())
    columns = (
        column("check", "check"),
        column("promise", "claim"),
        column("", "outcome"),
        column("seen", "detail", _reason),
    )
    print_rows([asdict(finding) for finding in findings], columns, form)
    context.exit(int(any(finding.outcome == "failed" for finding in findings)))


def _options(flag: str, texts: Sequence[str]) -> dict[str, Any]:
    from fedllm_bench.experiment.documents import override

    return {".".join(key): value for key, value in (override(text, flag, "mu=0.1") for text in texts)}


def _reason(detail: str) -> str:
    """A refusal without the names of the two sides, which the row has already."""
    return detail.rpartition(" make no sense together: ")[2]
