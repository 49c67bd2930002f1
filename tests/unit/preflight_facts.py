"""What a subject of the preflight finds on a right system, to be made wrong in one place by each test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from coupons.operations.preflight.clocks import Reading
from coupons.operations.preflight.database.reading import KOREAN, Database
from coupons.operations.preflight.findings import Expected, Finding, Level
from coupons.operations.preflight.kafka.broker_clocks import BrokerClocks
from coupons.operations.preflight.kafka.facts import KafkaFacts, Partition, Topic
from coupons.operations.preflight.machine import Folder, Machine
from coupons.operations.preflight.redis.reading import Node, RedisFacts
from runtime import config
from runtime.actuator import Component
from runtime.config import Config

UP = Component(is_up=True)
USUAL = Expected()
RIGHTS = frozenset({"DESCRIBE", "READ", "WRITE"})


def changed(part: str, **changes: Any) -> Config:
    """The tests' settings, with changes in one part of them."""
    loaded = config.load()
    return replace(loaded, **{part: replace(getattr(loaded, part), **changes)})


def levels(found: Iterable[Finding]) -> list[Level]:
    return [finding.level for finding in found]


def only(found: Iterable[Finding], level: Level, *words: str) -> Finding:
    """The one finding, which has this level, a mend unless it is a note, and these words."""
    [finding] = found
    assert finding.level is level
    assert finding.mend or level is Level.NOTE
    for word in words:
        assert word in finding.what + finding.mend, finding
    return finding


def ahead(seconds: float) -> Reading:
    now = time.time()
    return Reading(before=now, server=now + seconds, after=now)


def machine(**changes: Any) -> Machine:
    right = Machine(
        config=changed("api", workers=2),
        logs=Folder(path=Path("/logs")),
        metrics=Folder(path=Path("/tmp")),
        logged=0,
        unwritable={},
        files=65_536,
        backlog=4096,
        cores=2,
    )
    return replace(right, **changes)


def database(**changes: Any) -> Database:
    """``variables`` are added to those of a right server."""
    variables = {
        "read_only": "OFF",
        "max_connections": "500",
        "innodb_flush_log_at_trx_commit": "1",
        "innodb_doublewrite": "ON",
        "log_bin": "ON",
        "sync_binlog": "1",
        "wait_timeout": "28800",
        "sql_mode": "STRICT_TRANS_TABLES",
        "autocommit": "ON",
        "innodb_page_size": "16384",
        "innodb_default_row_format": "dynamic",
        **changes.pop("variables", {}),
    }
    right = Database(
        config=config.load(),
        expected=Expected(),
        component=UP,
        problems=(),
        variables=variables,
        clock=ahead(0),
        korean=(KOREAN, KOREAN.encode().hex().upper()),
        row_formats={"user": "Dynamic"},
        free=100 << 30,
        total=200 << 30,
    )
    return replace(right, **changes)


def redis(*, kind: str = "", expected: Expected = USUAL, **changes: Any) -> RedisFacts:
    """``changes``: of INFO, or of the facts where they have that name."""
    info = {
        "redis_version": "7.0.15",
        "role": "master",
        "maxmemory": 1 << 30,
        "maxmemory_policy": "noeviction",
        "used_memory": 1 << 20,
        "total_system_memory": 8 << 30,
        "maxclients": 10_000,
        "rdb_last_bgsave_status": "ok",
        "connected_slaves": 1,
    }
    of_facts = {name: changes.pop(name) for name in ("refused", "master", "config") if name in changes}
    refusal, clock = changes.pop("refusal", ""), changes.pop("clock", ahead(0))
    node = Node(name="Redis", info={} if refusal else info | changes, refusal=refusal, clock=clock)
    right = RedisFacts(config=config.load(), expected=expected, component=UP, nodes=[node])
    return replace(right, **of_facts)


def topic(
    name: str,
    *,
    partitions: int = 3,
    brokers: tuple[int, ...] = (1, 2, 3),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Topic:
    """A topic; ``settings`` in place of, or beside, right ones."""
    made = {
        "min.insync.replicas": str(max(1, len(brokers) - 1)),
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "cleanup.policy": "delete",
        "max.message.bytes": "2097152" if name.endswith(".DLT") else "1048588",
        "unclean.leader.election.enable": "false",
    }
    return Topic(
        name=name,
        partitions=[
            Partition(number=number, leader=brokers[0], replicas=brokers, in_sync=brokers)
            for number in range(partitions)
        ],
        settings={**made, **settings},
        operations=RIGHTS,
    )


def kafka(
    *,
    change: Callable[[Topic], Topic] = lambda topic: topic,
    expected: Expected = USUAL,
    **changes: Any,
) -> KafkaFacts:
    """``change``: of the event topic."""
    loaded = changed("kafka", replication_factor=3)
    names = (loaded.kafka.topic, loaded.kafka.dead_letter_topic)
    events, letters = change(topic(names[0])), topic(names[1], partitions=1)
    right = KafkaFacts(
        config=loaded,
        expected=expected,
        component=UP,
        brokers=[1, 2, 3],
        topics={events.name: events, letters.name: letters},
        group_operations=RIGHTS,
        settings={"group.min.session.timeout.ms": "1000", "group.max.session.timeout.ms": "1800000"},
        clocks=BrokerClocks(readings={1: ahead(0), 2: ahead(0), 3: ahead(0)}),
    )
    return replace(right, **changes)
