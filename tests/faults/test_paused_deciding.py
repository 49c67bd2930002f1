"""Consumers die while deciding is paused, and while it catches up: nothing is lost, late or doubled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection

from coupons.eventlog.events import partition_key, partition_of
from coupons.models import Coupon, DeferredEvent, IssueOutcome, UserCoupon
from coupons.operations import steering
from coupons.operations.steering import Step
from coupons.outcomes import SteeringAction as Action
from dev.faults.scene import PATCH
from tests.factories import make_coupon, make_users
from tests.system import Process, System, ask, eventually


def steer(coupon: Coupon, action: Action) -> None:
    coupon.refresh_from_db()
    seen = steering.outlook(coupon, action).seen
    steering.take(Step(action=action, who="kim", why="a doubt", seen=seen), coupon_id=coupon.pk)


def beside(coupon: Coupon) -> Coupon:
    """Another coupon in the same partition."""
    partitions = settings.CONFIG.kafka.partitions
    wanted = partition_of(partition_key(coupon.pk), partitions)
    while True:
        other = make_coupon(stock=40)
        if partition_of(partition_key(other.pk), partitions) == wanted:
            return other


def consumer(system: System, *, patch: str = "") -> Process:
    made = system.new_consumer("--batch-size", "5")
    if patch:
        python, _, *words = made.command
        made.command = [python, "-m", "dev.faults.patched", *words]
        made.env = {**made.env, PATCH: patch}
    system.consumers.append(made)
    made.start()
    return made


@contextmanager
def claiming(system: System, coupon: Coupon, users: list[int], ids: list[str]) -> Iterator[None]:
    """These users claim meanwhile; the ids of the accepted requests are added to ``ids``."""

    def claim() -> None:
        answers = system.claim_all(coupon.pk, users, at_once=4)
        ids.extend(each.body["requestId"] for each in answers.values() if each.status == 202)

    thread = threading.Thread(target=claim)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)


def issued(coupon: Coupon) -> int:
    return UserCoupon.objects.filter(coupon=coupon).count()


def deferred_count(coupon: Coupon) -> int:
    return Coupon.objects.values_list("deferred_count", flat=True).get(pk=coupon.pk)


def test_consumers_die_while_they_defer_and_while_they_catch_up(system: System) -> None:
    paused = make_coupon(stock=60)
    other, users, others = beside(paused), make_users(90), make_users(40)
    accepted: list[str] = []
    system.wait_decided([system.claim(paused.pk, users[0]).body["requestId"]])
    system.consumers[0].kill()

    steer(paused, Action.PAUSE_DECIDING)
    dying = consumer(system, patch="kill:deferring")
    going_on: list[str] = []
    with claiming(system, paused, users[1:40], accepted), claiming(system, other, others, going_on):
        assert dying.wait(within_s=60) == -9
        survivor = consumer(system)
    assert {each["status"] for each in system.wait_decided(going_on, within_s=60)} == {"ISSUED"}
    eventually(lambda: deferred_count(paused) == len(accepted) == 39, within_s=60)
    assert (issued(paused), issued(other)) == (1, 40)
    health = ask(survivor.port, "GET", "/actuator/health/readiness")
    assert health.status == 200
    eventually(
        lambda: "paused by kim" in str(ask(survivor.port, "GET", "/actuator/health").body), within_s=10
    )
    assert system.status(accepted[5]).body["status"] == "PENDING"

    assert survivor.stop() == 0
    dying = consumer(system, patch="kill:resumed")
    steer(paused, Action.RESUME_DECIDING)
    with claiming(system, paused, users[40:], accepted):
        assert dying.wait(within_s=60) == -9
        consumer(system)
    statuses = system.wait_decided(accepted, within_s=60)

    assert {each["status"] for each in statuses} <= {"ISSUED", "REJECTED"}
    paused.refresh_from_db()
    assert (paused.stock, paused.issued_count, issued(paused)) == (0, 60, 60)
    assert not DeferredEvent.objects.exists()
    winners = IssueOutcome.objects.filter(coupon_id=paused.pk, status="ISSUED").order_by("kafka_offset")
    assert list(winners.values_list("claim_rank", flat=True)) == list(range(1, 61))
    verified = system.manage("verify", "--from-topic")
    assert verified.returncode == 0, verified.stdout
    connection.close()
