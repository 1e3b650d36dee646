"""The one client of OpenAI-compatible servers: embeddings and chat answers, many at a time, with patience."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from fedllm_bench.errors import FedLLMError
from fedllm_bench.examples import Turn
from fedllm_bench.extras import needed
from fedllm_bench.patience import UNREADABLE, patiently
from fedllm_bench.progress import SILENT, Progress

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = [
    "Ask",
    "Endpoint",
    "EndpointError",
    "answers",
    "chat",
    "chat_one",
    "embed",
    "from_environment",
    "said",
]

Q = TypeVar("Q")
A = TypeVar("A")
Ask = Callable[["AsyncOpenAI", Q], Awaitable[A]]

OPENAI = "https://api.openai.com/v1"
ADDRESS = re.compile(r"https?://[^/\s]+(/\S*)?$", re.IGNORECASE)


class EndpointError(FedLLMError):
    """A server that cannot be used, or does not answer as it should."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that speaks OpenAI's protocol.

    A request that meets a lost connection, a time-out, "too many requests" (429), a failure of the server (5xx) or half
    an answer is repeated: after the time that the server names (`Retry-After`; two minutes at most), or else after
    0.5 s, 1 s, 2 s and so on up to 8 s, each shortened by up to a quarter at random. Redirections are not followed.

    Args:
        base_url: its address, up to and with `/v1`.
        key: sent as the bearer token.
        concurrency: requests under way at once.
        retries: repetitions of a request; of one whose answer cannot be read, two at most, since it may be billed.
        timeout: seconds without a byte from the server, and for a whole answer.
    """

    base_url: str
    key: str = field(repr=False)
    concurrency: int = 8
    retries: int = 5
    timeout: float = 60.0

    @property
    def server(self) -> str:
        """The address without the name and password that it may hold."""
        parts = urlsplit(self.base_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def from_environment(**settings: Any) -> Endpoint:
    """The server that `OPENAI_BASE_URL` names (OpenAI's own where it is not set), with the key in `OPENAI_API_KEY`.

    Args:
        settings: further fields of `Endpoint`.

    Raises:
        EndpointError: the address is none; or OpenAI's own server, and no key: others may need none.
    """
    base_url = os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not ADDRESS.match(base_url):
        raise EndpointError(
            f"OPENAI_BASE_URL is {base_url.rpartition('@')[2]!r}, which is no address of a server",
            "it begins with http:// or https://, and usually ends in /v1",
        )
    if not key and base_url.rstrip("/") == OPENAI:
        raise EndpointError(
            f"no key for {OPENAI}: the environment variable OPENAI_API_KEY is not set",
            "set it, or name another server with OPENAI_BASE_URL",
        )
    return Endpoint(base_url, key or "none", **settings)


def answers(
    endpoint: Endpoint,
    requests: Sequence[Q],
    ask: Ask[Q, A],
    progress: Progress = SILENT,
    what: str = "requests",
    arrived: Callable[[int, A], None] = lambda position, answer: None,
    forgiven: int = 0,
) -> list[A]:
    """The answer to every request, in their order; at most `endpoint.concurrency` are under way at once.

    The first failure that is not forgiven stops the rest.

    Args:
        endpoint: the server.
        requests: of any kind that `ask` understands.
        ask: sends one request by the client it is given, and again where that fails; its errors become
            `EndpointError`s.
        progress: counts the answers.
        what: is asked for, in the plural.
        arrived: called with a request's position and its answer as soon as that is there, to keep it.
        forgiven: failures that are told only when all others have been asked.

    Raises:
        EndpointError: the server cannot be reached, refuses, or answers with something else.
    """
    openai = needed("openai", "analysis", f"requests to {endpoint.server}")
    found: dict[int, A] = {}
    failed: list[EndpointError] = []

    async def run() -> None:
        client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.key,
            timeout=endpoint.timeout,
            max_retries=0,  # `patiently` does, where callers can count what is sent
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, timeout=endpoint.timeout),
        )
        queue = iter(enumerate(requests))

        async def work() -> None:
            for position, request in queue:
                try:
                    with _told(endpoint):
                        answer = await patiently(partial(ask, client, request), endpoint.retries, endpoint.timeout)
                except EndpointError as error:
                    failed.append(error)
                    if len(failed) > forgiven:
                        raise
                    continue
                found[position] = answer
                arrived(position, answer)
                task.advance()

        async with client, asyncio.TaskGroup() as group:
            for _ in range(min(endpoint.concurrency, len(requests))):
                group.create_task(work())

    with progress.task(f"{what} from {endpoint.server}", len(requests), what) as task:
        try:
            asyncio.run(run())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        if failed:
            raise EndpointError(f"{len(failed)} of {len(requests)} {what} failed: {failed[0].message}", failed[0].hint)
    return [found[position] for position in range(len(requests))]


def embed(
    endpoint: Endpoint, texts: Sequence[str], model: str, at_once: int = 64, progress: Progress = SILENT
) -> NDArray[np.float32]:
    """The embeddings of texts, as the server gives them.  # (texts, dimensions)

    Args:
        endpoint: the server.
        texts: none of them empty.
        model: its name on the server.
        at_once: texts in one request.
        progress: counts the requests.

    Raises:
        EndpointError: see `answers`.
    """
    parts = [list(texts[at : at + at_once]) for at in range(0, len(texts), at_once)]

    async def ask(client: "AsyncOpenAI", part: list[str]) -> NDArray[np.float32]:
        # Plain numbers: servers that are not OpenAI's often know no other encoding.
        answer = await client.embeddings.create(model=model, input=part, encoding_format="float")
        return _vectors(answer, len(part))

    blocks = answers(endpoint, parts, ask, progress, "embeddings")
    if len({block.shape[1] for block in blocks}) > 1:
        raise EndpointError(f"{endpoint.server}: the embeddings have different lengths", "use another model")
    return np.concatenate(blocks) if blocks else np.zeros((0, 0), np.float32)


def chat(
    endpoint: Endpoint,
    conversations: Sequence[Sequence[Turn]],
    model: str,
    progress: Progress = SILENT,
    arrived: Callable[[int, str], None] = lambda position, answer: None,
    **settings: Any,
) -> list[str]:
    """The server's reply to every conversation, in their order.

    Args:
        endpoint: the server.
        conversations: each ends in a user's turn.
        model: its name on the server.
        progress: counts the replies.
        arrived: see `answers`.
        settings: sent along, such as `temperature` and `max_tokens`.

    Raises:
        EndpointError: see `answers`.
    """

    async def ask(client: "AsyncOpenAI", turns: Sequence[Turn]) -> str:
        return await chat_one(client, turns, model, settings)

    return answers(endpoint, conversations, ask, progress, "replies", arrived)


async def chat_one(client: "AsyncOpenAI", turns: Sequence[Turn], model: str, settings: Mapping[str, Any]) -> str:
    """One reply to one conversation; an `Ask` that sends several requests in a row is made of these."""
    messages: Any = [{"role": turn.role, "content": turn.content} for turn in turns]
    answer: Any = await client.chat.completions.create(model=model, messages=messages, **settings)
    content = answer.choices[0].message.content
    if not isinstance(content, str):
        raise TypeError(f"a reply without text ({answer.choices[0].finish_reason})")
    return content


def _vectors(answer: Any, count: int) -> NDArray[np.float32]:
    rows = sorted(answer.data, key=lambda row: row.index)
    if [row.index for row in rows] != list(range(count)):
        raise ValueError(f"{len(rows)} embeddings of {count} texts")
    vectors = np.array([row.embedding for row in rows], dtype=np.float32)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError("embeddings that are not finite numbers")
    return vectors


@contextmanager
def _told(endpoint: Endpoint) -> Iterator[None]:
    """Turn the errors of the client, and of answers of another form than the protocol's, into words."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _refused(endpoint, error.status_code, said(error, endpoint)) from error
    except (openai.APITimeoutError, TimeoutError) as error:
        raise EndpointError(
            f"{endpoint.server} was silent, or not done, for {endpoint.timeout:g} s, {endpoint.retries + 1} times",
            "check that the server runs and is not overloaded",
        ) from error
    except openai.APIConnectionError as error:
        reason = error.__cause__ or error
        raise EndpointError(
            f"{endpoint.server} cannot be reached, or hangs up ({reason})",
            "check the address in OPENAI_BASE_URL, and that the server runs",
        ) from error
    except (openai.OpenAIError, *UNREADABLE) as error:
        raise EndpointError(
            f"{endpoint.server} answers with something else than the protocol says ({error})",
            "check that OPENAI_BASE_URL ends where the protocol begins, usually in /v1",
        ) from error


# What the server's status means, and the way out.
_STATUS = {
    400: ("does not take the request", "check the model's name, and that texts are not longer than the model takes"),
    401: ("refuses the key", "set OPENAI_API_KEY to a key of this server"),
    403: ("refuses the key", "set OPENAI_API_KEY to a key that may use this model"),
    404: ("does not know the model or the address", "check the model's name; OPENAI_BASE_URL usually ends in /v1"),
    429: (
        "is still too busy, or the quota is used up",
        "wait, ask fewer at once, or check your quota; what is there is kept",
    ),
}


def _refused(endpoint: Endpoint, status: int, said: str) -> EndpointError:
    if 300 <= status < 400:
        return EndpointError(
            f"{endpoint.server} has moved ({status}: {said})", "put the address where it is now into OPENAI_BASE_URL"
        )
    server_failed = ("fails", "try again later; what is there is kept")
    words, hint = _STATUS.get(status, server_failed if status >= 500 else ("refuses", "see what the server says"))
    return EndpointError(f"{endpoint.server} {words} ({status}: {said})", hint)


def said(error: Any, endpoint: Endpoint) -> str:
    """The server's own words, in one line, without the key."""
    body = error.body if isinstance(error.body, dict) else {}
    words = " ".join(str(body.get("message") or error.message).split()).replace(endpoint.key, "...")
    return words[:300]
