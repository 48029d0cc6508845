"""Who runs a command, as events name them."""

from __future__ import annotations

import os
import socket

import pytest

from supervisor.cli.session import operator


def test_a_user_without_a_name_acts_under_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    assert operator() == f"uid-3999999999@{socket.gethostname()}"
