"""Ask what serves HTTP for one page."""

from __future__ import annotations

from workers.asking import Unexpected, get
from workers.endpoint.config import HttpConfig
from workers.http import NoReply


async def look(config: HttpConfig) -> str:
    """Return what came back. Raises `Unexpected` for another status or page, or none."""
    try:
        status = await get(config.url, config.statuses, config.body, config.ca)
    except NoReply as error:
        raise Unexpected(f"{config.url}: {error}") from None
    return f"{config.url} answered {status}"
