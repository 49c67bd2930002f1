"""No fault: a walk in the middle of a rush, where each server is a cluster and each connection is encrypted.

Brokers with SASL_SSL, a Redis Cluster over TLS, a database that refuses whoever comes without TLS, led to by
nothing but the variables of docs/connections.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

from confluent_kafka import Producer

from coupons.eventlog import kafka_client
from coupons.eventlog.events import encode, partition_key
from coupons.models import Coupon
from dev import suite
from dev.clusters.parts import Part
from dev.clusters.servers import ClusterServers
from dev.faults import waits
from dev.faults.case import Case
from dev.faults.scene import Scene
from dev.processes import wait_until
from dev.services.own import Services
from tests.factories import make_event
from tests.system import HttpAnswer, ask

_PARTS: Final = frozenset({Part.BROKERS, Part.REDIS_CLUSTER, Part.DATABASES})
_WITHIN_S: Final = 30.0  #: beside a rush on the same cores
_HONOURED_S: Final = 4.0  #: promised are 2 s, of a process that gets its cores


@contextmanager
def _insisting_on_tls(services: Services) -> Iterator[None]:
    assert isinstance(services, ClusterServers)
    services.sql("SET GLOBAL require_secure_transport = ON")
    try:
        yield
    finally:
        services.sql("SET GLOBAL require_secure_transport = OFF")


def _walk(scene: Scene) -> None:
    """The steps of docs/walk.md."""
    scene.struck()
    _look(scene)
    users = iter(scene.users_beside(400))
    plain, single, crowd, scarce = (
        Coupon.objects.create(description="walk", discount_amount=1, stock=100) for _ in range(4)
    )
    _claim(scene, plain, next(users))
    _claim_a_hundred_times(scene, single, next(users))
    _claim_together(scene, crowd, [next(users) for _ in range(50)])
    _sell_out_and_open_again(scene, scarce, [next(users) for _ in range(2)])
    _write_as_another_producer(scene, plain, next(users))
    _claim(scene, plain, next(users))
    _read_the_logs(scene)


def _look(scene: Scene) -> None:
    for process in (scene.api, scene.consumer):
        told: dict[str, Any] = ask(process.port, "GET", "/actuator/health").body["components"]
        for name in ("db", "redis", "kafka"):
            details = told[name].get("details", {})
            good = told[name]["status"] == "UP" and details.get("encrypted") is True
            scene.expect(good, f"{process.name}: {name} is not well, or not encrypted: {told[name]}")
    done = scene.system.manage("check_connections")
    scene.expect(done.returncode == 0, f"check_connections: {done.stdout[-300:]}")


def _claim(scene: Scene, coupon: Coupon, user: int) -> None:
    """And again: the second claim is told of the first."""
    first, again = scene.system.claim(coupon.pk, user), scene.system.claim(coupon.pk, user)
    scene.expect(first.status == 202, f"a claim was told {first.status} {first.code}")
    told = (again.status, again.code, again.body.get("requestId"))
    scene.expect(
        told == (409, "ALREADY_REQUESTED", first.body.get("requestId")), f"the second claim was told {told}"
    )
    _expect_issued(scene, [str(first.body.get("requestId"))])


def _expect_issued(scene: Scene, request_ids: list[str]) -> None:
    statuses: list[object] = []

    def are_decided() -> bool:
        statuses[:] = [scene.system.status(each).body.get("status") for each in request_ids]
        return all(each in ("ISSUED", "REJECTED", "FAILED") for each in statuses)

    wait_until(are_decided, within_s=_WITHIN_S, every_s=0.2)
    scene.expect(set(statuses) == {"ISSUED"}, f"not issued: {Counter(map(str, statuses))}")


def _claim_a_hundred_times(scene: Scene, coupon: Coupon, user: int) -> None:
    with ThreadPoolExecutor(10) as many:
        told = _codes(list(many.map(lambda _: scene.system.claim(coupon.pk, user), range(100))))
    scene.expect(
        told == {(202, None): 1, (409, "ALREADY_REQUESTED"): 99}, f"a user who claimed 100 times: {told}"
    )


def _claim_together(scene: Scene, coupon: Coupon, users: list[int]) -> None:
    answers = list(scene.system.claim_all(coupon.pk, users, at_once=50).values())
    told = _codes(answers)
    scene.expect(told == {(202, None): len(users)}, f"{len(users)} users at once: {told}")
    _expect_issued(scene, [str(each.body.get("requestId")) for each in answers])


def _codes(answers: list[HttpAnswer]) -> Counter[tuple[int, str | None]]:
    return Counter((each.status, each.code) for each in answers)


def _sell_out_and_open_again(scene: Scene, coupon: Coupon, users: list[int]) -> None:
    """The stock is changed straight in the database."""
    for stock, user, wanted in ((0, users[0], "OUT_OF_STOCK"), (10, users[1], None)):
        Coupon.objects.filter(pk=coupon.pk).update(stock=stock)
        told: list[str | None] = []

        def is_honoured(user: int = user, wanted: str | None = wanted, told: list[str | None] = told) -> bool:
            told.append(scene.system.claim(coupon.pk, user).code)
            return told[-1] == wanted

        is_told = wait_until(is_honoured, within_s=_HONOURED_S, every_s=0.5)
        scene.expect(is_told, f"with a stock of {stock} a claim was told {told}")


def _write_as_another_producer(scene: Scene, coupon: Coupon, user: int) -> None:
    """A good event, and a broken one, which becomes a dead letter."""
    event = make_event(coupon_id=coupon.pk, user_id=user, request_id=uuid4())
    producer = Producer(kafka_client.common() | {"partitioner": "murmur2_random"})
    for value in (encode(event), b'{"eventId":'):
        producer.produce(scene.system.topic, key=partition_key(coupon.pk), value=value)
    scene.expect(producer.flush(10) == 0, "another producer's events were not delivered")
    _expect_issued(scene, [str(event.request_id)])

    def is_listed() -> bool:
        return "NOT_JSON" in scene.system.manage("dead_letters", "list").stdout

    scene.expect(wait_until(is_listed, within_s=_WITHIN_S, every_s=1), "the broken event is no dead letter")


def _read_the_logs(scene: Scene) -> None:
    wanted = {
        "core": ("쿠폰 발급 이벤트 발행",),
        "consumer": ("쿠폰 발급 이벤트 수신", "쿠폰 발급 이벤트 처리 시작", "쿠폰 발급 성공"),
    }
    for role, words in wanted.items():
        text = scene.system.log_text(role)
        missing = [each for each in words if each not in text]
        scene.expect(not missing, f"the log of {role} has no {missing}")
        secrets = re.findall(r"of-the-\w+", text)
        scene.expect(not secrets, f"the log of {role} shows {secrets}")


def _all_is_clean(scene: Scene) -> None:
    """Everything in the database and the whole log, not the rush's coupon alone; nobody waited for long."""
    for complaint in suite.verified(scene.system, "--from-topic", within_s=180):
        scene.expect(False, complaint)
    answers = list(scene.rush.answers)
    longest_s = waits.longest(answers)
    scene.expect(longest_s <= scene.publish_timeout_s, f"a claim waited {longest_s:.1f} s")
    print(f"({sum(not each.is_last_word for each in answers)} refused) ", end="")


CASES = [
    Case(
        name="everything-encrypted",
        what="no fault: a walk amid a rush; SASL_SSL, a Redis Cluster, a database that insists on TLS",
        act=_walk,
        demands=_all_is_clean,
        around=_insisting_on_tls,
        parts=_PARTS,
        env={"COUPON_PUBLISH_TIMEOUT_MS": "9000"},
        is_stream=True,
        in_short=True,
    ),
]
