"""When a request to a server is sent again, and after how long."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

__all__ = ["UNREADABLE", "nothing_sent", "patiently"]

A = TypeVar("A")

# What reading an answer of another form than the protocol's may raise.
UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
REREAD = 2  # repetitions of a request whose answer cannot be read: it may be billed
PASSING = {408, 409, 429}  # statuses that another try may not meet, as those of 500 and above
FIRST_PAUSE = 0.5  # seconds, where the server says nothing; twice as long each time
LONGEST_PAUSE = 120.0  # seconds, whatever the server says
SLACK = 1.5  # seconds for the client's own work, which an answer's time does not count


async def patiently(send: Callable[[], Awaitable[A]], retries: int, timeout: float) -> A:
    """What a request gives, sent again where its failure may pass.

    Args:
        send: sends it once; its errors are those of the client, or `UNREADABLE`.
        retries: repetitions at most.
        timeout: seconds for a whole answer.
    """
    attempt = 0
    while True:
        try:
            async with asyncio.timeout(timeout + SLACK):
                return await send()
        except Exception as error:
            if attempt >= _repetitions(error, retries):
                raise
            pause = _pause(getattr(error, "response", None), attempt)
        await asyncio.sleep(pause)
        attempt += 1


def nothing_sent(error: Exception) -> bool:
    """Whether a request never left: there was no connection, so that nobody can have answered it."""
    return type(error.__cause__).__name__ in {"ConnectError", "ConnectTimeout"}


def _repetitions(error: Exception, retries: int) -> int:
    """How often a request is repeated that failed in this way."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return retries if error.status_code in PASSING or error.status_code >= 500 else 0
    if isinstance(error, openai.APIConnectionError | TimeoutError):
        return retries
    is_unreadable = isinstance(error, (openai.APIResponseValidationError, *UNREADABLE))
    return min(retries, REREAD) if is_unreadable else 0


def _pause(response: Any, attempt: int) -> float:
    """Seconds until a request is sent again: what the server says, or longer each time."""
    named = (response.headers.get("Retry-After") or "") if response is not None else ""
    try:
        seconds = float(named)
    except ValueError:
        seconds = _until(named)
    if 0 < seconds < math.inf:
        return min(seconds, LONGEST_PAUSE)
    return random.uniform(0.75, 1.0) * min(FIRST_PAUSE * 2.0**attempt, 8.0)


def _until(date: str) -> float:
    """Seconds until a date in the form of HTTP; 0 where it is none."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
