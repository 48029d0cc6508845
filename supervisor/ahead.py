"""Calls to Redis one ahead of who works on their answers: it works while we do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Ready = TypeVar("Ready")
Answer = TypeVar("Answer")


def one_ahead(
    parts: Sequence[Part],
    prepare: Callable[[Part], Ready],
    call: Callable[[Ready], Answer],
    goes_on: Callable[[Answer], bool] = lambda _: True,
) -> Iterator[tuple[Part, Answer]]:
    """Yield each part with the answer to it, in order; meanwhile the next part's call is under way.

    `prepare` runs here, while the call before it is under way; `call` in a thread of its own, one at a time. The answer
    that `goes_on` says no to is the last: nothing is called after it. Raises what `prepare` and `call` raise.
    """
    if len(parts) == 1:
        yield parts[0], call(prepare(parts[0]))
        return
    with ThreadPoolExecutor(1) as thread:
        running: tuple[Part, Future[Answer]] | None = None
        for part in parts:
            ready = prepare(part)
            done = None if running is None else (running[0], running[1].result())
            if done is not None and not goes_on(done[1]):
                yield done
                return
            running = (part, thread.submit(call, ready))
            if done is not None:
                yield done
        if running is not None:
            yield running[0], running[1].result()
