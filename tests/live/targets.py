"""Where flows of a test send their messages: a listener that counts them, goes away and comes back."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections import Counter

from tests.certificates import Certificates


class Target:
    """A listener on the loopback, each line a message in JSON with its `flow`.

    With certificates it speaks TLS alone, and only with who has one of the same CA.
    """

    def __init__(self, port: int, certificates: Certificates | None = None) -> None:
        """Listen."""
        self.port = port
        self.counted = Counter[str]()
        self.refusals: list[str] = []  # why clients were
        self._connections: list[socket.socket] = []
        self.come(certificates)

    def come(self, certificates: Certificates | None = None) -> None:
        """Listen, again; with other certificates if any are given."""
        context = None
        if certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.pem("server"), certificates.key("server"))
            context.load_verify_locations(certificates.pem("ca"))
            context.verify_mode = ssl.CERT_REQUIRED
            context.maximum_version = ssl.TLSVersion.TLSv1_2  # of TLS 1.3's handshake a client does not see the refusal
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._server, context), daemon=True).start()

    def go(self) -> None:
        """Refuse all others, and hang up on who is connected."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        while self._connections:
            try:
                self._connections.pop().shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has hung up itself

    def _accept(self, server: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, context), daemon=True).start()

    def _serve(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        try:
            connection = context.wrap_socket(connection, server_side=True) if context else connection
        except OSError as error:
            self.refusals.append(str(error))
            connection.close()
            return
        self._connections.append(connection)
        try:
            with connection, connection.makefile() as lines:
                for line in lines:
                    self.counted[json.loads(line)["flow"]] += 1
        except (OSError, ValueError):
            return  # hung up on, in the middle of a line perhaps
