"""An OPC UA server to look at: `python opcua_server.py PORT FOLDER [USER PASSWORD]`.

Its node ns=2;s=Line1.Speed has the value and the quality that `FOLDER/now.json` names, and its state is the one there,
too, from one moment to the next.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole

NODE = "ns=2;s=Line1.Speed"


class OneUser:
    """Lets one user in, with a password."""

    def get_user(self, _server: Any, username: str = "", password: str = "", certificate: Any = None) -> User | None:
        """Return the user, or None for anybody else."""
        return User(role=UserRole.User) if [username, password] == sys.argv[3:5] else None


async def main() -> None:
    """Serve until it is ended."""
    server = Server(user_manager=OneUser() if len(sys.argv) > 3 else None)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{sys.argv[1]}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("urn:plant")
    speed = await server.nodes.objects.add_variable(ua.NodeId.from_string(NODE), "2:Speed", 0.0)
    async with server:
        while True:
            now = json.loads((Path(sys.argv[2]) / "now.json").read_text())
            quality = ua.StatusCode(getattr(ua.StatusCodes, now["quality"]))
            await speed.write_value(ua.DataValue(ua.Variant(now["value"], ua.VariantType.Double), quality))
            state = ua.Variant(ua.ServerState[now["state"]].value, ua.VariantType.Int32)
            await server.get_node(ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)).write_value(state)
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())
