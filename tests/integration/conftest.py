"""Fixtures for code in this process on the stack's real servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError


@pytest.fixture
def redis_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No connection to Redis can be had in this process; ``undo()`` on the fixture brings it back."""

    def refuse(pool: ConnectionPool, *args: Any, **kwargs: Any) -> None:
        raise RedisConnectionError("away, for the test")

    with monkeypatch.context() as away:
        away.setattr(ConnectionPool, "get_connection", refuse)
        yield away
