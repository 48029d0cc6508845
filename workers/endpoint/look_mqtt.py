"""Ask an MQTT broker to take a connection, and to bring a message of ours back to us."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workers.asking import Unexpected, in_thread, trust
from workers.endpoint.config import MqttConfig
from workers.endpoint.observe import Library, password_of

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

LIBRARY = Library("paho.mqtt.client", "mqtt")
_SHARE = 0.9  # of the timeout: what is waited for in vain can be told before the look is cut off
_KEEPALIVE = 60  # seconds: a look is over long before


async def look(config: MqttConfig) -> str:
    """Return what came back. Raises `Unexpected`, OSError, ValueError, or `CannotLook` without its password."""
    return await in_thread(_Trip(config, password_of(config.password_file)).make)


class _Trip:
    """A message's way to the broker and back, step by step in a thread of its own; the library starts none."""

    def __init__(self, config: MqttConfig, password: str | None) -> None:
        self._config = config
        self._token = uuid.uuid4().hex.encode()
        self._waits_for = "its CONNACK"
        self._refusal = ""
        self._answer = ""
        self._client = self._make_client(password)

    def _make_client(self, password: str | None) -> Client:
        """Return a client under a name that nobody else has: a broker parts from who is called like a newcomer."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"fsm-look-{self._token[:8].decode()}", reconnect_on_failure=False
        )
        client.connect_timeout = self._config.timeout * _SHARE
        if self._config.username:
            client.username_pw_set(self._config.username, password)
        context = trust(self._config.tls, self._config.ca)
        if not isinstance(context, bool):
            client.tls_set_context(context)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_message = self._received
        return client

    def make(self) -> str:
        """Return what came back. Raises `Unexpected` or OSError; ends within the timeout."""
        from paho.mqtt.client import MQTT_ERR_SUCCESS, error_string

        host, _, port = self._config.address.rpartition(":")
        give_up = time.monotonic() + self._config.timeout * _SHARE
        try:
            self._client.connect(host.strip("[]"), int(port), _KEEPALIVE)
            while not self._answer:
                left = give_up - time.monotonic()
                if left <= 0:
                    self._fail(f"waited {self._config.timeout * _SHARE:.1f}s in vain for {self._waits_for}")
                code = self._client.loop(left)
                if self._refusal:
                    self._fail(self._refusal)
                if code != MQTT_ERR_SUCCESS and not self._answer:
                    self._fail(f"{error_string(code)} while waiting for {self._waits_for}")
        finally:
            self._client.disconnect()
        return self._answer

    def _fail(self, why: str) -> None:
        raise Unexpected(f"{self._config.address}: {why}")

    def _connected(self, client: Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if code.is_failure:
            self._refusal = f"refused the connection: {code}"
        elif not self._config.topic:
            self._answer = f"{self._config.address} took a connection"
        else:
            self._waits_for = f"its SUBACK for topic {self._config.topic!r}"
            client.subscribe(self._config.topic, qos=1)

    def _subscribed(self, client: Client, _data: Any, _mid: int, codes: Sequence[ReasonCode], _properties: Any) -> None:
        if any(code.is_failure for code in codes):
            self._refusal = f"refused the subscription of topic {self._config.topic!r}: {codes[0]}"
            return
        self._waits_for = f"a message of ours on topic {self._config.topic!r}; may we publish there?"
        client.publish(self._config.topic, self._token, qos=1)

    def _received(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.payload == self._token:
            self._answer = f"{self._config.address} brought a message back on {self._config.topic!r}"
