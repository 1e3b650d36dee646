"""`serve`: a model of this machine behind OpenAI's protocol."""

import click

__all__ = ["serve"]


@click.command()
@click.argument("base", metavar="BASE")
@click.option("--port", type=click.IntRange(min=0, max=65535), default=8765, show_default=True, help="0: a free one.")
def serve(base: str, port: int) -> None:
    """Answer chat requests on 127.0.0.1 with a model of this machine, as a server for `eval --judge endpoint:BASE`.

    BASE is an asset, a hub name or a folder. Ctrl-C ends it.
    """
    from fedllm_bench.errors import FedLLMError
    from fedllm_bench.model.source import require_known

    require_known(base)  # before the seconds of the next import, and before the port

    from fedllm_bench.serve import Server

    try:
        server = Server(base, port)
    except OSError as error:
        raise FedLLMError(f"port {port} cannot be used ({error.strerror})", "choose another with --port") from error
    click.echo(f"export OPENAI_BASE_URL={server.address}", err=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended", err=True)
