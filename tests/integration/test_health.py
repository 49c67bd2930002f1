"""What the components of health say of the real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import InterfaceError, OperationalError, connection
from redis import Redis

from coupons.operations.surroundings import judging, watching
from dev.embedded.stack import start_redis
from dev.processes import free_port
from runtime import actuator
from runtime.actuator import Actuator, Check, Component


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """A Redis that the test may turn into anything."""
    server = start_redis(directory=tmp_path)
    client = Redis.from_url(server.env["REDIS_URL"], socket_timeout=2)
    monkeypatch.setattr(actuator, "get_redis_connection", lambda name: client)
    yield client
    client.close()
    server.stop()


def test_a_redis_that_takes_writes_is_up(redis: Redis) -> None:
    assert actuator.redis().is_up
    assert 0 < redis.pttl("coupon-health") <= 10_000


def test_a_redis_that_became_a_replica_is_down_until_it_is_a_master_again(redis: Redis) -> None:
    """It answers PING: what was the master before a failover does so for ever."""
    redis.execute_command("REPLICAOF", "127.0.0.1", free_port())
    assert redis.ping()

    assert actuator.redis().details["error"] == "ReadOnlyError"

    redis.execute_command("REPLICAOF", "NO", "ONE")
    assert actuator.redis().is_up


def test_a_full_redis_is_down(redis: Redis) -> None:
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", 1)

    assert actuator.redis().details["error"] == "OutOfMemoryError"


@pytest.mark.django_db
@pytest.mark.parametrize("error", [InterfaceError, OperationalError])
def test_a_database_that_fails_in_any_way_is_down(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """InterfaceError, of a connection that is unusable, is no DatabaseError."""

    def fail(*_: object) -> None:
        raise error(0, "")

    monkeypatch.setattr(connection, "close", lambda: None)  # the test's own
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", fail)
    assert actuator.database().details == {"error": error.__name__}

    monkeypatch.setattr(judging, "problems", fail)
    watching.watch.forget()
    assert watching.database().details == {"error": error.__name__}

    monkeypatch.setattr(actuator, "database", lambda: Component(is_up=True))
    assert watching.database().details == {"error": error.__name__}


def test_checks_run_side_by_side_and_one_that_hangs_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    calls: list[int] = []

    def hang() -> Component:
        calls.append(1)
        hangs.wait(30)
        return Component(is_up=True)

    monkeypatch.setattr(actuator, "PATIENCE_S", 0.3)
    health = Actuator(
        checks={"a": Check(hang), "b": Check(hang), "c": Check(lambda: Component(is_up=True))},
        required=frozenset({"a", "c"}),
    )
    started = time.monotonic()
    told = [health.health()[1] for _ in range(5)]
    took_s = time.monotonic() - started
    hangs.set()

    assert {name: each["status"] for name, each in told[0]["components"].items()} == {
        "a": "DOWN",
        "b": "DOWN",
        "c": "UP",
    }
    assert len(calls) == 2  # one probe of each hangs, however many ask
    assert took_s < 10
