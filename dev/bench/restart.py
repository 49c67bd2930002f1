"""One of three consumers is restarted under load: how long each partition waits, its own and the others'.

python -m dev.bench.restart [PROTOCOL ...]
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from dev import suite, tables
from dev.services.own import Services

if TYPE_CHECKING:
    from dev.processes import Process

_CONSUMERS: Final = 3
_PARTITIONS: Final = 6
_COUPONS: Final = 60  #: so many that each partition has some
_PER_S: Final = 300  #: events, over all partitions
_STEADY_S: Final = 4.0  #: before and after
_AWAY_S: Final = 2.0  #: from its end to its start again, as a container's
_USERS: Final = 10_000
_HEAD: Final = (
    "protocol", "instance ids", "its partitions: longest wait s", "the others': longest wait s",
    "partitions that the others lost", "the rest of them: longest wait s",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The longest time from an event to its outcome, in s, of partitions that one consumer had."""

    owner: int
    partition: int
    longest_s: float
    has_moved: bool  #: another consumer had it afterwards, or meanwhile


def main() -> int:
    return suite.on_own_servers("bench", _run)


def _run(services: Services) -> int:
    from dev.faults.scene import make_users

    make_users(_USERS)
    rows: list[tuple[str, ...]] = [_HEAD]
    for protocol in sys.argv[1:] or ("eager", "cooperative", "consumer"):
        for has_names in (False, True):
            rows.append(_row(protocol, _measured(protocol, has_names=has_names), has_names=has_names))
            print(rows[-1], flush=True)
    print(f"\n{tables.as_text(rows, left=(0, 1))}\n\n{', '.join(services.versions().values())}")
    return 0


def _row(protocol: str, waits: list[Wait], *, has_names: bool) -> tuple[str, ...]:
    own = [each for each in waits if each.owner == 0]
    others = [each for each in waits if each.owner != 0]
    moved = [str(each.partition) for each in others if each.has_moved]
    stayed = [each for each in others if not each.has_moved]
    return (
        protocol,
        "yes" if has_names else "no",
        _longest(own),
        _longest(others),
        " ".join(moved) or "none",
        _longest(stayed),
    )


def _longest(waits: list[Wait]) -> str:
    return f"{max((each.longest_s for each in waits), default=0.0):.2f}"


def _measured(protocol: str, *, has_names: bool) -> list[Wait]:
    from dev import topics
    from tests.system import System

    topic = f"restart-{protocol}-{uuid4().hex[:8]}"
    settings = {"KAFKA_GROUP_PROTOCOL": protocol, "COUPON_TOPIC_PARTITIONS": str(_PARTITIONS)}
    with topics.in_settings(partitions=_PARTITIONS), topics.own_topic(topic):
        system = System(topic=topic, consumers=0, env=settings)
        names = [{"KAFKA_GROUP_INSTANCE_ID": f"c{n}"} if has_names else {} for n in range(_CONSUMERS)]
        system.consumers = [system.new_consumer(**name) for name in names]
        _keep_its_place(f"group-{topic}")
        with system, _load(topic):
            time.sleep(_STEADY_S)
            before = [_owned(each) for each in system.consumers]
            began = time.time()
            system.consumers[0].stop()
            meanwhile = _owned_after_a_while(system.consumers)
            system.consumers[0].start().wait_ready()
            time.sleep(_STEADY_S)
            after = [_owned(each) for each in system.consumers]
        return _waits(before, meanwhile, after, began=began)


def _keep_its_place(group: str) -> None:
    """As long as by the other protocols: dev.services' broker misses a member of KIP-848 after 3 s."""
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    from coupons.eventlog import kafka_client

    longer = ConfigEntry("consumer.session.timeout.ms", "10000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=[longer])
    for altered in kafka_client.admin().incremental_alter_configs([resource]).values():
        altered.result(20)


def _owned_after_a_while(consumers: list[Process]) -> list[set[int]]:
    time.sleep(_AWAY_S)
    return [set(), *map(_owned, consumers[1:])]


def _waits(
    before: list[set[int]], meanwhile: list[set[int]], after: list[set[int]], *, began: float
) -> list[Wait]:
    from datetime import UTC, datetime

    from coupons.models import IssueOutcome

    outcomes = IssueOutcome.objects.filter(requested_at__gte=datetime.fromtimestamp(began - 1, UTC))
    longest: dict[int, float] = {}
    for partition, asked, decided in outcomes.values_list("kafka_partition", "requested_at", "processed_at"):
        if partition is not None:
            longest[partition] = max(longest.get(partition, 0.0), (decided - asked).total_seconds())
    return [
        Wait(
            owner=owner,
            partition=each,
            longest_s=longest.get(each, float("inf")),
            has_moved=not (each in meanwhile[owner] and each in after[owner]),
        )
        for owner, owned in enumerate(before)
        for each in sorted(owned)
    ]


def _owned(consumer: Process) -> set[int]:
    """As the consumer's health tells."""
    from tests.system import ask

    body = ask(consumer.port, "GET", "/actuator/health").body
    return set(body["components"]["consumer"]["details"]["partitions"])


@contextmanager
def _load(topic: str) -> Iterator[None]:
    """Events for all partitions, at an even pace, as long as the block runs."""
    from coupons.models import Coupon

    coupons = [
        Coupon.objects.create(description="restart", discount_amount=1, stock=10**6).pk
        for _ in range(_COUPONS)
    ]
    stop = threading.Event()
    thread = threading.Thread(target=_write, args=(topic, coupons, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)


def _write(topic: str, coupons: list[int], stop: threading.Event) -> None:
    from confluent_kafka import Producer

    from coupons.eventlog import kafka_client
    from coupons.eventlog.events import partition_key

    producer, began, number = Producer(kafka_client.producer_config()), time.monotonic(), 0
    while not stop.is_set():
        coupon = coupons[number % len(coupons)]
        event = {
            "eventId": str(uuid4()),
            "userId": number // len(coupons) + 1,
            "couponId": coupon,
            "timestamp": time.time_ns() // 1_000_000,
            "version": 1,
        }
        producer.produce(topic, key=partition_key(coupon), value=json.dumps(event))
        producer.poll(0)
        number += 1
        stop.wait(max(0.0, began + number / _PER_S - time.monotonic()))
    producer.flush(10)


if __name__ == "__main__":
    sys.exit(main())
