"""What an error of Redis means."""

from __future__ import annotations

import pytest
import redis

from supervisor.connection import trouble_with


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
