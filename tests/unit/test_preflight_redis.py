"""The preflight's checks of Redis, on facts that are wrong in one place."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from redis.exceptions import ResponseError

from coupons.operations.preflight.findings import Expected, Level
from coupons.operations.preflight.redis import judging, reading, replicas
from runtime import redis_server
from runtime.actuator import Component
from runtime.config.language import Language
from runtime.config.redis import RedisKind
from runtime.operator_language import spoken
from tests.unit.preflight_facts import ahead, changed, levels, only, redis

RED, YELLOW, NOTE = Level.RED, Level.YELLOW, Level.NOTE
SENTINELS = changed("redis", kind=RedisKind.SENTINEL)
ALONE = {"num-slaves": 0, "num-other-sentinels": 2}
ONE = {"num-slaves": 1, "quorum": 1}


def test_a_right_redis() -> None:
    for check in judging.SUBJECT.checks:
        assert not list(check.look(redis())), check.name
        assert not check.blind(redis())


@pytest.mark.parametrize(
    ("changes", "look", "level", "word"),
    [
        ({"redis_version": "5.0.7"}, judging.version, YELLOW, "6.2"),
        ({"refusal": "NOPERM info"}, judging.readable, YELLOW, "+info"),
        ({"role": "slave"}, judging.role, RED, "is a replica"),
        ({"maxmemory_policy": "allkeys-lru"}, judging.policy, RED, "noeviction"),
        ({"maxmemory_policy": "volatile-ttl"}, judging.policy, RED, "noeviction"),
        ({"maxmemory": 16 << 20}, judging.memory, RED, "CONFIG SET maxmemory"),
        ({"maxmemory": 30 << 20}, judging.memory, YELLOW, "room for 29 MiB"),
        ({"maxmemory": 0}, judging.memory, NOTE, "no maxmemory"),
        ({"loading": 1}, judging.persistence, RED, "loading"),
        ({"rdb_last_bgsave_status": "err"}, judging.persistence, YELLOW, "CONFIG SET save ''"),
        ({"aof_last_write_status": "err"}, judging.persistence, YELLOW, "aof_last_write_status"),
        ({"aof_enabled": 1}, judging.persistence, NOTE, "append-only"),
        ({"maxclients": 20}, judging.clients, YELLOW, "maxclients is 20"),
        ({"refused": {"scripts": "NOPERM eval"}}, judging.rights, RED, "(scripts)"),
        ({"connected_slaves": 0}, replicas.replicas, NOTE, "no replica"),
        ({"evicted_keys": 7}, judging.evicted, NOTE, "7 keys"),
        ({"clock": ahead(-180)}, judging.clock, RED, "180 s behind"),
        ({"config": SENTINELS, "master": ALONE}, replicas.replicas, YELLOW, "promote"),
        (
            {"config": SENTINELS, "master": {"num-slaves": 1, "num-other-sentinels": 2, "quorum": 4}},
            replicas.replicas,
            RED,
            "quorum",
        ),
        ({"config": SENTINELS, "master": ONE}, replicas.replicas, NOTE, "1 Sentinel:"),
    ],
)
def test_a_redis(changes: dict[str, Any], look: Callable[[Any], Any], level: Level, word: str) -> None:
    only(look(redis(**changes)), level, word)


def test_a_crowd_needs_its_memory() -> None:
    assert not list(judging.memory(redis(expected=Expected(users=1_000_000), maxmemory=1 << 30)))
    only(judging.memory(redis(expected=Expected(users=5_000_000))), RED, "5,000,000 users need 1,287")
    unbounded = judging.memory(redis(expected=Expected(users=50_000_000), maxmemory=0))
    assert levels(unbounded) == [RED, NOTE]


@pytest.mark.parametrize("words", ["NOPERM set", "WRONGPASS", "CERTIFICATE_VERIFY_FAILED", "MOVED 1 a:1"])
def test_the_mend_of_health_is_told_in_korean(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "refusal", lambda: words)
    with spoken(Language.KOREAN):
        mend = redis_server.mend_of(ResponseError(words))
        away = Component(is_up=False, details={"error": "ResponseError", "mend": mend})
        told = reading.away(settings.CONFIG, away).mend

    assert mend.isascii()
    assert re.search("[가-힣]", told)


def test_without_info_little_is_looked_at_and_that_is_said() -> None:
    blind = {check.name for check in judging.SUBJECT.checks if check.blind(redis(refusal="NOPERM"))}

    assert {"policy", "memory"} <= blind
    assert not blind & {"readable", "rights", "clock"}
