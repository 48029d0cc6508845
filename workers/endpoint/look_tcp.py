"""Ask what takes connections. A connection alone is the kernel's answer; `expect` asks the program."""

from __future__ import annotations

import re

from workers.asking import MAX_REPLY, MAX_SHOWN, Unexpected, connect
from workers.endpoint.config import TcpConfig


async def look(config: TcpConfig) -> str:
    """Return what came back. Raises OSError, or `Unexpected` for an answer that is not what is expected."""
    reader, writer = await connect(config.address)
    try:
        if not config.expect:
            return f"{config.address} took a connection"
        writer.write(config.send.encode())
        said = b""
        while len(said) < MAX_REPLY and (part := await reader.read(MAX_REPLY)):
            said += part
            if (found := re.search(config.expect, said.decode(errors="replace"))) is not None:
                return f"{config.address} said {found[0][:MAX_SHOWN]!r}"
        raise Unexpected(f"{config.address} said {said[:MAX_SHOWN]!r}, expected a match of {config.expect!r}")
    finally:
        writer.close()
