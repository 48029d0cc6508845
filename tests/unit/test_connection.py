"""What an error of Redis means."""

from __future__ import annotations

import pytest
import redis
from redis.sentinel import MasterNotFoundError

from supervisor.connection import trouble_with, words_for


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (redis.OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'."), "full"),
        (redis.ResponseError("Error running script (call to f_1): -OOM command not allowed when used memory"), "full"),
        (redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "full"),  # as redis-py has it
        (redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), "disk"),
        (redis.ConnectionError("Connection refused"), "away"),
        (redis.AuthenticationError("invalid username-password pair or user is disabled."), "denied"),
        (redis.exceptions.NoPermissionError("this user has no permissions to run the 'info' command"), "denied"),
        (ConnectionResetError("reset"), "away"),
    ],
)
def test_a_full_redis_is_told_from_one_that_is_away(error: Exception, means: str) -> None:
    assert trouble_with(error) == means


@pytest.mark.parametrize(
    ("url", "said", "remedy"),
    [
        (
            "rediss://h",
            "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] (_ssl.c:2580)",
            "set FSM_REDIS_CERT and FSM_REDIS_KEY",
        ),
        ("rediss://h", "Error 8 while writing to socket. EOF occurred in violation of protocol.", "FSM_REDIS_CERT"),
        ("rediss://h", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "FSM_REDIS_CA"),
        ("redis://h", "Connection closed by server.", "perhaps it speaks TLS alone, which is rediss://"),
        ("redis://h", "HELLO must be called with the client already authenticated", "FSM_REDIS_PASSWORD_FILE"),
    ],
)
def test_what_hinders_at_the_door_is_told_with_its_remedy(url: str, said: str, remedy: str) -> None:
    words = words_for(redis.ConnectionError(said), url)
    assert words.startswith(f"Redis at {url} does not answer: ")
    assert remedy in words
    assert "_ssl.c" not in words


def test_sentinels_without_a_master_are_one_sentence() -> None:
    words = words_for(MasterNotFoundError("No master found for 'a' : <Redis(<ConnectionPool(...)>)>"), "sentinel://h/a")
    assert "its sentinels know of no master that works" in words
    assert "ConnectionPool" not in words
