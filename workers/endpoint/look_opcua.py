"""Ask an OPC UA server for its state, and for the value of a node."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from workers.asking import Unexpected
from workers.endpoint.config import OpcuaConfig
from workers.endpoint.observe import Library, password_of

if TYPE_CHECKING:
    from asyncua.client.client import Client

LIBRARY = Library("asyncua", "opcua")
_LEAVE_TIMEOUT = 0.3  # seconds to take leave of a server; one that hangs forgets the session by itself
_KEPT = 30_000  # milliseconds for which a server keeps a session that nobody has closed


async def look(config: OpcuaConfig) -> str:
    """Return what came back. Raises `Unexpected`, OSError, ValueError, or `CannotLook` without its password."""
    from asyncua.ua.uaerrors import UaError

    client = _client(config)
    try:
        await client.connect()
        answer = await _ask(client, config)
    except UaError as error:
        raise Unexpected(f"{config.url}: {str(error) or type(error).__name__}") from None
    finally:
        await _leave(client)
    return answer


def _client(config: OpcuaConfig) -> Client:
    from asyncua.client.client import Client

    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # it tells of each lost connection; the look does, too
    password = password_of(config.password_file)
    client = Client(config.url, timeout=config.timeout)
    client.name = client.description = "fsm-supervisor"
    client.session_timeout = client.secure_channel_timeout = _KEPT
    if config.username:
        client.set_user(config.username)
        client.set_password(password or "")
    return client


async def _ask(client: Client, config: OpcuaConfig) -> str:
    """Return the server's state and the node's value in words. Raises `Unexpected`, or asyncua's errors."""
    from asyncua import ua
    from asyncua.ua.object_ids import ObjectIds

    number = await client.get_node(ua.NodeId(ua.Int32(ObjectIds.Server_ServerStatus_State))).read_value()
    state = ua.ServerState(number)
    if state is not ua.ServerState.Running:
        raise Unexpected(f"{config.url} is {state.name}, expected Running")
    if not config.node:
        return f"{config.url} is {state.name}"
    value = await client.get_node(config.node).read_data_value(raise_on_bad_status=False)
    quality = value.StatusCode
    if quality is None or not quality.is_good():
        raise Unexpected(f"{config.url}, node {config.node} is {quality.name if quality else 'Unknown'}, expected Good")
    shown = value.Value.Value if value.Value else None
    return f"{config.url} is {state.name}, node {config.node} is {shown!r}"


async def _leave(client: Client) -> None:
    """Close session and connection, whatever the server does: nothing of a look may outlive it."""
    with suppress(Exception):
        async with asyncio.timeout(_LEAVE_TIMEOUT):
            await client.disconnect()
    client.disconnect_socket()
