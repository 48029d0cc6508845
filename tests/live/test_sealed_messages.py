"""F26, messages: a fleet whose messages are sealed converges; what others put into a node's queue is refused."""

from __future__ import annotations

import base64
import copy
import json
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from kombu.message import Message as Received

from supervisor.envelope import Reason, Seal, params_hash, seal, signed_bytes
from supervisor.keyring import SIGNING_KEY, VERIFY_KEYS, add_key, drop_key, make_keys, read_signing_key, use_key
from tests.conftest import RedisServer, free_port
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.loglines import lines_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]
QUEUE = "pieces:celery:actions.edge-1"
LISTENS = "pieces:celery:actions.edge-2"  # nobody does: messages stay
Raw = dict[str, Any]
FLEET = f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "500ms"
nodes = ["edge-1", "edge-2"]

[[workers]]
id = "flow"
type = "process"
node = "edge-1"
config = {{ command = ["sleep", "1000"], min_uptime = "1s" }}

[[workers]]
id = "bait"
type = "process"
node = "edge-1"
desired = "stopped"
config = {{ command = ["sleep", "1000"], min_uptime = "1s" }}

[[workers]]
id = "elsewhere"
type = "process"
node = "edge-2"
config = {{ command = ["sleep", "1000"], min_uptime = "1s" }}
"""
del Received, base64, copy, uuid, Callable, signed_bytes
