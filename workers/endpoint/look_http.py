"""Ask what serves HTTP for one page."""

from __future__ import annotations

from workers.asking import Unexpected, get
from workers.endpoint.config import HttpConfig


async def look(config: HttpConfig) -> str:
    """Return what came back. Raises `Unexpected` for another status or page, OSError or ValueError."""
    import httpx  # not at the top: fsmctl knows of this type, too, and never looks

    try:
        status = await get(config.url, config.statuses, config.body, config.ca)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unexpected(f"{config.url}: {str(error) or type(error).__name__}") from None
    return f"{config.url} answered {status}"
