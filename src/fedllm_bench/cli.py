"""The command `fedllm-bench`: data on stdout, all else on stderr; exit codes 0, 1 (failed), 2 (bad input)."""

import os
import sys

import click

from fedllm_bench import __version__
from fedllm_bench.commands import (
    agreement,
    assets,
    catalogue,
    doctor,
    evaluation,
    methods,
    paper,
    personal,
    results,
    runs,
    serving,
)
from fedllm_bench.errors import FedLLMError

__all__ = ["cli", "main"]

FAILED = 1
BAD_INPUT = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fedllm-bench")
def cli() -> None:
    """Federated fine-tuning of language models: run experiments, compare methods, read reports."""


for command in (
    runs.quickstart,
    runs.run,
    evaluation.evaluate,
    agreement.agreement,
    results.table,
    results.report,
    paper.figure,
    personal.personalise,
    methods.methods,
    methods.check,
    catalogue.data,
    assets.assets,
    serving.serve,
    doctor.doctor,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a character shows a question mark
            stream.reconfigure(errors="replace")
    try:
        code = cli.main(standalone_mode=False)
    except click.Abort:
        _say("interrupted: run again to continue")
        sys.exit(FAILED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FedLLMError as error:
        _say(f"error: {error.message}")
        if error.hint is not None:
            _say(f"hint: {error.hint}")
        sys.exit(BAD_INPUT)
    except Exception as error:
        if os.environ.get("FEDLLM_BENCH_DEBUG"):
            raise
        _say(f"error: {type(error).__name__}: {' '.join(str(error).split())}")
        _say("hint: set FEDLLM_BENCH_DEBUG=1 to see where it happened")
        sys.exit(FAILED)
    sys.exit(code if isinstance(code, int) else 0)


def _say(line: str) -> None:
    click.echo(line, err=True)
